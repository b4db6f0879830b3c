"""Exponential and logarithm."""

from __future__ import annotations

import math

import numpy as np

from ...graph.ir import Attributes, Builder, Operation, Value
from ...graph.registry import register
from .elementwise import NamedFunction


@register
class Exp(NamedFunction):
    """e to the power of x."""

    name = "exp"
    ufunc = np.exp
    floats_only = True
    work = 8

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return 0.0, math.inf

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return b.emit("mul", dy, op.result)


@register
class Log(NamedFunction):
    """Natural logarithm."""

    name = "log"
    ufunc = np.log
    floats_only = True
    work = 8

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        return b.emit("div", dy, op.operands[0])
