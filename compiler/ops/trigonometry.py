"""Sine, cosine and tangent."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..graph.ir import Attributes, Builder, Operation, Value
from ..graph.registry import register
from ..loops.ir import Binary, Bitcast, Cast, Const, Expr, Fma, Select, Unary, binary, const, maximum, minimum
from ..types import DType
from .elementwise import UnaryOperator
from .facets import INTEGER, TFLITE

_HALF_PI = (1.5707963267341256, 6.077100506303966e-11, 2.0222662487959506e-21)
"""pi / 2 in three parts; products of the first two with whole numbers below 2**20 are exact."""

_TWO_OVER_PI = 0xA2F9836E4E441529FC2757D1F534DDC0DB6295993C439041FE5163ABDEBBC561
"""2 / pi times 2**256."""

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


def _reduced(x: Expr) -> tuple[Expr, Expr]:
    """A number of quarter turns, and the rest of an f64 to it: x is less than 1e6, or digits of the rest are lost.

    It never exceeds 1, so that sines stay within their bounds even where no digit is left.
    """
    quarter = Unary("floor", x * (2 / math.pi) + 0.5)
    rest = x
    for part in _HALF_PI:
        rest = rest - quarter * part
    rest = minimum(maximum(rest, -1.0), 1.0)
    return quarter - Unary("floor", quarter * 0.25) * 4.0, rest


def _reduced_single(size: Expr) -> tuple[Expr, Expr]:
    """A number of quarter turns modulo 4, and the rest, of a single that isn't negative.

    Of 2 / pi only the 96 bits are multiplied that count. Source: M. Payne and R. Hanek, "Radian reduction for
    trigonometric functions", SIGNUM Newsletter 18, 1983.
    """
    lanes = size.type.lanes

    def whole(value: int) -> Expr:
        return Const(value - (1 << 64) if value >> 63 else value, DType.I64, lanes)

    bits = Cast(Bitcast(size, DType.I32), DType.I64)
    mantissa = Binary("or", Binary("and", bits, whole((1 << 23) - 1)), whole(1 << 23))
    skipped = whole(162 + 150) - Binary("shr", bits, whole(23))
    within = Binary("and", skipped, whole(31))
    pairs = [whole(_TWO_OVER_PI >> 32 * k & (1 << 64) - 1) for k in range(8)]
    low, middle, high = pairs[1:4]
    for first in range(2, 6):
        is_behind = Binary("le", whole(32 * first), skipped)
        low, middle, high = (Select(is_behind, pairs[first + k], word) for k, word in enumerate((low, middle, high)))

    def product(pair: Expr) -> Expr:
        return mantissa * Binary("and", Binary("shr", pair, within), whole((1 << 32) - 1))

    upper = Binary("shl", product(high), whole(32))
    turns = upper + product(middle) + Binary("shr", product(low), whole(32))  # two bits, and 62 behind the point
    quarter = Binary("and", Binary("shr", turns + whole(1 << 61), whole(62)), whole(3))
    rest = Binary("shr", Binary("shl", turns, whole(2)), whole(2))
    is_small = binary("lt", size, 0.5)
    angle = Cast(Cast(rest, DType.F64) * (math.pi / 2**63), size.type.dtype)
    return Select(is_small, const(0, size.type), Cast(quarter, size.type.dtype)), Select(is_small, size, angle)


def _waves(x: Expr) -> tuple[Expr, Expr, Expr]:
    """A number of quarter turns modulo 4, the sine and the cosine of the rest; for singles those of |x|."""
    if x.type.dtype is DType.F64:
        quarter, rest = _reduced(x)
        return quarter, *_series(rest)
    quarter, rest = _reduced_single(Unary("abs", x))
    square = rest * rest
    sine = Fma(rest, square * _polynomial(square, _SINGLE_SINE), rest)
    cosine = Fma(square * square, _polynomial(square, _SINGLE_COSINE), 1.0 - square * 0.5)
    return quarter, sine, cosine


def _signed(x: Expr, of_size: Expr) -> Expr:
    """An odd function of x from that of |x|; NaN where x isn't finite."""
    if x.type.dtype is DType.F64:
        return of_size
    is_negative = Binary("lt", Bitcast(x, DType.I32), Const(0, DType.I32, x.type.lanes))
    return Select(is_negative, Unary("neg", of_size), of_size)


def _series(rest: Expr) -> tuple[Expr, Expr]:
    """Sine and cosine of |rest| <= pi/4: Taylor series of nine terms, exact to rounding."""
    square = rest * rest
    return rest + rest * (square * _polynomial(square, _SINE[1:])), _polynomial(square, _COSINE)


def _equals(number: Expr, value: float) -> Expr:
    return Binary("eq", number, const(value, number.type))


def _finite(x: Expr, value: Expr) -> Expr:
    """The value where x is finite, else NaN."""
    return Select(binary("lt", Unary("abs", x), math.inf), value, const(math.nan, x.type))


def _sine(x: Expr) -> Expr:
    quarter, sine, cosine = _waves(x)
    size = Select(Binary("or", _equals(quarter, 1.0), _equals(quarter, 3.0)), cosine, sine)
    return _signed(x, Select(binary("le", 2.0, quarter), Unary("neg", size), size))


def _cosine(x: Expr) -> Expr:
    quarter, sine, cosine = _waves(x)
    is_odd = Binary("or", _equals(quarter, 1.0), _equals(quarter, 3.0))
    is_negative = Binary("or", _equals(quarter, 1.0), _equals(quarter, 2.0))
    size = Select(is_odd, sine, cosine)
    return Select(is_negative, Unary("neg", size), size)


def _tangent(x: Expr) -> Expr:
    quarter, sine, cosine = _waves(x)
    is_odd = Binary("or", _equals(quarter, 1.0), _equals(quarter, 3.0))
    above, below = Select(is_odd, Unary("neg", cosine), sine), Select(is_odd, sine, cosine)
    return _signed(x, above / below)


def _in_single(x: Expr, function: Callable[[Expr], Expr]) -> Expr:
    """A function of a float, halves in f32; NaN where x isn't finite."""
    wide = Cast(x, DType.F32) if x.type.dtype is DType.F16 else x
    value = _finite(wide, function(wide))
    return Cast(value, DType.F16) if wide is not x else value


class _Wave(UnaryOperator):
    """Base of sine and cosine."""

    floats_only = True
    work = 8

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return -1.0, 1.0


@register
class Cos(_Wave):
    """Cosine of x in radians; of an f64 |x| < 1e6."""

    name = "cos"

    def function(self, x: Any, attributes: Attributes) -> Any:
        return np.cos(x)

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return _in_single(x, _cosine)

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return b.emit("neg", b.emit("mul", dy, b.emit("sin", op.operands[0])))


@register
class Sin(_Wave):
    """Sine of x in radians; of an f64 |x| < 1e6."""

    name = "sin"

    def function(self, x: Any, attributes: Attributes) -> Any:
        return np.sin(x)

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return _in_single(x, _sine)

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return b.emit("mul", dy, b.emit("cos", op.operands[0]))


@register
class Tan(UnaryOperator):
    """Tangent of x in radians; of an f64 |x| < 1e6."""

    name = "tan"
    floats_only = True
    work = 8

    def expand(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (x,) = operands
        return b.emit("div", b.emit("sin", x), b.emit("cos", x))

    def function(self, x: Any, attributes: Attributes) -> Any:
        return np.tan(x)

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return _in_single(x, _tangent)

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        square = b.emit("mul", op.result, op.result)
        return b.emit("mul", dy, b.emit("add", square, b.scalar(1.0, dy.type.dtype)))


INTEGER.none("TFLite has no such operator", Tan)
TFLITE.none("made of others", Tan)
