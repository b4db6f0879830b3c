"""Gaussian error linear units (Hendrycks and Gimpel, 2016)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Operation, Value
from ...graph.registry import register
from ...loops.ir import Cast, Expr, Fma, Select, Unary, binary, const, minimum
from ...types import DType
from ..facets import INTEGER, TFLITE, TfliteForm, reads
from ..gradients import scaled
from ..quantized.activation import RealFunction, in_f32
from ..quantized.base import INTEGERS
from ..rules import integer_table, version
from .elementwise import UnaryOperator
from .erf import erf_array, erfc_array, erfc_element

_APPROXIMATE = {"approximate": AttributeSpec(bool, "by tanh, as BERT and GPT-2 do, in place of erf", False)}
_SLOPE, _CUBE = math.sqrt(2 / math.pi), 0.044715
_END = 12.86
"""Up to here the density of the normal distribution and what is made of it are normal numbers of f32."""
_ABOVE = (0.5, 0.33874207735061646, 0.10649295151233673, 0.014037707820534706)
_BELOW = (1.0, 1.4753658771514893, 0.8901903033256531, 0.2664913237094879, 0.03520139679312706)
"""exp(s * s / 2) times the share of a normal distribution below -s, as a quotient of polynomials, lowest power first,
fitted: the relative error is 8e-8 up to 4, and 5e-6 up to 13, where the exponential has no more digits."""


def _single(x: Expr) -> Expr:
    """max(x, 0) - s * share below -s of a single, where s is its size; what lies below it counts for both signs.

    Sums of products are made of pairs, so that none waits long for another one.
    """
    size = Unary("abs", x)
    s = minimum(size, _END)
    square = s * s
    bell = Unary("exp2", square * (-0.5 / math.log(2)))
    above, below = (_sum(s, square, coefficients) for coefficients in (_ABOVE, _BELOW))
    inside = Select(binary("lt", size, _END), bell, const(0, x.type))
    positive = x - minimum(x, 0)  # of -inf NaN, as the product is of which gelu is defined
    return Fma(Unary("neg", inside), s * above / below, positive)


def _sum(s: Expr, square: Expr, coefficients: tuple[float, ...]) -> Expr:
    """A polynomial of s of degree 3 or 4, lowest power first."""
    a, b, c, d, *more = (const(coefficient, s.type) for coefficient in coefficients)
    high = Fma(d, s, c)
    return Fma(Fma(more[0], square, high) if more else high, square, Fma(b, s, a))


@register
class Gelu(UnaryOperator):
    """x times the share of a normal distribution below x: x * (1 + erf(x / sqrt(2))) / 2.

    In single precision code gives 0 in place of results nearer to it than 5e-37, for x of -12.86 and below.
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
        if x.type.dtype is DType.F16:
            return Cast(_single(Cast(x, DType.F32)), DType.F16)
        if x.type.dtype is DType.F32:
            return _single(x)
        return x * 0.5 * erfc_element(x * -math.sqrt(0.5))

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
