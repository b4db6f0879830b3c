"""Exponentials, logarithms and powers with other bases, or near 1."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..graph.ir import Attributes, Builder, Operation, Value
from ..graph.registry import register
from .elementwise import BinaryOperator, MathFunction
from .facets import INTEGER, TFLITE, TfliteForm
from .gradients import scaled


@register
class Expm1(MathFunction):
    """exp(x) - 1, exact for small x."""

    name = "expm1"
    ufunc = np.expm1

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return -1.0, math.inf

    def expand(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (x,) = operands
        return b.emit("sub", b.emit("exp", x), b.scalar(1.0, x.type.dtype))

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return b.emit("mul", dy, b.emit("add", op.result, b.scalar(1.0, dy.type.dtype)))


@register
class Exp2(MathFunction):
    """2 to the power of x."""

    name = "exp2"
    ufunc = np.exp2

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return 0.0, math.inf

    def expand(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (x,) = operands
        return b.emit("exp", scaled(b, x, math.log(2)))

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return b.emit("mul", dy, scaled(b, op.result, math.log(2)))


@register
class Log1p(MathFunction):
    """log(1 + x), exact for small x."""

    name = "log1p"
    ufunc = np.log1p

    def expand(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (x,) = operands
        return b.emit("log", b.emit("add", x, b.scalar(1.0, x.type.dtype)))

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return b.emit("div", dy, b.emit("add", op.operands[0], b.scalar(1.0, dy.type.dtype)))


@register
class Log2(MathFunction):
    """Logarithm to the base 2."""

    name = "log2"
    ufunc = np.log2

    def expand(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (x,) = operands
        return scaled(b, b.emit("log", x), 1 / math.log(2))

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return b.emit("div", scaled(b, dy, 1 / math.log(2)), op.operands[0])


@register
class Log10(MathFunction):
    """Logarithm to the base 10."""

    name = "log10"
    ufunc = np.log10

    def expand(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (x,) = operands
        return scaled(b, b.emit("log", x), 1 / math.log(10))

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return b.emit("div", scaled(b, dy, 1 / math.log(10)), op.operands[0])


@register
class Pow(BinaryOperator):
    """a to the power of b: NaN where a is negative and b no whole number; 1 where b is 0 or a is 1.

    The gradient is that of PyTorch: 0 for a where b is 0, and 0 for b where a is 0 and b isn't negative.
    """

    name = "pow"
    floats_only = True
    work = 32
    ufunc = np.power
    loop_op = "pow"

    def partials(self, b: Builder, op: Operation, dy: Value) -> tuple[Value, Value]:
        x, y = op.operands
        zero, one = (b.scalar(v, dy.type.dtype) for v in (0.0, 1.0))
        lower = b.emit("pow", x, b.emit("sub", y, one))
        da = b.emit("select", b.emit("equal", y, zero), zero, b.emit("mul", dy, b.emit("mul", y, lower)))
        no_log = b.emit("equal", x, zero)
        log = b.emit("log", b.emit("select", no_log, one, x))
        limit = b.emit("select", no_log, b.emit("select", b.emit("less", y, zero), b.emit("log", x), zero), log)
        return da, b.emit("mul", dy, b.emit("mul", op.result, limit))


def _write_pow(c: Any, op: Operation) -> None:
    c.node("POW", [c.place(v) for v in op.operands], [c.result(op)], "PowOptions")


INTEGER.none("TFLite has no such operator", Exp2, Expm1, Log1p, Log2, Log10)
INTEGER.none("TFLite has no kernel for 8 bits", Pow)
TFLITE.none("made of others", Exp2, Expm1, Log1p, Log2, Log10)
TFLITE.add(TfliteForm(_write_pow, "POW"), Pow)
