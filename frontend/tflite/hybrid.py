"""Floats that meet 8-bit weights, as in files of dynamic range: `hybrid_` operators, which LiteRT's kernels define.

What these kernels ignore is ignored here: zero points of weights. Weights of u8 are read as i8, as files from before
there was such a type mean them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...compiler.graph.ir import Attribute, Value
from ...compiler.types import DType, Quantization
from .context import Context


def is_hybrid(c: Context, x: int, weight: int) -> bool:
    """True for an operator on floats whose weight is made of quantized integers of 8 bits."""
    given = c.type(weight)
    quantized = given.quantization is not None and given.dtype in (DType.I8, DType.U8)
    return quantized and c.type(x).dtype is DType.F32 and c.output_type().dtype is DType.F32


def hybrid_weight(
    c: Context, place: int, axes: tuple[int, ...], shape: tuple[int, ...] | None = None
) -> tuple[Value, Quantization]:
    """A weight with its dimensions in another order (and then another shape) as i8, and its quantization.

    Filters lie along the last of `axes`.
    """
    type_, array = c.type(place), c.known(place)
    given = type_.quantization
    if array is None or given is None:
        c.unsupported(f"a computed weight of type {type_} for floats is not supported")
    if type_.rank != len(axes):
        c.fail(f"the weight should have {len(axes)} dimensions, not {type_}")
    along_filters = given.axis in (None, axes[-1])
    # The kernel of dense layers takes the scales for those of the filters, whatever dimension the file names.
    if not along_filters and (c.operator.name != "FULLY_CONNECTED" or len(given.scales) != type_.shape[axes[-1]]):
        c.unsupported(f"a weight that is quantized along dimension {given.axis} is not supported")
    key = (c.operator.inputs[place], axes, shape, "hybrid")
    if key not in c.weights:
        turned = np.ascontiguousarray(array.view(np.int8).transpose(axes))
        turned = turned if shape is None else turned.reshape(shape)
        axis = None if given.axis is None else turned.ndim - 1
        plain = Quantization(given.scales, (0,) * len(given.scales), axis)
        c.weights[key] = c.builder.constant(turned, quantization=plain), plain
    weight, found = c.weights[key]
    assert found is not None
    return weight, found


def one_scale(given: Quantization) -> bool:
    """True if all filters have one scale, however often it is stated."""
    return len(set(given.scales)) == 1


def hybrid(
    c: Context,
    name: str,
    operands: Sequence[Value],
    weight: Quantization,
    *,
    symmetric: bool,
    attributes: dict[str, Attribute],
) -> Value:
    """The operator `hybrid_name`."""
    x, _, *bias = operands
    if any(v.type.dtype is not DType.F32 for v in bias):
        c.unsupported(f"its form for floats, weights of 8 bits and a bias of {bias[0].type.dtype} is not supported")
    if not math.prod(x.type.shape):
        c.unsupported("its form for no elements is not supported")
    return c.emit(f"hybrid_{name}", *operands, weight=weight, symmetric=symmetric, **attributes)


def asymmetric(c: Context) -> bool:
    """The option that has floats quantized with a zero point."""
    return bool(c.option("asymmetric_quantize_inputs", False))
