"""Softplus, the smooth relative of relu."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...graph.ir import Attributes, Builder, Operation, Value
from ...graph.registry import register
from ...loops.ir import Expr, Unary, maximum
from .elementwise import UnaryOperator


@register
class Softplus(UnaryOperator):
    """log(1 + exp(x)), computed without overflow; small results keep their digits."""

    name = "softplus"
    floats_only = True
    work = 8

    def expand(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        x = operands[0]
        power = b.emit("exp", b.emit("neg", b.emit("abs", x)))
        return b.emit("add", b.emit("relu", x), b.emit("log", b.emit("add", power, b.scalar(1.0, x.type.dtype))))

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return 0.0, math.inf

    def function(self, x: Any, attributes: Attributes) -> Any:
        return np.logaddexp(0, x)

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return maximum(x, 0) + Unary("log1p", Unary("exp", Unary("neg", Unary("abs", x))))

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return b.emit("mul", dy, b.emit("sigmoid", op.operands[0]))
