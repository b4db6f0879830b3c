"""Exponential and logarithm."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..graph.ir import Attributes, Builder, Operation, Value
from ..graph.registry import register
from ..loops.ir import Expr, Unary
from .elementwise import UnaryOperator


@register
class Exp(UnaryOperator):
    """e to the power of x."""

    name = "exp"
    floats_only = True
    work = 8

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return 0.0, math.inf

    def function(self, x: Any, attributes: Attributes) -> Any:
        return np.exp(x)

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return Unary("exp", x)

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return b.emit("mul", dy, op.result)


@register
class Log(UnaryOperator):
    """Natural logarithm."""

    name = "log"
    floats_only = True
    work = 8

    def function(self, x: Any, attributes: Attributes) -> Any:
        return np.log(x)

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return Unary("log", x)

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return b.emit("div", dy, op.operands[0])
