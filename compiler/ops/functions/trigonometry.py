"""Sine, cosine and tangent."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ...graph.ir import Attributes, Builder, Operation, Value
from ...graph.registry import register
from ...loops.compute import Compute
from ...loops.ir import Binary, Bitcast, Cast, Const, Expr, Fma, Select, Unary, binary, const, maximum
from ...types import DType
from ..facets import INTEGER, TFLITE
from .elementwise import UnaryOperator

Let = Callable[[Expr], Expr]
"""Compute a value once and return an expression that refers to it."""

_TWO_OVER_PI = int(
    "A2F9836E4E441529FC2757D1F534DDC0DB6295993C439041FE5163ABDEBBC561B7246E3A424DD2E006492EEA09D1921C"
    "FE1DEB1CB129A73EE88235F52EBB4484E99C7026B45F7E413991D639835339F49C845F8BBDF9283B1FF897FFDE05980F"
    "EF2F118B5A0A6D1F6D367ECF27CB09B74F463F669E5FEA2D7527BAC7EBE5F17B3D0739F78A5292EA6BFB5FB11F8D5D08"
    "56033046",
    16,
)
"""2 / pi times 2**1184; its first 256 bits suffice for singles."""

_HALF_PI = (math.pi / 2, 6.123233995736766e-17)
"""pi / 2 in two parts."""

_SINE = tuple((-1) ** k / math.factorial(2 * k + 1) for k in range(9))
_COSINE = tuple((-1) ** k / math.factorial(2 * k) for k in range(9))

_SINGLE_SINE = (-1.6666654611e-1, 8.3321608736e-3, -1.9515295891e-4)
_SINGLE_COSINE = (4.166664568298827e-2, -1.388731625493765e-3, 2.443315711809948e-5)
"""Those of S. Moshier's Cephes library (`sinf`, `cosf`)."""


def _polynomial(x: Expr, coefficients: tuple[float, ...]) -> Expr:
    """Horner's rule."""
    total: Expr = const(coefficients[-1], x.type)
    for coefficient in reversed(coefficients[:-1]):
        total = Fma(total, x, const(coefficient, x.type))
    return total


def _whole(value: int, like: Expr) -> Expr:
    """An i64 with these 64 bits."""
    return Const(value - (1 << 64) if value >> 63 else value, DType.I64, like.type.lanes)


def _word(x: Expr, first: Expr) -> Expr:
    """32 bits of an i64, from the first on."""
    return Binary("and", Binary("shr", x, first), _whole((1 << 32) - 1, x))


def _reduced(size: Expr, let: Let) -> tuple[Expr, Expr]:
    """A number of quarter turns modulo 4, and the rest, of an f64 that isn't negative.

    Of 2 / pi only the 192 bits are multiplied that count: those before give whole turns, and those behind less than
    2**-124 of a quarter turn. No f64 but 0 is nearer to a multiple of pi / 2 than 2**-61. Source as for singles.
    """
    size = let(size)
    bits = let(Bitcast(size, DType.I64))
    zero, thirty_two = _whole(0, bits), _whole(32, bits)
    mantissa = let(Binary("or", Binary("and", bits, _whole((1 << 52) - 1, bits)), _whole(1 << 52, bits)))
    skipped = let(maximum(Binary("shr", bits, _whole(52, bits)) - _whole(1077 - 64, bits), zero))
    behind = let(thirty_two - Binary("and", skipped, _whole(31, bits)))
    pairs = _from_word(let(Binary("shr", skipped, _whole(5, bits))), 6, let)
    words = [let(_word(pair, behind)) for pair in reversed(pairs)]
    low, high = let(_word(mantissa, zero)), let(Binary("shr", mantissa, thirty_two))
    lower, upper = [let(low * word) for word in words[1:]], [let(high * word) for word in words[:-1]]
    sums, carried = [], _word(lower[0], thirty_two) + Binary("shr", upper[0], thirty_two)
    for a, b in zip(lower[1:], upper[1:], strict=True):
        total = let(carried + _word(a, zero) + _word(b, zero))
        carried = _word(a, thirty_two) + Binary("shr", b, thirty_two) + Binary("shr", total, thirty_two)
        sums.append(_word(total, zero))
    turns = let(Binary("or", Binary("shl", sums[3], thirty_two), sums[2]))  # two bits, and 62 behind the point
    further = Binary("or", Binary("shl", sums[1], _whole(31, bits)), Binary("shr", sums[0], _whole(1, bits)))
    quarter, rest = _split(turns)
    part = let(Cast(rest, DType.F64) * 2.0**-62 + Cast(further, DType.F64) * 2.0**-125)
    angle = Fma(part, const(_HALF_PI[0], part.type), part * _HALF_PI[1])
    is_small = let(binary("lt", size, 0.5))
    return Select(is_small, const(0, size.type), Cast(quarter, DType.F64)), Select(is_small, size, angle)


def _from_word(place: Expr, count: int, let: Let) -> list[Expr]:
    """So many pairs of 32-bit words of 64 zeros and 2 / pi, from word `place` (0 to 32) on.

    Pairs overlap, so that any 32 bits that begin in a word lie in its pair.
    """
    pairs: list[Expr] = [_whole(_TWO_OVER_PI >> 32 * (37 - k) & (1 << 64) - 1, place) for k in range(32 + count)]
    for step in (32, 16, 8, 4, 2, 1):
        is_far = let(Binary("ne", Binary("and", place, _whole(step, place)), _whole(0, place)))
        chosen = [let(Select(is_far, there, here)) for here, there in zip(pairs, pairs[step:], strict=False)]
        pairs = [*chosen, *pairs[len(chosen) :]][: count + step - 1]
    return pairs


def _split(turns: Expr) -> tuple[Expr, Expr]:
    """The nearest number of quarter turns modulo 4, and the rest, of an i64 with 62 bits behind the point."""
    two, top = _whole(2, turns), _whole(62, turns)
    quarter = Binary("and", Binary("shr", turns + _whole(1 << 61, turns), top), _whole(3, turns))
    return quarter, Binary("shr", Binary("shl", turns, two), two)


def _reduced_single(size: Expr) -> tuple[Expr, Expr]:
    """A number of quarter turns modulo 4, and the rest, of a single that isn't negative.

    Of 2 / pi only the 96 bits are multiplied that count. Source: M. Payne and R. Hanek, "Radian reduction for
    trigonometric functions", SIGNUM Newsletter 18, 1983.
    """
    bits = Cast(Bitcast(size, DType.I32), DType.I64)
    mantissa = Binary("or", Binary("and", bits, _whole((1 << 23) - 1, bits)), _whole(1 << 23, bits))
    skipped = _whole(162 + 150, bits) - Binary("shr", bits, _whole(23, bits))
    within = Binary("and", skipped, _whole(31, bits))
    pairs = [_whole(_TWO_OVER_PI >> 928 + 32 * k & (1 << 64) - 1, bits) for k in range(8)]
    low, middle, high = pairs[1:4]
    for first in range(2, 6):
        is_behind = Binary("le", _whole(32 * first, bits), skipped)
        low, middle, high = (Select(is_behind, pairs[first + k], word) for k, word in enumerate((low, middle, high)))
    low, middle, high = (mantissa * _word(pair, within) for pair in (low, middle, high))
    thirty_two = _whole(32, bits)
    turns = Binary("shl", high, thirty_two) + middle + Binary("shr", low, thirty_two)
    quarter, rest = _split(turns)
    is_small = binary("lt", size, 0.5)
    angle = Cast(Cast(rest, DType.F64) * (math.pi / 2**63), size.type.dtype)
    return Select(is_small, const(0, size.type), Cast(quarter, size.type.dtype)), Select(is_small, size, angle)


def _waves(x: Expr, let: Let) -> tuple[Expr, Expr, Expr]:
    """A number of quarter turns modulo 4 of |x|, the sine and the cosine of the rest."""
    if x.type.dtype is DType.F64:
        quarter, rest = (let(part) for part in _reduced(Unary("abs", x), let))
        sine, cosine = _series(rest, let(rest * rest))
        return quarter, let(sine), let(cosine)
    quarter, rest = _reduced_single(Unary("abs", x))
    square = rest * rest
    sine = Fma(rest, square * _polynomial(square, _SINGLE_SINE), rest)
    cosine = Fma(square * square, _polynomial(square, _SINGLE_COSINE), 1.0 - square * 0.5)
    return quarter, sine, cosine


def _signed(x: Expr, of_size: Expr) -> Expr:
    """An odd function of x from that of |x|."""
    bits = Bitcast(x, DType.I64 if x.type.dtype is DType.F64 else DType.I32)
    is_negative = Binary("lt", bits, Const(0, bits.type.dtype, x.type.lanes))
    return Select(is_negative, Unary("neg", of_size), of_size)


def _series(rest: Expr, square: Expr) -> tuple[Expr, Expr]:
    """Sine and cosine of |rest| <= pi/4: Taylor series of nine terms, exact to rounding."""
    return rest + rest * (square * _polynomial(square, _SINE[1:])), _polynomial(square, _COSINE)


def _equals(number: Expr, value: float) -> Expr:
    return Binary("eq", number, const(value, number.type))


def _finite(x: Expr, value: Expr) -> Expr:
    """The value where x is finite, else NaN."""
    return Select(binary("lt", Unary("abs", x), math.inf), value, const(math.nan, x.type))


def _sine(x: Expr, let: Let) -> Expr:
    quarter, sine, cosine = _waves(x, let)
    size = Select(Binary("or", _equals(quarter, 1.0), _equals(quarter, 3.0)), cosine, sine)
    return _signed(x, Select(binary("le", 2.0, quarter), Unary("neg", size), size))


def _cosine(x: Expr, let: Let) -> Expr:
    quarter, sine, cosine = _waves(x, let)
    is_odd = Binary("or", _equals(quarter, 1.0), _equals(quarter, 3.0))
    is_negative = Binary("or", _equals(quarter, 1.0), _equals(quarter, 2.0))
    size = Select(is_odd, sine, cosine)
    return Select(is_negative, Unary("neg", size), size)


def _tangent(x: Expr, let: Let) -> Expr:
    quarter, sine, cosine = _waves(x, let)
    is_odd = Binary("or", _equals(quarter, 1.0), _equals(quarter, 3.0))
    above, below = Select(is_odd, Unary("neg", cosine), sine), Select(is_odd, sine, cosine)
    return _signed(x, above / below)


class _Periodic(UnaryOperator):
    """Base of all three: of floats, halves in f32; NaN where x isn't finite."""

    floats_only = True
    work = 8
    method: ClassVar[Callable[[Expr, Let], Expr]]

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        return self._of(c.load(0, index), c.let)

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return self._of(x, lambda value: value)

    def _of(self, x: Expr, let: Let) -> Expr:
        wide = Cast(x, DType.F32) if x.type.dtype is DType.F16 else x
        value = _finite(wide, type(self).method(wide, let))
        return Cast(value, DType.F16) if wide is not x else value


class _Wave(_Periodic):
    """Base of sine and cosine."""

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return -1.0, 1.0


@register
class Cos(_Wave):
    """Cosine of x in radians."""

    name = "cos"
    method = _cosine

    def function(self, x: Any, attributes: Attributes) -> Any:
        return np.cos(x)

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return b.emit("neg", b.emit("mul", dy, b.emit("sin", op.operands[0])))


@register
class Sin(_Wave):
    """Sine of x in radians."""

    name = "sin"
    method = _sine

    def function(self, x: Any, attributes: Attributes) -> Any:
        return np.sin(x)

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return b.emit("mul", dy, b.emit("cos", op.operands[0]))


@register
class Tan(_Periodic):
    """Tangent of x in radians."""

    name = "tan"
    method = _tangent

    def expand(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (x,) = operands
        return b.emit("div", b.emit("sin", x), b.emit("cos", x))

    def function(self, x: Any, attributes: Attributes) -> Any:
        return np.tan(x)

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        square = b.emit("mul", op.result, op.result)
        return b.emit("mul", dy, b.emit("add", square, b.scalar(1.0, dy.type.dtype)))


INTEGER.none("TFLite has no such operator", Tan)
TFLITE.none("made of others", Tan)
