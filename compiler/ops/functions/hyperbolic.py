"""Hyperbolic functions and their inverses."""

from __future__ import annotations

import math

import numpy as np

from ...graph.ir import Attributes, Builder, Operation, Value
from ...graph.registry import register
from ..facets import INTEGER, TFLITE
from ..gradients import scaled
from .elementwise import MathFunction


@register
class Sinh(MathFunction):
    """Hyperbolic sine."""

    name = "sinh"
    ufunc = np.sinh

    def expand(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (x,) = operands
        above, below = b.emit("exp", x), b.emit("exp", b.emit("neg", x))
        return scaled(b, b.emit("sub", above, below), 0.5)

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return b.emit("mul", dy, b.emit("cosh", op.operands[0]))


@register
class Cosh(MathFunction):
    """Hyperbolic cosine."""

    name = "cosh"
    ufunc = np.cosh

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return 1.0, math.inf

    def expand(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (x,) = operands
        above, below = b.emit("exp", x), b.emit("exp", b.emit("neg", x))
        return scaled(b, b.emit("add", above, below), 0.5)

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return b.emit("mul", dy, b.emit("sinh", op.operands[0]))


@register
class Asinh(MathFunction):
    """Inverse hyperbolic sine."""

    name = "asinh"
    ufunc = np.arcsinh

    def expand(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (x,) = operands
        size = b.emit("abs", x)
        total = b.emit("add", size, b.emit("sqrt", _shifted_square(b, x, 1.0)))
        return b.emit("mul", b.emit("sign", x), b.emit("log", total))

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return b.emit("div", dy, b.emit("sqrt", _shifted_square(b, op.operands[0], 1.0)))


@register
class Acosh(MathFunction):
    """Inverse hyperbolic cosine; NaN below 1."""

    name = "acosh"
    ufunc = np.arccosh

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return 0.0, math.inf

    def expand(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (x,) = operands
        return b.emit("log", b.emit("add", x, b.emit("sqrt", _shifted_square(b, x, -1.0))))

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return b.emit("div", dy, b.emit("sqrt", _shifted_square(b, op.operands[0], -1.0)))


@register
class Atanh(MathFunction):
    """Inverse hyperbolic tangent; NaN beyond 1 and -1."""

    name = "atanh"
    ufunc = np.arctanh

    def expand(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (x,) = operands
        one = b.scalar(1.0, x.type.dtype)
        ratio = b.emit("div", b.emit("add", one, x), b.emit("sub", one, x))
        return scaled(b, b.emit("log", ratio), 0.5)

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return b.emit("neg", b.emit("div", dy, _shifted_square(b, op.operands[0], -1.0)))


def _shifted_square(b: Builder, x: Value, by: float) -> Value:
    return b.emit("add", b.emit("mul", x, x), b.scalar(by, x.type.dtype))


INTEGER.none("TFLite has no such operator", Acosh, Asinh, Atanh, Cosh, Sinh)
TFLITE.none("made of others", Acosh, Asinh, Atanh, Cosh, Sinh)
