"""Parametric relu, whose slope below zero is learnt."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...graph.ir import Array, Attributes, Builder, Operation, Value
from ...graph.registry import register
from ...loops.compute import Compute
from ...loops.ir import Binary, Expr, Select, const
from ..facets import INTEGER, TFLITE, IntegerForm, TfliteForm, reads
from ..gradients import where
from ..quantized.base import INTEGERS
from ..quantized.broadcasting import QPrelu
from .elementwise import BinaryOperator


@register
class Prelu(BinaryOperator):
    """a where it is not negative, else a * b (He et al., "Delving deep into rectifiers", 2015)."""

    name = "prelu"
    floats_only = True

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        a, b = operands
        return (np.where(a < 0, a * b, a + np.zeros_like(b)),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        a, b = c.let(c.load_broadcast(0, index)), c.load_broadcast(1, index)
        return Select(Binary("lt", a, const(0, a.type)), a * b, a)

    def partials(self, b: Builder, op: Operation, dy: Value) -> tuple[Value, Value]:
        x, slope = op.operands
        negative = b.emit("less", x, b.scalar(0.0, x.type.dtype))
        return b.emit("select", negative, b.emit("mul", dy, slope), dy), where(b, negative, b.emit("mul", dy, x))


def _integer(q: Any, op: Operation) -> Value:
    a, b = op.operands
    scales = {"a": q.scale(a), "b": q.scale(b), "y": q.scale(op.result)}
    result: Value = q.emit(op, "q_prelu", q.integer(a), q.integer(b), **scales, low=None, high=None)
    return result


def _write(c: Any, op: Operation) -> None:
    c.node("PRELU", [c.place(v) for v in op.operands], [c.result(op)])


def _read(c: Any) -> Value:
    a, b = c.value(0), c.value(1)
    if c.is_quantized:
        c.check_form(0, INTEGERS)
        scales = {"a": c.quantization(0), "b": c.quantization(1), "y": c.output_quantization()}
        quantized: Value = c.emit("q_prelu", a, b, **scales)
        return quantized
    result: Value = c.emit("prelu", a, b)
    return result


INTEGER.add(IntegerForm(_integer, short=False), Prelu)
TFLITE.add(TfliteForm(_write, "PRELU"), Prelu, QPrelu)
reads(_read, "PRELU")
