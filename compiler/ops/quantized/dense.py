"""Dense layers of quantized numbers, whose sums are scaled in f64 and rounded once."""

from __future__ import annotations

import numpy as np

from ...graph.ir import Array, Attributes, Builder, Value
from ...graph.registry import register
from ...types import DType, TensorType
from ..products.dense import Dense
from . import fixed_point as fp
from .base import QuantizedOperator
from .contraction import INTEGER_SUM, DenseSum
from .scaled_sums import QUANTIZED, check_contraction, real_factors, result_attributes, summed, sums_of

_FLOAT = Dense()


@register
class QDense(QuantizedOperator):
    """Quantized x [..., I] times weight [I, O], plus bias i32 [O]; the sums are scaled in f64 and rounded once."""

    name = "q_dense"
    operands = ("x", "weight", "bias?")
    attributes = QUANTIZED
    non_differentiable = INTEGER_SUM

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        check_contraction(self, operands, attributes)
        (y,) = _FLOAT.infer(operands[:2], {})
        return (TensorType(operands[0].dtype, y.shape, None, attributes["y"]),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        total = sums_of(DenseSum(), operands, attributes)
        scaled = fp.multiply_real(total, real_factors(attributes)) + attributes["y"].zero_point
        return (fp.saturate(scaled, DType.of(operands[0].dtype), attributes["low"], attributes["high"]),)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        total = summed(b, DenseSum(), operands, attributes)
        factor = b.constant(np.asarray(real_factors(attributes)))
        return b.emit("rescale_real", total, factor, **result_attributes(operands[0], attributes))

    def macs(self, operands: tuple[TensorType, ...], results: tuple[TensorType, ...], attributes: Attributes) -> int:
        return _FLOAT.macs(operands, results, attributes)
