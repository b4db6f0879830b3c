"""Products of quantized numbers over whole dimensions.

Facts: TensorFlow Lite's QuantizedReduceProd in reference/reduce.h and kernels/reduce.cc, and the product of 64-bit
numbers with a factor in kernels/internal/common.cc: each step is rounded onto the n-th root of the result's scale.
"""

from __future__ import annotations

import math

import numpy as np

from ...errors import ScaleError, ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Value
from ...graph.registry import register
from ...loops.compute import Procedure
from ...loops.ir import Allocate, Buffer, Const, Expr, Load, Space, Stmt, Store, binary
from ...types import DType, TensorType
from ..procedures import each
from ..reductions.products import ReduceProd
from . import fixed_point as fp
from .base import Part, QuantizedOperator, check_activations, quantization

_REDUCE = ReduceProd()
_SIGNED = (DType.I8, DType.I16)


@register
class QReduceProd(QuantizedOperator):
    """Product over whole dimensions, from the first element on; each step is rounded."""

    name = "q_reduce_prod"
    operands = ("x",)
    attributes = {
        "axes": AttributeSpec(tuple, "dimensions that are reduced"),
        "keepdims": AttributeSpec(bool, "keep reduced dimensions with size 1", False),
        "x": quantization("x"),
        "y": quantization("the result"),
    }

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (x,) = operands
        check_activations(self, operands, attributes, "x")
        if x.dtype not in _SIGNED or not x.size:
            raise ShapeError(f"{self.name} takes signed integers of 8 or 16 bits, not {x}")
        (y,) = _REDUCE.infer(operands, attributes)
        self.factor(x.size // y.size, attributes)
        return (TensorType(x.dtype, y.shape, None, attributes["y"]),)

    def factor(self, count: int, attributes: Attributes) -> tuple[int, int]:
        """A 15-bit multiplier and a shift to the right, for each step of a product of `count` numbers.

        Raises `ScaleError` where numbers of 64 bits could not hold a step.
        """
        x, y = attributes["x"].scale, attributes["y"].scale
        multiplier, shift = fp.quantize_multiplier(x / y ** (1.0 / count))
        if shift > 7:
            raise ScaleError(f"{self.name}: scale {y:.4g} of the result is too small for x of {x:.4g}")
        return ((multiplier + (1 << 15)) >> 16 if multiplier < 0x7FFF0000 else 0x7FFF), 15 - shift

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,) = operands
        axes = _REDUCE.axes(x.ndim, attributes)
        kept = [d for d in range(x.ndim) if d not in axes]
        count = math.prod(x.shape[a] for a in axes)
        multiplier, right = self.factor(count, attributes)
        rows = x.transpose(*kept, *axes).reshape(x.size // count, count)
        scales = {"x": attributes["x"], "y": attributes["y"]}
        (result,) = RowProducts().evaluate((rows,), {**scales, "multiplier": multiplier, "right": right})
        (y,) = _REDUCE.infer((TensorType(DType.of(x.dtype), x.shape),), attributes)
        return (result.reshape(y.shape),)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (x,) = operands
        shape, axes = x.type.shape, _REDUCE.axes(x.type.rank, attributes)
        kept = tuple(d for d in range(x.type.rank) if d not in axes)
        count = math.prod(shape[a] for a in axes)
        turned = b.emit("transpose", x, permutation=(*kept, *axes))
        rows = b.emit("reshape", turned, shape=(x.type.size // count, count))
        multiplier, right = self.factor(count, attributes)
        scales = {"x": attributes["x"], "y": attributes["y"]}
        products = b.emit("row_products", rows, multiplier=multiplier, right=right, **scales)
        (y,) = _REDUCE.infer((x.type,), attributes)
        return b.emit("reshape", products, shape=y.shape)


@register
class RowProducts(Part):
    """Products of the rows of [rows, count], each step times a factor: what q_reduce_prod is made of."""

    name = "row_products"
    operands = ("x",)
    attributes = {
        "multiplier": AttributeSpec(int, "the factor, times 2^right"),
        "right": AttributeSpec(int, "shift to the right"),
        "x": quantization("x"),
        "y": quantization("the result"),
    }
    procedural = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (x,) = operands
        if x.dtype not in _SIGNED or x.rank != 2 or not x.size or not 1 <= attributes["right"] <= 62:
            raise ShapeError(f"row_products can't multiply {x}")
        return (TensorType(x.dtype, x.shape[:1], None, attributes["y"]),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,) = operands
        terms = x.astype(np.int64) - attributes["x"].zero_point
        factor = attributes["multiplier"], attributes["right"]
        total = terms[:, 0]
        for i in range(1, x.shape[1]):
            total = _step(total * terms[:, i], *factor)
        return (fp.saturate(_step(total, *factor) + attributes["y"].zero_point, DType.of(x.dtype)),)

    def procedure(self, p: Procedure, attributes: Attributes) -> list[Stmt]:
        rows, count = p.type(0).shape
        multiplier, right = attributes["multiplier"], attributes["right"]
        zero: int = attributes["x"].zero_point

        def term(row: Expr, i: Expr) -> Expr:
            return fp.wide(p.load(0, (row, i))) - zero

        def step(product: Expr) -> Expr:
            return fp.narrow(fp.shr(binary("mul", product, multiplier) + (1 << (right - 1)), right))

        def of_row(index: tuple[Expr, ...]) -> list[Stmt]:
            (row,), here = index, (Const(0),)
            total = Buffer(p.fresh("total"), DType.I64, (1,), Space.REGISTER)

            def along(i: Expr) -> list[Stmt]:
                return [Store(total, here, fp.wide(step(Load(total, here) * term(row, i + 1))))]

            result = fp.saturate_expr(step(Load(total, here)) + attributes["y"].zero_point, p.result.dtype)
            start = [Allocate(total), Store(total, here, term(row, Const(0)))]
            return [*start, *p.loop("step", count - 1, along), p.store(index, result)]

        return each(p, (rows,), of_row, shared=rows * count)


def _step(product: Array, multiplier: int, right: int) -> Array:
    """A product of 64 bits times the factor, as a number of 32 bits."""
    return fp.wrap32((product * multiplier + (1 << (right - 1))) >> right)
