"""Exponential linear units."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...graph.ir import Array, Attributes, Builder, Operation, Value
from ...graph.registry import register
from ...loops.ir import Binary, Expr, Select, Unary, const
from ..facets import INTEGER, TFLITE, reads
from ..quantized.activation import RealFunction, in_f32
from ..rules import integer_table, reads_unary, tflite_unary
from .elementwise import UnaryOperator


@register
class Elu(UnaryOperator):
    """x where positive, else exp(x) - 1 (Clevert et al., "Fast and accurate deep network learning by ELUs", 2015)."""

    name = "elu"
    floats_only = True
    work = 8

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return -1.0, math.inf

    def function(self, x: Any, attributes: Attributes) -> Any:
        return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        # exp(x) - 1 loses what is near 0; 2 t / (1 - t) of t = tanh(x / 2) is the same and keeps it.
        half = Unary("tanh", x * 0.5)
        return Select(Binary("lt", const(0, x.type), x), x, half * 2.0 / (1.0 - half))

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        one, zero = (b.scalar(v, dy.type.dtype) for v in (1.0, 0.0))
        slope = b.emit("add", op.result, one)
        return b.emit("select", b.emit("greater", op.operands[0], zero), dy, b.emit("mul", dy, slope))


@register
class QElu(RealFunction):
    """elu of 8-bit numbers."""

    name = "q_elu"

    def real(self, x: Array, attributes: Attributes) -> Array:
        return np.where(x < 0, in_f32(np.expm1, x), x)


INTEGER.add(integer_table("q_elu", short=False), Elu)
TFLITE.add(tflite_unary("ELU", int8=1), Elu, QElu)
reads(reads_unary("elu", "q_elu"), "ELU")
