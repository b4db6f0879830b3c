"""Sine and cosine."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from ..graph.ir import Attributes, Builder, Operation, Value
from ..graph.registry import register
from ..loops.ir import Binary, Cast, Expr, Select, Unary, const
from ..types import DType
from .elementwise import UnaryOperator

_HALF_PI = (1.57079632673412561417, 6.07710050650619224932e-11)
"""pi / 2 in two parts; products of the first with whole numbers below 2**20 are exact."""

_SINE = tuple((-1) ** k / math.factorial(2 * k + 1) for k in range(9))
_COSINE = tuple((-1) ** k / math.factorial(2 * k) for k in range(9))


def _polynomial(x: Expr, coefficients: tuple[float, ...]) -> Expr:
    """Horner's rule."""
    total: Expr = const(coefficients[-1], x.type)
    for coefficient in reversed(coefficients[:-1]):
        total = total * x + coefficient
    return total


def _cosine(x: Expr, quarter_turns: float) -> Expr:
    """cos(x + quarter_turns * pi/2) of an f64: the rest of x to a multiple of pi/2, then a Taylor series.

    The series of nine terms are exact to rounding for |rest| <= pi/4. |x| should stay below 1e6.
    """
    quarter = Unary("floor", x * (2 / math.pi) + 0.5)
    rest = x - quarter * _HALF_PI[0] - quarter * _HALF_PI[1]
    square = rest * rest
    turned = quarter + quarter_turns
    quadrant = turned - Unary("floor", turned * 0.25) * 4.0

    def within(low: float, high: float) -> Expr:
        return Binary("and", Binary("le", const(low, x.type), quadrant), Binary("le", quadrant, const(high, x.type)))

    def odd() -> Expr:
        return Binary("or", within(1, 1), within(3, 3))

    size = Select(odd(), rest * _polynomial(square, _SINE), _polynomial(square, _COSINE))
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
