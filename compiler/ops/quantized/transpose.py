"""Transposed convolution of quantized numbers, which falls into a sum of integer products and a `rescale` of it."""

from __future__ import annotations

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, Builder, Value
from ...graph.registry import register
from ...loops.compute import Compute, Reduction
from ...loops.ir import Cast, Expr, Select, const
from ...types import DType, TensorType
from ..transpose_convolution import TransposeConv2D
from . import fixed_point as fp
from .base import QuantizedOperator
from .contraction import (
    INTEGER_SUM,
    QUANTIZED,
    ROUNDED_PRODUCT,
    ZERO_POINTS,
    IntegerSum,
    check_contraction,
    check_factors,
    fixed_factors,
    rescaled,
    sum_attributes,
)

_FLOAT = TransposeConv2D()


@register
class TransposeConv2DSum(IntegerSum):
    """Sums of a transposed 2-D convolution of integers: i32."""

    name = "transpose_conv2d_sum"
    attributes = {**TransposeConv2D.attributes, **ZERO_POINTS}

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        self.check(operands)
        (y,) = _FLOAT.infer(operands, attributes)
        return (TensorType(DType.I32, y.shape),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x, weight, *bias = operands
        offsets = (x.astype(np.float64) - attributes["x_zero"], weight.astype(np.float64) - attributes["weight_zero"])
        (total,) = _FLOAT.evaluate(offsets, attributes)  # exact: the sums are far below 2^53
        whole = total.astype(np.int64)
        return (fp.wrap32(whole + bias[0] if bias else whole).astype(np.int32),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Reduction:
        *kernel, features, _ = c.type(1).shape
        n, *place, channel = index
        x_zero: int = attributes["x_zero"]
        weight_zero: int = attributes["weight_zero"]

        def term(r: tuple[Expr, ...]) -> Expr:
            *taps, feature = r
            inputs, hit = _FLOAT.source(place, taps, attributes)
            source = _FLOAT.first_feature(c.type(1), channel, attributes) + feature
            element = Cast(c.load_padded(0, (n, *inputs, source), x_zero), DType.I32) - x_zero
            kept = element if hit is None else Select(c.splat(hit), element, const(0, element.type))
            return kept * (Cast(c.load(1, (*taps, feature, channel)), DType.I32) - weight_zero)

        bias = (lambda total: total + c.load(2, (channel,))) if c.count > 2 else None
        return Reduction("add", (*kernel, features), term, bias, DType.I32)

    def macs(self, operands: tuple[TensorType, ...], results: tuple[TensorType, ...], attributes: Attributes) -> int:
        return _FLOAT.macs(operands, results, attributes)


@register
class QTransposeConv2D(QuantizedOperator):
    """Adjoint of a 2-D convolution, quantized: x [N, H, W, F] and weight [KH, KW, F, C] to [N, size..., C]."""

    name = "q_transpose_conv2d"
    operands = ("x", "weight", "bias?")
    attributes = {**TransposeConv2D.attributes, **QUANTIZED, "rounded_product": ROUNDED_PRODUCT}
    non_differentiable = INTEGER_SUM

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        check_contraction(self, operands, attributes)
        check_factors(attributes)
        (y,) = _FLOAT.infer(operands, attributes)
        if operands[0].dtype is DType.I16:
            raise ShapeError(f"q_transpose_conv2d takes 8-bit integers, not {operands[0]}")
        return (TensorType(operands[0].dtype, y.shape, None, attributes["y"]),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        operator = TransposeConv2DSum()
        (total,) = operator.evaluate(operands, sum_attributes(operator, attributes))
        scaled = fp.multiply(total.astype(np.int64), *fixed_factors(attributes)) + attributes["y"].zero_point
        return (fp.saturate(scaled, DType.of(operands[0].dtype), attributes["low"], attributes["high"]),)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        total = b.emit("transpose_conv2d_sum", *operands, **sum_attributes(TransposeConv2DSum(), attributes))
        return rescaled(b, total, operands[0], attributes)

    def macs(self, operands: tuple[TensorType, ...], results: tuple[TensorType, ...], attributes: Attributes) -> int:
        return _FLOAT.macs(operands, results, attributes)
