"""Rows of 8-bit numbers, scaled to length 1.

Facts: TensorFlow Lite's reference/integer_ops/l2normalization.h and reference/l2normalization.h.
"""

from __future__ import annotations

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, Builder, Value
from ...graph.registry import register
from ...loops.compute import Compute
from ...loops.ir import Expr
from ...types import DType, TensorType
from . import fixed_point as fp
from .activation import all_values
from .base import BYTES, Part, QuantizedOperator, check_activations, demand, quantization
from .functions import inverse_square_root, inverse_square_root_expr

_SCALE_BITS = 7
"""The result's scale is 1/128."""


@register
class QL2Normalize(QuantizedOperator):
    """x / sqrt(sum(x^2)) over the last dimension; the result's scale is 1/128, its zero point the middle."""

    name = "q_l2_normalize"
    operands = ("x",)
    attributes = {"x": quantization("x"), "y": quantization("the result")}
    anchor = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (x,) = operands
        check_activations(self, operands, attributes, "x")
        if x.rank < 1 or x.dtype not in BYTES:
            raise ShapeError(f"q_l2_normalize takes rows of 8-bit integers, not {x}")
        demand(self, attributes["y"], x.dtype, 2.0**-_SCALE_BITS, 0)
        return (TensorType(x.dtype, x.shape, None, attributes["y"]),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        offset = operands[0].astype(np.int64) - attributes["x"].zero_point
        total = (offset * offset).sum(axis=-1, keepdims=True)
        return (l2_share(offset, total, DType.of(operands[0].dtype)),)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (x,) = operands
        offsets = all_values(x.type.dtype) - attributes["x"].zero_point
        squares = b.emit("lookup", x, b.constant(offsets * offsets))
        total = b.emit("reduce_sum", squares, axes=(-1,), keepdims=True)
        return b.emit("l2_share", x, total, **attributes)


@register
class L2Share(Part):
    """Numbers over the root of their row's sum of squares (i64): the last step of q_l2_normalize."""

    name = "l2_share"
    operands = ("x", "total")
    attributes = {"x": quantization("x"), "y": quantization("the result")}
    elementwise = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, total = operands
        if x.rank < 1 or x.dtype not in BYTES or total != TensorType(DType.I64, (*x.shape[:-1], 1)):
            raise ShapeError(f"l2_share can't divide {x} by the root of {total}")
        return (TensorType(x.dtype, x.shape, None, attributes["y"]),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x, total = operands
        return (l2_share(x.astype(np.int64) - attributes["x"].zero_point, total, DType.of(x.dtype)),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        dtype = c.type(0).dtype
        mantissa, shift = inverse_square_root_expr(c.let, c.load_broadcast(1, index))
        offset = c.let(fp.wide(c.load(0, index)) - attributes["x"].zero_point)
        if dtype is DType.I8:
            scaled = fp.multiply_by_operands(c.let, offset, mantissa, shift + _SCALE_BITS)
            return fp.saturate_expr(scaled, dtype)
        return fp.saturate_expr(fp.multiply_by_operands(c.let, offset * 128, mantissa, shift) + 128, dtype)


def l2_share(offset: Array, total: Array, dtype: DType) -> Array:
    """Numbers over the root of their row's sum of squares; unsigned kernels raise them first, signed ones later."""
    mantissa, shift = inverse_square_root(total)
    if dtype is DType.I8:
        return fp.saturate(fp.multiply(offset, mantissa, shift + _SCALE_BITS), dtype)
    return fp.saturate(fp.multiply(offset << _SCALE_BITS, mantissa, shift) + 128, dtype)
