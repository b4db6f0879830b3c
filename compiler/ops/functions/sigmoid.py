"""Sigmoid, hyperbolic tangent and the piecewise linear sigmoid."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...graph.ir import Attributes, Builder, Operation, Value
from ...graph.registry import register
from ...loops.ir import Expr, Unary, maximum, minimum
from ...types import Quantization
from ..gradients import scaled, where_between
from .elementwise import NamedFunction, UnaryOperator


@register
class Sigmoid(UnaryOperator):
    """1 / (1 + exp(-x))."""

    name = "sigmoid"
    floats_only = True
    work = 8
    fixed_scale = Quantization.of(1 / 256, -128)

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return 0.0, 1.0

    def function(self, x: Any, attributes: Attributes) -> Any:
        e = np.exp(-np.abs(x))
        return np.where(x >= 0, 1 / (1 + e), e / (1 + e))

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return 1.0 / (1.0 + Unary("exp", Unary("neg", x)))

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        rest = b.emit("sub", b.scalar(1.0, dy.type.dtype), op.result)
        return b.emit("mul", dy, b.emit("mul", op.result, rest))


@register
class Tanh(NamedFunction):
    """Hyperbolic tangent."""

    name = "tanh"
    ufunc = np.tanh
    floats_only = True
    work = 8
    fixed_scale = Quantization.of(1 / 128, 0)

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return -1.0, 1.0

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        square = b.emit("mul", op.result, op.result)
        return b.emit("mul", dy, b.emit("sub", b.scalar(1.0, dy.type.dtype), square))


@register
class HardSigmoid(UnaryOperator):
    """relu6(x + 3) / 6."""

    name = "hard_sigmoid"
    floats_only = True

    def expand(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        x = operands[0]
        limited = b.emit("relu6", b.emit("add", x, b.scalar(3.0, x.type.dtype)))
        return b.emit("mul", limited, b.scalar(1 / 6, x.type.dtype))

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return 0.0, 1.0

    def function(self, x: Any, attributes: Attributes) -> Any:
        return np.clip(x + 3, 0, 6) * (1 / 6)

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return minimum(maximum(x + 3.0, 0), 6) * (1 / 6)

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return scaled(b, where_between(b, op.operands[0], -3, 3, dy), 1 / 6)
