"""What mappings have in common: fused ranges, explicit padding, versions."""

from __future__ import annotations

import math

import numpy as np

from ...graph.ir import Operation
from ...ops.functions.activations import ACTIVATIONS
from ...ops.quantized.base import integer_range, range_of
from ...ops.rules import version
from ...types import DType, Quantization, TensorType
from ..emitter import NONE, RELU, RELU6, RELU_N1_TO_1, Emitter

SAME, VALID = 0, 1
"""Codes of the schema's Padding."""

CODES = {"relu": RELU, "relu_n1_to_1": RELU_N1_TO_1, "relu6": RELU6}
"""Codes of the activations that are bounds."""


def is_quantized(op: Operation) -> bool:
    """True if the operation gives 8-bit or 16-bit integers."""
    return op.results[0].type.dtype in (DType.I8, DType.U8, DType.I16)


def activation_of_range(c: Emitter, op: Operation) -> int:
    """The code of the activation of a quantized operation: the one that it names.

    Where a graph has bounds alone, it is one that leaves the integers `low` to `high`.
    """
    low, high, name = (op.attributes[key] for key in ("low", "high", "activation"))
    if name is not None:
        return CODES[name]
    if low is None and high is None:
        return NONE
    type_, y = op.results[0].type, _scale(c, op)
    wanted = range_of(type_.dtype, op.attributes)
    for candidate in _preferred(type_, y):
        if integer_range(*ACTIVATIONS[candidate], type_.dtype, y) == wanted:
            return CODES[candidate]
    if wanted != integer_range(-math.inf, math.inf, type_.dtype, y):
        c.fail(op, f"no TFLite activation leaves the range {wanted[0]} to {wanted[1]} that {op.name} has")
    return NONE


def _preferred(type_: TensorType, y: Quantization) -> tuple[str, ...]:
    """Activations in the order in which they are tried: relu6 before relu where the scale ends at 6."""
    highest = (int(np.iinfo(str(type_.dtype.numpy)).max) - y.zero_point) * y.scale
    relus = ("relu6", "relu") if abs(highest - 6) <= y.scale / 2 else ("relu", "relu6")
    return (*relus, "relu_n1_to_1")


def _scale(c: Emitter, op: Operation) -> Quantization:
    given = op.attributes.get("y", op.results[0].type.quantization)
    if not isinstance(given, Quantization):
        c.fail(op, f"{op.name} doesn't tell what its result stands for")
    return given


def activation(c: Emitter, op: Operation) -> int:
    """The code of the activation that is part of an operation, quantized or not."""
    return activation_of_range(c, op) if "low" in op.attributes and is_quantized(op) else c.activation(op)


def padded(
    c: Emitter, op: Operation, place: int, type_: TensorType, padding: tuple[tuple[int, int], ...], lowest: bool = False
) -> int:
    """The tensor at `place`, surrounded by zeros (or by what never wins a maximum) by an operator of its own."""
    shape = tuple(s + before + after for s, (before, after) in zip(type_.shape, padding, strict=True))
    wide = TensorType(type_.dtype, shape, None, type_.quantization)
    pads = c.constant(np.array(padding, np.int32), "paddings/" + "_".join(str(n) for p in padding for n in p))
    result = c.intermediate(wide, f"{c.names[op.results[0]]}/pad")
    if not lowest:
        c.node("PAD", [place, pads], [result], "PadOptions", version(op, 1, 2))
        return result
    least = np.finfo(np.float32).min if type_.dtype.is_float else np.iinfo(str(type_.dtype.numpy)).min
    fill = c.constant(np.array([least], type_.dtype.numpy), "lowest", type_.quantization)
    c.node("PADV2", [place, pads, fill], [result], "PadV2Options", version(op, 1, 2))
    return result
