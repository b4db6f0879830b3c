"""Contractions of 16-bit numbers: their bytes, of which integer products are made, and the scaling of 64-bit sums.

A 16-bit number is 256 times its upper byte (i8) plus its lower one (u8). So a sum of products of 16-bit and 8-bit
numbers is made of two sums of products of bytes, for which there are schedules. Facts of the scaling: TensorFlow Lite's
kernels/internal/common.cc, `MultiplyByQuantizedMultiplier` of 64-bit numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...errors import ScaleError, ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Value
from ...graph.registry import register
from ...loops.compute import Compute
from ...loops.ir import Binary, Cast, Expr, binary, const
from ...types import DType, TensorType
from . import fixed_point as fp
from .base import RANGE, Part, check_range, named_integer, quantization

LONGEST = ((1 << 31) - 1) // (255 * 128)
"""Sums of so many products of a byte without sign and one with it need 32 bits."""
MULTIPLIER_BITS = 15
"""Of a multiplier for 64-bit sums."""
MAX_WIDE_SHIFT = 14
"""Largest shift to the left of 64-bit sums that kernels define."""


@register
class ByteOf(Part):
    """The upper (i8) or the lower byte (u8) of 16-bit numbers."""

    name = "byte_of"
    operands = ("x",)
    attributes = {"upper": AttributeSpec(bool, "the upper byte, which has the sign")}
    elementwise = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (x,) = operands
        if x.dtype is not DType.I16:
            raise ShapeError(f"byte_of takes i16, not {x}")
        return (TensorType(_byte(attributes), x.shape),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,) = operands
        return ((x >> 8 if attributes["upper"] else x & 255).astype(_byte(attributes).numpy),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        x = c.load(0, index)
        return Cast(binary("shr", x, 8) if attributes["upper"] else binary("and", x, 255), _byte(attributes))


def _byte(attributes: Attributes) -> DType:
    return DType.I8 if attributes["upper"] else DType.U8


@register
class RescaleWide(Part):
    """64-bit sums to 16 bits: x * multiplier * 2^(shift - 15), rounded half up, saturated.

    Multiplier (of 15 bits) and shift (i64) have one element, or one for each channel. What is scaled loses all but its
    lower 32 bits before it is saturated, as in the kernels.
    """

    name = "rescale_wide"
    operands = ("x", "multiplier", "shift")
    attributes = {
        "dtype": AttributeSpec(str, "element type of the result, such as i16"),
        "y": quantization("the result"),
        **RANGE,
    }
    elementwise = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, multiplier, shift = operands
        if any(o.dtype is not DType.I64 for o in operands) or multiplier.shape != shift.shape:
            raise ShapeError(f"rescale_wide can't scale {x} by {multiplier} and {shift}")
        if multiplier.shape not in ((), x.shape[-1:]):
            raise ShapeError(f"rescale_wide: {multiplier} has neither one element nor one for each channel of {x}")
        dtype = named_integer(self, attributes)
        check_range(self, dtype, attributes)
        return (TensorType(dtype, x.shape, None, attributes["y"]),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        scaled = multiply_wide(*operands) + attributes["y"].zero_point
        return (fp.saturate(scaled, named_integer(self, attributes), attributes["low"], attributes["high"]),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        x, multiplier, shift = c.load(0, index), c.load_broadcast(1, index), c.load_broadcast(2, index)
        exponent = c.let(binary("sub", MULTIPLIER_BITS, shift))
        half = Binary("shl", const(1, exponent.type), exponent - 1)
        scaled = Cast(Binary("shr", binary("mul", x, multiplier) + half, exponent), DType.I32)
        zero_point = attributes["y"].zero_point
        return fp.saturate_expr(
            scaled + zero_point, named_integer(self, attributes), attributes["low"], attributes["high"]
        )


def multiply_wide(x: Array, multiplier: Array, shift: Array) -> Array:
    """64-bit numbers times the factors that 15-bit multipliers and shifts stand for; int64 of 32-bit values."""
    exponent = MULTIPLIER_BITS - np.asarray(shift, np.int64)
    with np.errstate(over="ignore"):
        scaled = (np.asarray(x, np.int64) * multiplier + (np.int64(1) << (exponent - 1))) >> exponent
    return fp.wrap32(scaled)


def wide_factors(multiplier: Array, shift: Array) -> tuple[Array, Array]:
    """Multipliers of 15 bits and shifts (i64) in place of those of 31 bits.

    Raises `ScaleError` for factors of which kernels leave the result undefined.
    """
    if np.any(shift > MAX_WIDE_SHIFT):
        raise ScaleError("a factor of 16384 or more between scales is too large for sums of 64 bits", hint=fp.CALIBRATE)
    short = np.where(multiplier < 0x7FFF0000, (multiplier.astype(np.int64) + (1 << 15)) >> 16, 0x7FFF)
    return short, shift.astype(np.int64)


def wide_sum(
    b: Builder, x: Value, bias: Value | None, dtype: DType, terms: int, product: Callable[[Value], Value]
) -> Value:
    """The sums (i32 or i64) of a contraction of 16-bit numbers x with the zero point 0.

    `product` emits the contraction of bytes, `terms` is how many products a sum has. Sums of 32 bits wrap around.
    Raises `ShapeError` for more than `LONGEST`.
    """
    if terms > LONGEST:
        raise ShapeError(f"sums of {terms} products of 16-bit numbers are not supported")
    upper, lower = (b.emit("cast", product(_bytes(b, x, upper=u)), dtype=str(dtype)) for u in (True, False))
    total = b.emit("add", b.emit("mul", upper, b.scalar(256, dtype)), lower)
    return total if bias is None else b.emit("add", total, bias)


def _bytes(b: Builder, x: Value, *, upper: bool) -> Value:
    return b.emit("byte_of", x, upper=upper)
