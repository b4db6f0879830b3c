"""Sine, cosine and tangent."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from ..graph.ir import Attributes, Builder, Operation, Value
from ..graph.registry import register
from ..loops.ir import Binary, Cast, Expr, Select, Unary, const
from ..types import DType
from .elementwise import UnaryOperator
from .facets import INTEGER, TFLITE

_HALF_PI = (1.5707963267341256, 6.077100506303966e-11, 2.0222662487959506e-21)
"""pi / 2 in three parts; products of the first two with whole numbers below 2**20 are exact."""

_SINE = tuple((-1) ** k / math.factorial(2 * k + 1) for k in range(9))
_COSINE = tuple((-1) ** k / math.factorial(2 * k) for k in range(9))


def _polynomial(x: Expr, coefficients: tuple[float, ...]) -> Expr:
    """Horner's rule."""
    total: Expr = const(coefficients[-1], x.type)
    for coefficient in reversed(coefficients[:-1]):
        total = total * x + coefficient
    return total


def _reduced(x: Expr) -> tuple[Expr, Expr]:
    """A number of quarter turns, and the rest of an f64 to it: x is less than 1e6, or digits of the rest are lost."""
    quarter = Unary("floor", x * (2 / math.pi) + 0.5)
    rest = x
    for part in _HALF_PI:
        rest = rest - quarter * part
    return quarter, rest


def _series(rest: Expr) -> tuple[Expr, Expr]:
    """Sine and cosine of |rest| <= pi/4: Taylor series of nine terms, exact to rounding."""
    square = rest * rest
    return rest + rest * (square * _polynomial(square, _SINE[1:])), _polynomial(square, _COSINE)


def _cosine(x: Expr, quarter_turns: float) -> Expr:
    """cos(x + quarter_turns * pi/2) of an f64."""
    quarter, rest = _reduced(x)
    turned = quarter + quarter_turns
    quadrant = turned - Unary("floor", turned * 0.25) * 4.0

    def within(low: float, high: float) -> Expr:
        return Binary("and", Binary("le", const(low, x.type), quadrant), Binary("le", quadrant, const(high, x.type)))

    sine, cosine = _series(rest)
    size = Select(Binary("or", within(1, 1), within(3, 3)), sine, cosine)
    return Select(within(1, 2), Unary("neg", size), size)


class _Wave(UnaryOperator):
    """Base of sine and cosine, which are a quarter turn apart."""

    floats_only = True
    work = 8
    quarter_turns: ClassVar[float]

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return -1.0, 1.0

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return Cast(_cosine(Cast(x, DType.F64), self.quarter_turns), x.type.dtype)


@register
class Cos(_Wave):
    """Cosine of x in radians, |x| < 1e6."""

    name = "cos"
    quarter_turns = 0.0

    def function(self, x: Any, attributes: Attributes) -> Any:
        return np.cos(x)

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return b.emit("neg", b.emit("mul", dy, b.emit("sin", op.operands[0])))


@register
class Sin(_Wave):
    """Sine of x in radians, |x| < 1e6."""

    name = "sin"
    quarter_turns = 3.0

    def function(self, x: Any, attributes: Attributes) -> Any:
        return np.sin(x)

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return b.emit("mul", dy, b.emit("cos", op.operands[0]))


@register
class Tan(UnaryOperator):
    """Tangent of x in radians, |x| < 1e6."""

    name = "tan"
    floats_only = True
    work = 8

    def expand(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (x,) = operands
        return b.emit("div", b.emit("sin", x), b.emit("cos", x))

    def function(self, x: Any, attributes: Attributes) -> Any:
        return np.tan(x)

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        quarter, rest = _reduced(Cast(x, DType.F64))
        sine, cosine = _series(rest)
        is_odd = Binary("ne", Unary("floor", quarter * 0.5) * 2.0, quarter)
        above, below = Select(is_odd, Unary("neg", cosine), sine), Select(is_odd, sine, cosine)
        return Cast(above / below, x.type.dtype)

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        square = b.emit("mul", op.result, op.result)
        return b.emit("mul", dy, b.emit("add", square, b.scalar(1.0, dy.type.dtype)))


INTEGER.none("TFLite has no such operator", Tan)
TFLITE.none("made of others", Tan)
