"""Arithmetic of numbers: sum, difference, product, quotient, extrema, sign."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...graph.ir import Array, Attributes, Builder, Operation, Scales, Value
from ...graph.registry import register
from ...loops.ir import Binary, Expr, Select, const
from ...numerics import quotient
from ...types import DType
from ..gradients import scaled, where
from .elementwise import BinaryOperator, NamedFunction, UnaryOperator


@register
class Add(BinaryOperator):
    """Sum of two tensors."""

    name = "add"
    commutative = True
    ufunc = np.add
    loop_op = "add"

    def partials(self, b: Builder, op: Operation, dy: Value) -> tuple[Value, Value]:
        return dy, dy


@register
class Sub(BinaryOperator):
    """Difference of two tensors."""

    name = "sub"
    ufunc = np.subtract
    loop_op = "sub"

    def partials(self, b: Builder, op: Operation, dy: Value) -> tuple[Value, Value]:
        return dy, b.emit("neg", dy)


@register
class Mul(BinaryOperator):
    """Product of two tensors, element by element."""

    name = "mul"
    commutative = True
    ufunc = np.multiply
    loop_op = "mul"

    def partials(self, b: Builder, op: Operation, dy: Value) -> tuple[Value, Value]:
        x, y = op.operands
        return b.emit("mul", dy, y), b.emit("mul", dy, x)


@register
class Div(BinaryOperator):
    """Quotient of two tensors, element by element; of integers rounded toward zero, and 0 where b is 0."""

    name = "div"
    ufunc = np.divide
    loop_op = "div"

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        is_float = np.issubdtype(operands[0].dtype, np.floating)
        return super().evaluate(operands, attributes) if is_float else (quotient(*operands),)

    def partials(self, b: Builder, op: Operation, dy: Value) -> tuple[Value, Value]:
        da = b.emit("div", dy, op.operands[1])
        return da, b.emit("neg", b.emit("mul", da, op.result))


@register
class Maximum(BinaryOperator):
    """The larger of two elements; NaN if one of them is."""

    name = "maximum"
    keeps_quantization = True
    commutative = True
    ufunc = np.maximum
    loop_op = "max"
    scales = Scales.COMMON

    def partials(self, b: Builder, op: Operation, dy: Value) -> tuple[Value, Value]:
        return _shares(b, "greater", op, dy)


@register
class Minimum(BinaryOperator):
    """The smaller of two elements; NaN if one of them is."""

    name = "minimum"
    keeps_quantization = True
    commutative = True
    ufunc = np.minimum
    loop_op = "min"
    scales = Scales.COMMON

    def partials(self, b: Builder, op: Operation, dy: Value) -> tuple[Value, Value]:
        return _shares(b, "less", op, dy)


def _shares(b: Builder, wins: str, op: Operation, dy: Value) -> tuple[Value, Value]:
    """The cotangents of two operands of which the one that `wins` is the result; equal ones get half each."""
    x, y = op.operands
    tie = where(b, b.emit("equal", x, y), scaled(b, dy, 0.5))
    return b.emit("select", b.emit(wins, x, y), dy, tie), b.emit("select", b.emit(wins, y, x), dy, tie)


@register
class Neg(NamedFunction):
    """-x."""

    name = "neg"
    ufunc = np.negative

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return b.emit("neg", dy)


@register
class Abs(NamedFunction):
    """|x|."""

    name = "abs"
    ufunc = np.abs

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return 0.0, math.inf

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return b.emit("mul", dy, b.emit("sign", op.operands[0]))


@register
class Sign(UnaryOperator):
    """1 where x > 0, -1 where x < 0, else x (0 or NaN)."""

    name = "sign"
    piecewise_constant = True

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return -1.0, 1.0

    def function(self, x: Any, attributes: Attributes) -> Any:
        return np.sign(x)

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        negative = x if x.type.dtype is DType.U8 else Select(Binary("lt", x, const(0, x.type)), const(-1, x.type), x)
        return Select(Binary("lt", const(0, x.type), x), const(1, x.type), negative)

    def chain(self, b: Builder, op: Operation, dy: Value) -> None:
        return None


@register
class Sqrt(NamedFunction):
    """Square root."""

    name = "sqrt"
    ufunc = np.sqrt
    floats_only = True

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return 0.0, math.inf

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return b.emit("div", scaled(b, dy, 0.5), op.result)
