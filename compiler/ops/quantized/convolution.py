"""2-D convolution of quantized numbers, grouped and depthwise included."""

from __future__ import annotations

from ...graph.ir import Array, Attributes, Builder, Value
from ...graph.registry import register
from ...types import DType, TensorType
from ..windows.convolution import WINDOW_ATTRIBUTES, Conv2D
from .base import QuantizedOperator
from .contraction import INTEGER_SUM, Conv2DSum
from .scaled_sums import (
    QUANTIZED,
    ROUNDED_PRODUCT,
    check_contraction,
    check_factors,
    evaluate_rescaled,
    rescaled,
    summed,
    sums_type,
)

_FLOAT = Conv2D()


@register
class QConv2D(QuantizedOperator):
    """2-D convolution of quantized x [N, H, W, C] with weight [KH, KW, C / groups, F] and bias i32 [F]."""

    name = "q_conv2d"
    operands = ("x", "weight", "bias?")
    attributes = {**WINDOW_ATTRIBUTES, **QUANTIZED, "rounded_product": ROUNDED_PRODUCT}
    non_differentiable = INTEGER_SUM

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, weight, *_ = operands
        check_contraction(self, operands, attributes)
        check_factors(attributes, wide=sums_type(x.dtype, attributes) is DType.I64)
        (y,) = _FLOAT.infer((x, weight), attributes)
        return (TensorType(x.dtype, y.shape, None, attributes["y"]),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        return (evaluate_rescaled(Conv2DSum(), operands, attributes),)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        return rescaled(b, summed(b, Conv2DSum(), operands, attributes), operands[0], attributes)

    def macs(self, operands: tuple[TensorType, ...], results: tuple[TensorType, ...], attributes: Attributes) -> int:
        return _FLOAT.macs(operands, results, attributes)
