"""Numbers stored in two bytes and computed with as f32: bfloat16, the upper half of a float of 32 bits, and halves.

bfloat16 is no element type of graphs, as NumPy has none: its bits lie in i16.
"""

from __future__ import annotations

import numpy as np

from ..errors import NetcError, ShapeError
from ..graph.ir import Array, Attributes, Operation, Operator
from ..graph.registry import register
from ..loops.compute import Compute
from ..loops.ir import Cast, Expr, FromBfloat16, ToBfloat16
from ..numerics import bfloat16_bits, convert, from_bfloat16_bits
from ..types import DType, TensorType
from .facets import INTEGER, TFLITE


@register
class ToBfloat16Bits(Operator):
    """f32 rounded to bfloat16, to nearest, halves to even: bits in i16.

    NaN stays NaN; numbers below the normal range, 2^-126, become zeros.
    """

    name = "to_bfloat16"
    operands = ("x",)
    elementwise = True
    non_differentiable = "its results are bits, which have no slope"

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        if operands[0].dtype is not DType.F32:
            raise ShapeError(f"to_bfloat16 takes f32, not {operands[0]}", hint="cast it first")
        return (TensorType(DType.I16, operands[0].shape),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        return (bfloat16_bits(operands[0]),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        return ToBfloat16(c.load(0, index))


@register
class FromBfloat16Bits(Operator):
    """The numbers, as f32, whose bits of bfloat16 stand in i16."""

    name = "from_bfloat16"
    operands = ("bits",)
    elementwise = True
    non_differentiable = "bits have no slope"

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        if operands[0].dtype is not DType.I16 or operands[0].quantization is not None:
            raise ShapeError(f"from_bfloat16 takes bits in i16, not {operands[0]}")
        return (TensorType(DType.F32, operands[0].shape),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        return (from_bfloat16_bits(operands[0]),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        return FromBfloat16(c.load(0, index))


@register
class HalfWeight(Operator):
    """f32 weights rounded to half precision when they are loaded; numbers beyond its range, 65504, are an error.

    Of numbers that are only known when code runs, those become infinite.
    """

    name = "half_weight"
    operands = ("x",)
    elementwise = True
    non_differentiable = "weights are rounded after training"

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        if operands[0].dtype is not DType.F32:
            raise ShapeError(f"half_weight takes f32, not {operands[0]}")
        return (TensorType(DType.F16, operands[0].shape),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,) = operands
        half = convert(x, DType.F16)
        beyond = np.isinf(half) & np.isfinite(x)
        if beyond.any():
            hint = "precision bf16 has the range of f32"
            raise NetcError(f"a weight of {x[beyond][0]:.6g} is beyond half precision, which ends at 65504", hint=hint)
        return (half,)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        return Cast(c.load(0, index), DType.F16)


INTEGER.none("bits have no scale", ToBfloat16Bits, FromBfloat16Bits, HalfWeight)
TFLITE.none("TFLite's kernels have no bfloat16", ToBfloat16Bits, FromBfloat16Bits)
TFLITE.none("it packs weights for kernels of netc", HalfWeight)


def widens(op: Operation) -> bool:
    """True if an operation only makes f32 of numbers stored in two bytes, bfloat16 or half precision; 0 stays 0."""
    if isinstance(op.operator, FromBfloat16Bits):
        return True
    return op.name == "cast" and (op.operands[0].type.dtype, op.result.type.dtype) == (DType.F16, DType.F32)
