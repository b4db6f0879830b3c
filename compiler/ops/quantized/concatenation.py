"""Unsigned numbers of several scales, joined.

Facts: ConcatenationWithScaling in TensorFlow Lite's reference/concatenation.h, which works in f32.
"""

from __future__ import annotations

import numpy as np

from ...errors import ScaleError, ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Value
from ...graph.registry import register
from ...types import DType, Quantization, TensorType
from ..functions.rounding import rounded
from ..moves.shape import Concat
from . import fixed_point as fp
from .activation import all_values
from .base import QuantizedOperator, check_activations, quantization

_CONCAT = Concat()


@register
class QConcat(QuantizedOperator):
    """Tensors of u8 one after the other along an axis, each brought to the result's scale in f32."""

    name = "q_concat"
    operands = ("*values",)
    attributes = {
        **Concat.attributes,
        "inputs": AttributeSpec(tuple, "what the elements of each tensor stand for", items=Quantization),
        "y": quantization("the result"),
    }
    non_differentiable = "its operands are made of integers"

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        given = attributes["inputs"]
        if len(given) != len(operands) or not all(isinstance(q, Quantization) for q in given):
            raise ShapeError(f"q_concat needs a quantization for each of {len(operands)} tensors")
        if any(o.dtype is not DType.U8 for o in operands):
            raise ShapeError(f"q_concat joins u8, not {', '.join(map(str, operands))}")
        for place, (operand, source) in enumerate(zip(operands, given, strict=True)):
            names = {f"inputs[{place}]": source, "y": attributes["y"]}
            check_activations(self, (operand,), names, f"inputs[{place}]")
            table(source, attributes["y"])
        (y,) = _CONCAT.infer(operands, {"axis": attributes["axis"]})
        return (y.with_quantization(attributes["y"]),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        sources = zip(operands, attributes["inputs"], strict=True)
        return _CONCAT.evaluate(tuple(table(s, attributes["y"])[x] for x, s in sources), attributes)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        y: Quantization = attributes["y"]
        values = [
            b.emit("reinterpret", x, y=y) if source == y else b.emit("lookup", x, b.constant(table(source, y)), y=y)
            for x, source in zip(operands, attributes["inputs"], strict=True)
        ]
        return b.emit("concat", *values, axis=attributes["axis"])


def table(source: Quantization, y: Quantization) -> Array:
    """The 256 numbers of u8 on another scale. Raises `ScaleError` where 32 bits don't hold them."""
    values = all_values(DType.U8)
    if source != y:
        with np.errstate(over="ignore", invalid="ignore"):
            scale = np.float32(source.scale) * (np.float32(1) / np.float32(y.scale))
            real = rounded(values.astype(np.float32) * scale + np.float32(-source.zero_point) * scale)
        if not np.all(np.abs(real) < 1 << 31):
            raise ScaleError(f"q_concat: numbers on the scale of {y} are beyond 32-bit integers")
        values = real.astype(np.int64) + y.zero_point
    return fp.saturate(values, DType.U8)
