"""What mappings have in common: fused ranges, explicit padding, versions."""

from __future__ import annotations

import numpy as np

from ...graph.ir import Operation
from ...ops.quantized.base import integer_range
from ...ops.rules import version
from ...types import DType, Quantization, TensorType
from ..emitter import NONE, RELU, RELU6, RELU_N1_TO_1, Emitter

SAME, VALID = 0, 1
"""Codes of the schema's Padding."""

_BOUNDS: dict[int, tuple[float | None, float | None]] = {
    RELU: (0.0, None),
    RELU6: (0.0, 6.0),
    RELU_N1_TO_1: (-1.0, 1.0),
}


def is_quantized(op: Operation) -> bool:
    """True if the operation gives 8-bit or 16-bit integers."""
    return op.results[0].type.dtype in (DType.I8, DType.U8, DType.I16)


def integer_bounds(code: int, type_: TensorType, y: Quantization) -> tuple[int, int]:
    """The range of integers that kernels derive from an activation and the result's quantization."""
    return integer_range(*_BOUNDS.get(code, (None, None)), type_.dtype, y)


def activation_of_range(c: Emitter, op: Operation) -> int:
    """The code of the activation that leaves the range of integers `low` to `high` of a quantized operation."""
    low, high = op.attributes["low"], op.attributes["high"]
    if low is None and high is None:
        return NONE
    type_, y = op.results[0].type, _scale(c, op)
    info = np.iinfo(str(type_.dtype.numpy))
    wanted = (int(info.min) if low is None else low, int(info.max) if high is None else high)
    code = next((code for code in _preferred(type_, y) if integer_bounds(code, type_, y) == wanted), None)
    if code is None:
        c.fail(op, f"no TFLite activation leaves the range {wanted[0]} to {wanted[1]} that {op.name} has")
    return code


def _preferred(type_: TensorType, y: Quantization) -> tuple[int, ...]:
    """Activations in the order in which they are tried: relu6 before relu where the scale ends at 6."""
    highest = (int(np.iinfo(str(type_.dtype.numpy)).max) - y.zero_point) * y.scale
    relus = (RELU6, RELU) if abs(highest - 6) <= y.scale / 2 else (RELU, RELU6)
    return (*relus, RELU_N1_TO_1, NONE)


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
