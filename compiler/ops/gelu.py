"""Gaussian error linear units (Hendrycks and Gimpel, 2016)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..graph.ir import Array, Attributes, AttributeSpec, Builder, Operation, Value
from ..graph.registry import register
from ..loops.ir import Expr, Unary
from .elementwise import UnaryOperator
from .erf import erf_array, erfc_array, normal_erfc_element
from .facets import INTEGER, TFLITE, TfliteForm, reads
from .gradients import scaled
from .quantized.activation import RealFunction, in_f32
from .quantized.base import INTEGERS
from .rules import integer_table, version

_APPROXIMATE = {"approximate": AttributeSpec(bool, "by tanh, as BERT and GPT-2 do, in place of erf", False)}
_SLOPE, _CUBE = math.sqrt(2 / math.pi), 0.044715


@register
class Gelu(UnaryOperator):
    """x times the share of a normal distribution below x: x * (1 + erf(x / sqrt(2))) / 2.

    In single precision code gives 0 in place of results nearer to it than 5e-37, for x below -12.86.
    """

    name = "gelu"
    floats_only = True
    work = 16
    attributes = _APPROXIMATE

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return -0.171, math.inf

    def function(self, x: Any, attributes: Attributes) -> Any:
        wide = x.astype(np.float64)
        if attributes["approximate"]:
            return wide * 0.5 * (1 + np.tanh(_SLOPE * (wide + _CUBE * wide * wide * wide)))
        return wide * 0.5 * erfc_array(wide * -math.sqrt(0.5))

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        if attributes["approximate"]:
            return x * 0.5 * (Unary("tanh", (x * x * x * _CUBE + x) * _SLOPE) + 1.0)
        return x * 0.5 * normal_erfc_element(x * -math.sqrt(0.5))

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        (x,) = op.operands
        one = b.scalar(1.0, dy.type.dtype)
        square = b.emit("mul", x, x)
        if op.attributes["approximate"]:
            inner = b.emit("mul", x, b.emit("add", scaled(b, square, _SLOPE * _CUBE), b.scalar(_SLOPE, dy.type.dtype)))
            y = b.emit("tanh", inner)
            share = scaled(b, b.emit("add", y, one), 0.5)
            rate = b.emit("add", scaled(b, square, 3 * _SLOPE * _CUBE), b.scalar(_SLOPE, dy.type.dtype))
            density = scaled(b, b.emit("mul", b.emit("sub", one, b.emit("mul", y, y)), rate), 0.5)
        else:
            share = scaled(b, b.emit("add", b.emit("erf", scaled(b, x, math.sqrt(0.5))), one), 0.5)
            density = scaled(b, b.emit("exp", scaled(b, square, -0.5)), 1 / math.sqrt(2 * math.pi))
        return b.emit("mul", dy, b.emit("add", share, b.emit("mul", x, density)))


@register
class QGelu(RealFunction):
    """gelu of quantized numbers."""

    name = "q_gelu"
    types = INTEGERS
    attributes = {**RealFunction.attributes, **_APPROXIMATE}

    def real(self, x: Array, attributes: Attributes) -> Array:
        half, one = np.float32(0.5), np.float32(1)
        if not attributes["approximate"]:
            return half * x * (one + in_f32(erf_array, x * np.float32(math.sqrt(0.5))))
        inner = np.float32(_SLOPE) * (x + np.float32(_CUBE) * x * x * x)
        return half * x * (one + in_f32(np.tanh, inner))


def _emit(c: Any, op: Operation) -> None:
    fields = {"approximate": op.attributes["approximate"]}
    c.node("GELU", [c.place(op.operands[0])], [c.result(op)], "GeluOptions", version(op, 1, 2), **fields)


def _read(c: Any) -> Value:
    approximate = bool(c.option("approximate", False))
    if not c.is_quantized:
        result: Value = c.emit("gelu", c.value(0), approximate=approximate)
        return result
    c.check_form(0, INTEGERS)
    quantized: Value = c.emit(
        "q_gelu", c.value(0), x=c.quantization(0), y=c.output_quantization(), approximate=approximate
    )
    return quantized


INTEGER.add(integer_table("q_gelu"), Gelu)
TFLITE.add(TfliteForm(_emit, "GELU"), Gelu, QGelu)
reads(_read, "GELU")
