"""Sums and products of two quantized tensors, with NumPy's broadcasting."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes
from ...graph.registry import register
from ...loops.compute import Compute
from ...loops.ir import Expr, binary
from ...types import DType, TensorType
from ..elementwise import broadcast_shapes
from . import fixed_point as fp
from .base import ACTIVATED, BYTES, QuantizedOperator, check_activation, check_quantized, per_tensor, quantization

HEADROOM = 20
"""Bits by which the operands of a sum are raised before they are scaled, so that little is lost."""


class QBinary(QuantizedOperator):
    """Base of the operators on two quantized tensors."""

    operands = ("a", "b")
    attributes = {"a": quantization("a"), "b": quantization("b"), "y": quantization("the result"), **ACTIVATED}
    elementwise = True
    non_differentiable = "its operands are made of integers"

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        a, b = operands
        check_quantized(self, operands, attributes, "a", "b")
        per_tensor(self, attributes, "a", "b", "y")
        check_activation(self, a.dtype, attributes["y"], attributes)
        if a.dtype is not b.dtype or a.dtype not in BYTES:
            raise ShapeError(f"{self.name} combines 8-bit integers of one type, not {a} and {b}")
        self.factors(attributes)
        return (TensorType(a.dtype, broadcast_shapes(self.name, a.shape, b.shape), None, attributes["y"]),)

    @abstractmethod
    def factors(self, attributes: Attributes) -> tuple[tuple[int, int], ...]:
        """The multipliers and shifts that it takes. Raises `ScaleError` for scales that differ too much."""


class QSum(QBinary):
    """Base of sum and difference: both operands are brought to twice the larger scale, raised by `HEADROOM` bits."""

    sign: ClassVar[int]

    def factors(self, attributes: Attributes) -> tuple[tuple[int, int], ...]:
        """Multipliers and shifts of a, b and the result."""
        a, b, y = (attributes[key].scale for key in ("a", "b", "y"))
        common = 2 * max(a, b)
        return tuple(fp.quantize_small_multiplier(f) for f in (a / common, b / common, common / ((1 << HEADROOM) * y)))

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        *inputs, output = self.factors(attributes)
        a, b = (
            fp.multiply((x.astype(np.int64) - attributes[key].zero_point) << HEADROOM, *factor)
            for x, key, factor in zip(operands, ("a", "b"), inputs, strict=True)
        )
        total = fp.multiply(a + self.sign * b, *output) + attributes["y"].zero_point
        return (fp.saturate(total, DType.of(operands[0].dtype), attributes["low"], attributes["high"]),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        *inputs, output = self.factors(attributes)
        dtype = c.type(0).dtype
        offsets = (fp.offset_expr(c.load_broadcast(i, index), attributes[key]) for i, key in enumerate("ab"))
        a, b = (_raised(c.let, x, *factor) for x, factor in zip(offsets, inputs, strict=True))
        total = binary("add" if self.sign > 0 else "sub", a, b)
        scaled = fp.scale_expr(c.let, total, *output, drops_negative=fp.drops_negative(attributes, dtype))
        return fp.saturate_expr(scaled + attributes["y"].zero_point, dtype, attributes["low"], attributes["high"])


def _raised(let: fp.Let, x: Expr, multiplier: int, shift: int) -> Expr:
    """X * 2^HEADROOM times a factor of at most one half, in 32 bits."""
    if (multiplier, shift) == (1 << 30, 0):  # one half
        return x * (1 << (HEADROOM - 1))
    return fp.scale_expr(let, x * (1 << HEADROOM), multiplier, shift)


@register
class QAdd(QSum):
    """Sum of two quantized tensors."""

    name = "q_add"
    sign = 1


@register
class QSub(QSum):
    """Difference of two quantized tensors."""

    name = "q_sub"
    sign = -1


@register
class QMul(QBinary):
    """Product of two quantized tensors."""

    name = "q_mul"

    def factors(self, attributes: Attributes) -> tuple[tuple[int, int], ...]:
        """Multiplier and shift of the product; the scales are combined in f32."""
        a, b, y = (attributes[key].scale for key in ("a", "b", "y"))
        return (fp.quantize_multiplier(fp.single_ratio(a, b, over=y)),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        a, b = (x.astype(np.int64) - attributes[key].zero_point for x, key in zip(operands, ("a", "b"), strict=True))
        result = fp.multiply(a * b, *self.factors(attributes)[0]) + attributes["y"].zero_point
        return (fp.saturate(result, DType.of(operands[0].dtype), attributes["low"], attributes["high"]),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        dtype = c.type(0).dtype
        a, b = (fp.offset_expr(c.load_broadcast(i, index), attributes[key]) for i, key in enumerate("ab"))
        result = fp.scale_expr(c.let, a * b, *self.factors(attributes)[0]) + attributes["y"].zero_point
        return fp.saturate_expr(result, dtype, attributes["low"], attributes["high"])
