"""Transposed convolution of quantized numbers, which falls into a sum of integer products and a `rescale` of it."""

from __future__ import annotations

import numpy as np

from ...graph.ir import Array, Attributes, Builder, Value
from ...graph.registry import register
from ...loops.compute import Compute, Reduction
from ...loops.ir import Cast, Expr, Select, const
from ...types import DType, TensorType
from ..transpose_convolution import TransposeConv2D
from .base import QuantizedOperator
from .contraction import (
    INTEGER_SUM,
    QUANTIZED,
    ROUNDED_PRODUCT,
    ZERO_POINTS,
    IntegerSum,
    check_contraction,
    check_factors,
    evaluate_rescaled,
    rescaled,
    summed,
    sums_type,
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

    def total(self, x: Array, weight: Array, attributes: Attributes) -> Array:
        offsets = (x.astype(np.float64) - attributes["x_zero"], weight.astype(np.float64) - attributes["weight_zero"])
        (total,) = _FLOAT.evaluate(offsets, attributes)  # exact: the sums are far below 2^53
        whole: Array = total.astype(np.int64)
        return whole

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
        check_factors(attributes, wide=sums_type(operands[0].dtype, attributes) is DType.I64)
        (y,) = _FLOAT.infer(operands[:2], attributes)
        return (TensorType(operands[0].dtype, y.shape, None, attributes["y"]),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        return (evaluate_rescaled(TransposeConv2DSum(), operands, attributes),)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        return rescaled(b, summed(b, TransposeConv2DSum(), operands, attributes), operands[0], attributes)

    def macs(self, operands: tuple[TensorType, ...], results: tuple[TensorType, ...], attributes: Attributes) -> int:
        return _FLOAT.macs(operands, results, attributes)
