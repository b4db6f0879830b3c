"""Functions on fixed-point numbers: exponential, reciprocal, logistic, hyperbolic tangent; int64 arrays in and out.

A number of `bits` bits (32 or 16) with i integer bits holds raw / 2^(bits - 1 - i). Each step rounds and saturates as
gemmlowp's fixedpoint.h does, so that the results equal TensorFlow Lite's reference kernels bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...loops.ir import Binary, Expr, Select, binary, const, maximum, minimum
from ..functions.rounding import Let
from .fixed_point import Integers, shift_right, shr

_EXP_FACTORS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
"""exp(-2^e) for e from -2 to 4, as 32-bit fractions."""
_EXP_MINUS_EIGHTH, _THIRD = 1895147668, 715827883
_48_OVER_17, _MINUS_32_OVER_17 = 1515870810, -1010580540
"""With two integer bits: the first guess of Newton's division."""


@dataclass(frozen=True, slots=True)
class FixedPoint:
    """Arithmetic on numbers of 32 or 16 bits."""

    bits: int

    @property
    def one(self) -> int:
        """The largest number without integer bits, which stands for 1."""
        return (1 << (self.bits - 1)) - 1

    def constant(self, raw: int) -> int:
        """A 32-bit constant in this width."""
        return int(shift_right(np.int64(raw), 32 - self.bits))  # type: ignore[arg-type]

    def times(self, a: Integers, b: Integers | int) -> Integers:
        """Product; the integer bits of both add up."""
        product: Integers = np.asarray(a, np.int64) * b
        high: Integers = np.minimum((product + (1 << (self.bits - 2))) >> (self.bits - 1), self.one)
        return high

    def shifted(self, x: Integers, exponent: int) -> Integers:
        """Times 2^exponent, rounded to the right, saturated to the left."""
        if exponent <= 0:
            return shift_right(x, -exponent)
        raised: Integers = np.clip(x << exponent, -self.one - 1, self.one)
        return raised

    def plus(self, a: Integers | int, b: Integers) -> Integers:
        """Sum; only 16-bit sums saturate."""
        total: Integers = a + b
        return np.clip(total, -self.one - 1, self.one) if self.bits == 16 else total

    def exp_of_negative(self, x: Integers, integer_bits: int) -> Integers:
        """exp(x) without integer bits, of x <= 0 with `integer_bits`."""
        fraction = self.bits - 1 - integer_bits
        quarter = 1 << (fraction - 2)
        part = (x & (quarter - 1)) - quarter
        result = self._exp_of_quarter(self.shifted(part, integer_bits))
        rest = part - x
        for exponent, factor in zip(range(-2, 5), _EXP_FACTORS, strict=True):
            if integer_bits > exponent:
                is_set = (rest & (1 << (fraction + exponent))) != 0
                result = np.where(is_set, self.times(result, self.constant(factor)), result)
        if integer_bits > 5:
            result = np.where(x < -(1 << (self.bits + 4 - integer_bits)), 0, result)
        return np.where(x == 0, self.one, result)

    def _exp_of_quarter(self, a: Integers) -> Integers:
        """exp(a) for -1/4 <= a < 0: a Taylor series around -1/8."""
        x = a + (1 << (self.bits - 4))
        x2 = self.times(x, x)
        x3, x4 = self.times(x2, x), self.times(x2, x2)
        tail = self.shifted(self.times(self.shifted(x4, -2) + x3, self.constant(_THIRD)) + x2, -1)
        scale = self.constant(_EXP_MINUS_EIGHTH)
        return self.plus(scale, self.times(x + tail, scale))

    def _two_over_one_plus(self, a: Integers) -> Integers:
        """2 / (1 + a) for 0 <= a <= 1, with two integer bits: three steps of Newton's division."""
        total = a + self.one
        half = (total + (total >= 0)) >> 1
        x = self.plus(self.constant(_48_OVER_17), self.times(half, self.constant(_MINUS_32_OVER_17)))
        for _ in range(3):
            error = (1 << (self.bits - 3)) - self.times(half, x)
            x = x + self.shifted(self.times(x, error), 2)
        return x

    def one_over_one_plus(self, a: Integers) -> Integers:
        """1 / (1 + a) for 0 <= a <= 1, all without integer bits."""
        return self.shifted(self._two_over_one_plus(a), 1)

    def logistic(self, x: Integers, integer_bits: int) -> Integers:
        """1 / (1 + exp(-x)), without integer bits."""
        positive = self.one_over_one_plus(self.exp_of_negative(-np.abs(x), integer_bits))
        result = np.where(x > 0, positive, self.one - positive)
        return np.where(x == 0, 1 << (self.bits - 2), result)

    def tanh(self, x: Integers, integer_bits: int) -> Integers:
        """Hyperbolic tangent, without integer bits."""
        e = self.exp_of_negative(-np.abs(x), integer_bits + 1)
        size = self.shifted(self._two_over_one_plus(e) - (1 << (self.bits - 3)), 2)
        return np.where(x == 0, 0, np.where(x < 0, -size, size))


def reciprocal(x: Integers, integer_bits: int) -> tuple[Integers, Integers]:
    """1 / x for x > 0 with `integer_bits`: a 32-bit fraction, and the power of two by which it is too large."""
    _, length = np.frexp(x.astype(np.float64))
    headroom = 32 - length.astype(np.int64)
    raised = (x << np.maximum(headroom, 0)) >> np.maximum(-headroom, 0)
    return FixedPoint(32).one_over_one_plus(raised - (1 << 31)), integer_bits - headroom


_HALF_SQRT_2 = 1518500250
"""sqrt(1/2), as a 32-bit fraction."""


def inverse_square_root(x: Integers) -> tuple[Integers, Integers]:
    """1 / sqrt(x) for 0 <= x < 2^31: a 32-bit fraction, and the power of two by which it is too small; 0 counts as 1.

    Five steps of Newton's iteration, as GetInvSqrtQuantizedMultiplierExp of TensorFlow Lite does them.
    """
    f = FixedPoint(32)
    large = x >= 1 << 29
    reduced = np.where(large, x >> 2, np.maximum(x, 2))
    _, length = np.frexp(reduced.astype(np.float64))
    pairs = (31 - length.astype(np.int64)) // 2 - 1
    shift = 11 + large - pairs
    half = (reduced << 2 * pairs) >> 1
    quarter = f.shifted(half, -1)
    root: Integers = np.full_like(half, 1 << 28)
    for _ in range(5):
        cube = f.shifted(f.times(f.times(root, root), root), 6)
        root = f.shifted(f.times(root, 3 << 27) - f.times(quarter, cube), 3)
    mantissa = f.times(root, _HALF_SQRT_2) << np.maximum(-shift, 0)
    small = x <= 1
    return np.where(small, f.one, mantissa), np.where(small, 0, -np.maximum(shift, 0))


# ---- as loop expressions, of 64-bit integers ------------------------------------------------------------------------


def bit_length_expr(let: Let, x: Expr) -> Expr:
    """How many binary digits a number from 1 to 2^62 has."""
    length: Expr = const(1, x.type)
    rest = x
    for step in (32, 16, 8, 4, 2, 1):
        high = let(shr(rest, step))
        is_longer = let(Binary("lt", const(0, x.type), high))
        length = let(Select(is_longer, length + step, length))
        rest = let(Select(is_longer, high, rest))
    return length


def one_over_one_plus_expr(let: Let, a: Expr) -> Expr:
    """`FixedPoint(32).one_over_one_plus` as an expression."""
    total = let(a + ((1 << 31) - 1))
    half = let(shr(total + 1 + shr(total, 63), 1))
    x = let(_times(half, _MINUS_32_OVER_17) + _48_OVER_17)
    for _ in range(3):
        error = binary("sub", 1 << 29, _times(half, x))
        x = let(x + _raised(_times(x, error), 2))
    return _raised(x, 1)


def headroom_expr(let: Let, x: Expr) -> Expr:
    """Zeros above the uppermost bit of a number of 32 bits, by which `reciprocal` raises it."""
    return binary("sub", 32, bit_length_expr(let, x))


def reciprocal_expr(let: Let, x: Expr, integer_bits: int) -> tuple[Expr, Expr]:
    """`reciprocal` as an expression."""
    x = let(x)
    headroom = let(headroom_expr(let, x))
    raised = shr(Binary("shl", x, maximum(headroom, 0)), maximum(binary("sub", 0, headroom), 0))
    return one_over_one_plus_expr(let, raised - (1 << 31)), binary("sub", integer_bits, headroom)


def inverse_square_root_expr(let: Let, x: Expr) -> tuple[Expr, Expr]:
    """`inverse_square_root` as an expression."""
    x = let(x)
    large = let(shr(x, 29))  # 0 to 3
    is_large = let(minimum(large, 1))
    reduced = let(Select(Binary("lt", const(0, x.type), large), shr(x, 2), maximum(x, 2)))
    pairs = let(shr(binary("sub", 31, bit_length_expr(let, reduced)), 1) - 1)
    shift = let(binary("sub", is_large + 11, pairs))
    half = let(shr(Binary("shl", reduced, pairs * 2), 1))
    quarter = let(shr(half + 1, 1))
    root: Expr = const(1 << 28, x.type)
    for _ in range(5):
        cube = let(_raised(_times(_times(root, root), root), 6))
        root = let(_raised(binary("sub", _times(root, 3 << 27), _times(quarter, cube)), 3))
    mantissa = Binary("shl", _times(root, _HALF_SQRT_2), maximum(binary("sub", 0, shift), 0))
    small = let(Binary("le", x, const(1, x.type)))
    none = const(0, x.type)
    return (
        let(Select(small, const((1 << 31) - 1, x.type), mantissa)),
        let(Select(small, none, binary("sub", 0, maximum(shift, 0)))),
    )


def _times(a: Expr, b: Expr | int) -> Expr:
    return minimum(shr(binary("mul", a, b) + (1 << 30), 31), (1 << 31) - 1)


def _raised(x: Expr, by: int) -> Expr:
    return maximum(minimum(x * (1 << by), (1 << 31) - 1), -(1 << 31))
