"""Fixed-point arithmetic of the integer operators, twice: on NumPy arrays and as loop expressions.

A real factor is held as multiplier * 2^(shift - 31) with a 31-bit multiplier, and a product is rounded twice, as
TensorFlow Lite's reference kernels do: once where the upper half of the 64-bit product is taken (half up), once where
it is shifted right (half away from zero). Facts: gemmlowp's fixedpoint.h and TensorFlow's kernels/internal/common.cc.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ScaleError
from ...graph.ir import Attributes
from ...loops.ir import Binary, Cast, Expr, FixedMul, RealMul, VectorType, binary, const, maximum, minimum
from ...numerics import convert
from ...types import DType, Quantization
from ..functions.rounding import Let as Let
from ..functions.rounding import rounded, rounded_expr

Integers = NDArray[Any]

_HALF = 1 << 30
INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1


CALIBRATE = (
    "the scale of the result is too small for those of the operands: calibrate on samples that are not all alike"
)
MAX_SHIFT = 31
"""Largest shift to the left: with more, kernels shift a 32-bit number by its width, which means nothing."""


def quantize_multiplier(real: float) -> tuple[int, int]:
    """The multiplier and the shift (positive: to the left) that stand for a factor; tiny ones become (0, 0).

    Raises `ScaleError` for factors of 2^31 and more, with which kernels give no defined result.
    """
    if not abs(real) < 2.0**MAX_SHIFT:
        problem = f"a factor of {real:.4g} between scales is too large: fixed point holds factors below 2^31"
        raise ScaleError(problem, hint=CALIBRATE)
    if real == 0.0:
        return 0, 0
    fraction, shift = math.frexp(real)
    multiplier = round_half_away(fraction * (1 << 31))
    if multiplier == 1 << 31:
        multiplier, shift = multiplier // 2, shift + 1
    return (0, 0) if shift < -31 else (multiplier, shift)


def is_multiplier(pair: object) -> bool:
    """True for what `quantize_multiplier` may return."""
    match pair:
        case (int(multiplier), int(shift)):
            return 0 <= multiplier < 1 << 31 and abs(shift) <= MAX_SHIFT
    return False


def quantize_small_multiplier(real: float) -> tuple[int, int]:
    """The same for kernels that take factors below 1 alone. Raises `ScaleError` for others."""
    multiplier, shift = quantize_multiplier(real)
    if shift > 0:
        problem = f"a factor of {real:.4g} between scales is too large: the kernel takes factors below 1"
        raise ScaleError(problem, hint=CALIBRATE)
    return multiplier, shift


def single_ratio(*factors: float, over: float) -> float:
    """The product of f32 numbers, divided by another one; each step is rounded to f32, as kernels combine scales."""
    with np.errstate(all="ignore"):
        product = np.float32(factors[0])
        for factor in factors[1:]:
            product = product * np.float32(factor)
        return float(product / np.float32(over))


def round_half_away(value: float) -> int:
    """The nearest integer; halves are rounded away from zero."""
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


# ---- on arrays ------------------------------------------------------------------------------------------------------


def quantize_multipliers(real: NDArray[np.float64]) -> tuple[Integers, Integers]:
    """The multipliers and shifts (i64) of factors, as `quantize_multiplier` gives them."""
    for refused in np.extract(~(np.abs(real) < 2.0**MAX_SHIFT), real):
        quantize_multiplier(float(refused))
    fractions, exponents = np.frexp(real)
    multipliers = np.trunc(fractions * 2.0**31 + np.copysign(0.5, fractions)).astype(np.int64)
    carries = multipliers == 1 << 31
    shifts = exponents + carries.astype(np.int64)
    multipliers = np.where(carries, 1 << 30, multipliers)
    tiny = shifts < -31
    return np.where(tiny, 0, multipliers), np.where(tiny, 0, shifts)


def wrap32(x: Integers) -> Integers:
    """int64 values as 32-bit arithmetic would give them."""
    wrapped: Integers = x.astype(np.int32).astype(np.int64)
    return wrapped


def high_multiply(a: Integers, b: Integers | int) -> Integers:
    """The upper half of twice a product, rounded: a * b / 2^31, halves up; int64 in and out, 32-bit values."""
    product: Integers = np.asarray(a, np.int64) * b
    high: Integers = np.minimum((product + _HALF) >> 31, INT32_MAX)
    return high


def shift_right(x: Integers, exponent: Integers | int) -> Integers:
    """X / 2^exponent for exponents up to 62, rounded to the nearest integer, halves away from zero."""
    exponent = np.asarray(exponent, np.int64)
    half = (np.int64(1) << exponent) >> 1
    negative = (x < 0) & (half > 0)
    shifted: Integers = (x + half - negative) >> exponent
    return shifted


def multiply(x: Integers, multiplier: Integers | int, shift: Integers | int) -> Integers:
    """X times the real factor that multiplier and shift stand for; int64 in and out."""
    shift = np.asarray(shift, np.int64)
    widened = np.asarray(x, np.int64)
    if np.any(shift > 0):
        widened = wrap32(widened << np.maximum(shift, 0))
    return shift_right(high_multiply(widened, multiplier), np.maximum(-shift, 0))


def multiply_real(x: Integers, factor: Integers) -> Integers:
    """32-bit integers times real factors in f64, rounded once, half away from zero; int64 out."""
    product = x * np.asarray(factor, np.float64)
    return convert(rounded(product), DType.I32).astype(np.int64)


def saturate(x: Integers, dtype: DType, low: int | None = None, high: int | None = None) -> Integers:
    """Values limited to a range (of the element type, if none is given), as that element type."""
    info = np.iinfo(str(dtype.numpy))
    clipped: Integers = np.clip(x, info.min if low is None else low, info.max if high is None else high)
    return clipped.astype(dtype.numpy)


# ---- as loop expressions --------------------------------------------------------------------------------------------


def wide(x: Expr) -> Expr:
    """An integer expression as i64."""
    return x if x.type.dtype is DType.I64 else Cast(x, DType.I64)


def narrow(x: Expr) -> Expr:
    """The lower 32 bits of an integer expression, as i32."""
    return x if x.type.dtype is DType.I32 else Cast(x, DType.I32)


def offset_expr(x: Expr, quantization: Quantization) -> Expr:
    """An element without its zero point, as i32."""
    return Cast(x, DType.I32) - quantization.zero_point


def shr(x: Expr, by: Expr | int) -> Expr:
    """Arithmetic shift right."""
    return binary("shr", x, by)


def shift_right_expr(let: Let, x: Expr, exponent: int) -> Expr:
    """`shift_right` of an i64 expression by a constant."""
    if exponent == 0:
        return x
    x = let(x)
    return shr(x + (1 << exponent >> 1) + shr(x, 63), exponent)


def high_multiply_expr(a: Expr, b: Expr | int) -> Expr:
    """`high_multiply` of i64 expressions, without its saturation: one factor is not negative."""
    return shr(binary("mul", a, b) + _HALF, 31)


def multiply_expr(let: Let, x: Expr, multiplier: int, shift: int) -> Expr:
    """`multiply` of an i32 or i64 expression of 32-bit numbers by a constant factor: i64."""
    if shift > 0:
        x = _left_expr(x, const(shift, VectorType(DType.I32, x.type.lanes)))
    return shift_right_expr(let, high_multiply_expr(wide(x), multiplier), max(-shift, 0))


def _left_expr(x: Expr, shift: Expr) -> Expr:
    """A shift to the left by 0 to 31, in 32 bits: what doesn't fit is lost, as in the kernels."""
    return Binary("shl", narrow(x), narrow(shift))


def scale_expr(let: Let, x: Expr, multiplier: int, shift: int, *, drops_negative: bool = False) -> Expr:
    """`multiply` of an i32 expression by a constant factor: i32, but i64 where the factor is not below one half.

    With `drops_negative`, negative results need not be exact: rounding halves up, which is quicker, leaves them
    negative or 0.
    """
    if multiplier == 0:
        return const(0, x.type)
    if shift <= -1:
        return FixedMul(x, const(multiplier, x.type), const(shift, x.type), drops_negative)
    if (multiplier, shift) == (_HALF, 1):  # a factor of 1, but for the bit that the shift to the left loses
        one = const(1, x.type)
        return Binary("shr", Binary("shl", x, one), one)
    return multiply_expr(let, x, multiplier, shift)


def shift_right_by(let: Let, x: Expr, exponent: Expr) -> Expr:
    """`shift_right` of an i64 expression by another one, from 0 to 62."""
    x, exponent = let(x), let(exponent)
    half = let(shr(Binary("shl", const(1, exponent.type), exponent), 1))
    return shr(x + half + shr(x, 63) * minimum(half, 1), exponent)


def multiply_by_operands(let: Let, x: Expr, multiplier: Expr, shift: Expr) -> Expr:
    """`multiply` of an i64 expression by a factor that is given by i64 expressions."""
    shift = let(shift)
    left, right = maximum(shift, 0), maximum(binary("sub", 0, shift), 0)
    return shift_right_by(let, high_multiply_expr(wide(_left_expr(x, left)), multiplier), right)


def multiply_real_expr(let: Let, x: Expr, factor: Expr) -> Expr:
    """`multiply_real` of an i32 or i64 expression, of the same type."""
    if x.type.dtype is DType.I32:
        return RealMul.of(x, factor)
    product = rounded_expr(let, Cast(x, DType.F64) * factor)
    return Cast(Cast(product, DType.I32), DType.I64)


def drops_negative(attributes: Attributes, dtype: DType) -> bool:
    """True if the range of the results ends at what stands for 0, as after a relu."""
    info = np.iinfo(str(dtype.numpy))
    low = info.min if attributes["low"] is None else attributes["low"]
    return bool(low >= attributes["y"].zero_point)


def saturate_expr(x: Expr, dtype: DType, low: int | None = None, high: int | None = None) -> Expr:
    """`saturate` as an expression."""
    info = np.iinfo(str(dtype.numpy))
    clipped = maximum(minimum(x, info.max if high is None else high), info.min if low is None else low)
    return Cast(clipped, dtype)


def saturate_beside_expr(
    x: Expr, zero_point: int, dtype: DType, low: int | None = None, high: int | None = None
) -> Expr:
    """`saturate` of the sum of an i32 or i64 expression and a zero point, which has no overflow."""
    info = np.iinfo(str(dtype.numpy))
    least, most = info.min if low is None else low, info.max if high is None else high
    return Cast(maximum(minimum(x, most - zero_point), least - zero_point) + zero_point, dtype)
