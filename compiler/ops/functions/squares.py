"""Squares, and reciprocals of numbers and of roots."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...graph.ir import Array, Attributes, Builder, Operation, Value
from ...graph.registry import register
from ...loops.compute import Compute
from ...loops.ir import Expr, Unary, binary
from ..facets import INTEGER, TFLITE, IntegerForm, TfliteForm
from ..gradients import scaled
from ..rules import integer_table, tflite_unary, version
from .elementwise import BinaryOperator, UnaryOperator


@register
class Square(UnaryOperator):
    """x * x."""

    name = "square"

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return -math.inf, math.inf  # integers wrap

    def function(self, x: Any, attributes: Attributes) -> Any:
        return x * x

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return x * x

    def expand(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        return b.emit("mul", operands[0], operands[0])

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return b.emit("mul", dy, scaled(b, op.operands[0], 2.0))


@register
class Reciprocal(UnaryOperator):
    """1 / x."""

    name = "reciprocal"
    floats_only = True

    def function(self, x: Any, attributes: Attributes) -> Any:
        return 1 / x

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return 1.0 / x

    def expand(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        return b.emit("div", b.scalar(1.0, operands[0].type.dtype), operands[0])

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return b.emit("neg", b.emit("mul", dy, b.emit("square", op.result)))


@register
class Rsqrt(UnaryOperator):
    """1 / sqrt(x)."""

    name = "rsqrt"
    floats_only = True

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return -math.inf, math.inf

    def function(self, x: Any, attributes: Attributes) -> Any:
        return 1 / np.sqrt(x)

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return 1.0 / Unary("sqrt", x)

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        cube = b.emit("mul", b.emit("square", op.result), op.result)
        return b.emit("mul", dy, scaled(b, cube, -0.5))


@register
class SquaredDifference(BinaryOperator):
    """(a - b)^2."""

    name = "squared_difference"
    commutative = True

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        a, b = operands
        return (np.asarray(np.square(a - b)),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        difference = c.let(binary("sub", c.load_broadcast(0, index), c.load_broadcast(1, index)))
        return difference * difference

    def partials(self, b: Builder, op: Operation, dy: Value) -> tuple[Value, Value]:
        slope = b.emit("mul", dy, scaled(b, b.emit("sub", *op.operands), 2.0))
        return slope, b.emit("neg", slope)


def _integer_difference(q: Any, op: Operation) -> Value:
    x, y = op.operands
    scales = {"a": q.scale(x), "b": q.scale(y), "y": q.scale(op.result)}
    result: Value = q.emit(op, "q_squared_difference", q.integer(x), q.integer(y), **scales)
    return result


def _write_square(c: Any, op: Operation) -> None:
    """SQUARE of floats; of integers MUL."""
    x = c.place(op.operands[0])
    if op.result.type.dtype.is_float:
        c.node("SQUARE", [x], [c.result(op)], "SquareOptions")
    else:
        c.node("MUL", [x, x], [c.result(op)], "MulOptions")


def _write_difference(c: Any, op: Operation) -> None:
    places = [c.place(v) for v in op.operands]
    c.node("SQUARED_DIFFERENCE", places, [c.result(op)], "SquaredDifferenceOptions", version(op, 1, 2))


INTEGER.add(integer_table("q_rsqrt"), Rsqrt)
INTEGER.add(IntegerForm(_integer_difference, short=False), SquaredDifference)
INTEGER.none("TFLite has no kernel for 8 bits", Reciprocal, Square)
TFLITE.add(tflite_unary("RSQRT"), Rsqrt)
TFLITE.add(TfliteForm(_write_square, ("SQUARE", "MUL")), Square)
TFLITE.add(TfliteForm(_write_difference, "SQUARED_DIFFERENCE"), SquaredDifference)
TFLITE.none("made of others", Reciprocal)
