"""The error function."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...graph.ir import Attributes, Builder, Operation, Value
from ...graph.registry import register
from ...loops.ir import Binary, Cast, Expr, Fma, Select, Unary, const, minimum
from ...types import DType
from ..facets import INTEGER, TFLITE
from ..gradients import scaled
from .elementwise import UnaryOperator

_NEAR = 0.46875
_MIDDLE = 4.0
_FAR = 6.0
"""From here on the function is 1 to the last bit of f64."""
_VANISHED = 28.0
"""From here on 1 - erf(x) is less than every f64: its exponential is 0."""
_A = (
    *(1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2, 3.77485237685302021e2),
    3.20937758913846947e3,
)
_B = (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3)
_C = (
    *(2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0, 6.61191906371416295e1),
    *(2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3),
    1.23033935479799725e3,
)
_D = (
    *(1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3),
    *(3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3),
)
_E = (
    *(1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1),
    *(1.60837851487422766e-2, 6.58749161529837803e-4),
)
_F = (
    *(1.0, 2.56852019228982242e0, 1.87295284992346725e0, 5.27905102951428412e-1, 6.05183413124413191e-2),
    2.33520497626869185e-3,
)
"""Rational approximations: of erf(x) / x in x * x up to `_NEAR`; of exp(x * x) * erfc(x) from there to `_MIDDLE`;
behind it of what its product with x lacks to 1 / sqrt(pi), times x * x, in 1 / (x * x).

Source: W. J. Cody, "Rational Chebyshev approximations for the error function", Mathematics of Computation 23, 1969.
"""
_SINGLE_SCALE = 3.0
_SINGLE = (
    *(0.055524589107955956, -0.29109239257537867, 0.5332207991269079, -0.4377979736172486),
    *(0.40066682324541036, -0.0003761473515121027, 0.19160469199350344, 0.17154080068329747),
    *(0.1886723627179721, 0.18803644458279267),
)
"""exp(x * x) * erfc(x) / t as a polynomial of t = 3 / (x + 3), fitted: the relative error is 2.2e-9 from 0 to 10."""


def _ratio(x: Expr, above: Sequence[float], below: Sequence[float]) -> Expr:
    """A quotient of polynomials, coefficients of the highest power first."""
    numerator: Expr = const(above[0], x.type)
    denominator: Expr = const(below[0], x.type)
    for p, q in zip(above[1:], below[1:], strict=True):
        numerator, denominator = numerator * x + p, denominator * x + q
    return numerator / denominator


def _far_ratio(x: Expr) -> Expr:
    """exp(x * x) * erfc(x) from `_MIDDLE` on."""
    inverse = 1.0 / (x * x)
    return (1 / math.sqrt(math.pi) - inverse * _ratio(inverse, _E, _F)) / x


def _bell(size: Expr) -> Expr:
    """exp(-size * size), where size isn't negative. What rounding the square loses, the exponential would multiply.

    The square of a number cut off behind six binary places is exact.
    """
    square = size * size
    cut = Unary("floor", size * 64.0) * (1 / 64)
    lost = (cut * cut - square) + (size - cut) * (size + cut)
    return Unary("exp", Unary("neg", square)) * (1.0 - lost)


def erf_array(x: Any) -> Any:
    """The function of an array of floats, computed in f64."""
    return np.vectorize(math.erf, otypes=[np.float64])(x)


def erfc_array(x: Any) -> Any:
    """1 - erf(x) of an array of floats, without the difference, computed in f64."""
    return np.vectorize(math.erfc, otypes=[np.float64])(x)


def _near(x: Expr, size: Expr) -> tuple[Expr, Expr]:
    """Whether x, of this size, is near 0, and erf(x) if it is."""
    return Binary("le", size, const(_NEAR, x.type)), x * _ratio(size * size, _A, _B)


def erf_element(x: Expr) -> Expr:
    """The function of one element, to 3 units in the last place of f32 and of f64; halves are computed in f32."""
    if x.type.dtype is DType.F16:
        return Cast(erf_element(Cast(x, DType.F32)), DType.F16)
    size = minimum(Unary("abs", x), _FAR)
    is_near, near = _near(x, size)
    far = 1.0 - Unary("exp", Unary("neg", size * size)) * _ratio(size, _C, _D)
    return Select(is_near, near, Select(Binary("lt", x, const(0, x.type)), Unary("neg", far), far))


def _single_ratio(size: Expr) -> Expr:
    """exp(size * size) * erfc(size) of a single."""
    t = _SINGLE_SCALE / (size + _SINGLE_SCALE)
    series: Expr = const(_SINGLE[0], t.type)
    for coefficient in _SINGLE[1:]:
        series = Fma(series, t, const(coefficient, t.type))
    return t * series


def erfc_element(x: Expr) -> Expr:
    """1 - erf(x) of one element; small results keep their digits, since no difference is taken."""
    if x.type.dtype is DType.F16:
        return Cast(erfc_element(Cast(x, DType.F32)), DType.F16)
    size = minimum(Unary("abs", x), _VANISHED)
    if x.type.dtype is DType.F32:
        tail = _bell(size) * _single_ratio(size)
        return Select(Binary("lt", x, const(0, x.type)), 2.0 - tail, tail)
    is_near, near = _near(x, size)
    is_middle = Binary("le", size, const(_MIDDLE, x.type))
    tail = _bell(size) * Select(is_middle, _ratio(size, _C, _D), _far_ratio(size))
    return Select(is_near, 1.0 - near, Select(Binary("lt", x, const(0, x.type)), 2.0 - tail, tail))


@register
class Erf(UnaryOperator):
    """The error function, 2 / sqrt(pi) * integral of exp(-t * t) from 0 to x."""

    name = "erf"
    floats_only = True
    work = 16

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return -1.0, 1.0

    def function(self, x: Any, attributes: Attributes) -> Any:
        return erf_array(x)

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return erf_element(x)

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        (x,) = op.operands
        slope = b.emit("exp", b.emit("neg", b.emit("mul", x, x)))
        return scaled(b, b.emit("mul", dy, slope), 2 / math.sqrt(math.pi))


@register
class Erfc(UnaryOperator):
    """1 - erf(x); small results keep their digits."""

    name = "erfc"
    floats_only = True
    work = 16

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return 0.0, 2.0

    def function(self, x: Any, attributes: Attributes) -> Any:
        return erfc_array(x)

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return erfc_element(x)

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        (x,) = op.operands
        slope = b.emit("exp", b.emit("neg", b.emit("mul", x, x)))
        return scaled(b, b.emit("mul", dy, slope), -2 / math.sqrt(math.pi))


INTEGER.none("TFLite has no such operator", Erf, Erfc)
TFLITE.none("TFLite has no such operator", Erf, Erfc)
