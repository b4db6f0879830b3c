"""Exponentials, logarithms and powers with other bases, or near 1."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...graph.ir import Array, Attributes, Builder, Operation, Value
from ...graph.registry import register
from ...loops.compute import Compute
from ...loops.ir import Binary, Expr, Select, Unary, binary, const
from ...types import DType
from ..facets import INTEGER, TFLITE, TfliteForm
from ..gradients import scaled
from .elementwise import BinaryOperator, MathFunction


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

    Integers wrap around, as their products do; negative powers of others than 1 and -1 are 0.
    The gradient is that of PyTorch: 0 for a where b is 0, and 0 for b where a is 0 and b isn't negative.
    """

    name = "pow"
    work = 32
    ufunc = np.power
    loop_op = "pow"

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        a, b = operands
        if a.dtype.kind == "f":
            return super().evaluate(operands, attributes)
        signs = np.where(b % 2 == 0, 1, a)  # of powers of 1 and -1
        inverse = np.where(abs(a.astype(np.int64)) == 1, signs, 0)
        return (np.asarray(np.where(b < 0, inverse, np.power(a, np.maximum(b, 0)))).astype(a.dtype),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        a, b = (c.let(c.load_broadcast(i, index)) for i in range(2))
        if a.type.dtype.is_float:
            return binary(self.loop_op, a, b)
        one, zero = const(1, a.type), const(0, a.type)
        power: Expr = a
        result: Expr = one
        for bit in range(8 * a.type.dtype.itemsize - (a.type.dtype is not DType.U8)):
            is_set = Binary("ne", Binary("and", b, const(1 << bit, b.type)), zero)
            result = c.let(Select(is_set, binary("mul", result, power), result))
            power = c.let(binary("mul", power, power))
        if a.type.dtype is DType.U8:
            return result
        # what the bits of a negative power make of 1 and -1 is right
        is_unit = Binary("or", Binary("eq", a, one), Binary("eq", a, const(-1, a.type)))
        return Select(Binary("and", Binary("lt", b, zero), Unary("not", is_unit)), zero, result)

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
    dtype = op.result.type.dtype
    if not dtype.is_float and dtype is not DType.I32:
        c.fail(op, f"TFLite's POW has no form for {dtype}", "cast to i32 before it")
    c.node("POW", [c.place(v) for v in op.operands], [c.result(op)], "PowOptions")


INTEGER.none("TFLite has no such operator", Exp2, Expm1, Log1p, Log2, Log10)
INTEGER.none("TFLite has no kernel for 8 bits", Pow)
TFLITE.none("made of others", Exp2, Expm1, Log1p, Log2, Log10)
TFLITE.add(TfliteForm(_write_pow, "POW"), Pow)
