"""Products of matrices of quantized numbers, both of which are activations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Operator, Value
from ...graph.registry import register
from ...loops.compute import Compute, Reduction
from ...loops.ir import Cast, Expr
from ...types import DType, TensorType
from ..gradients import reshaped
from ..products.matmul import TRANSPOSED, exchanged, factors, inner_size, matrices, product_shape
from . import fixed_point as fp
from .base import Part, QuantizedOperator, check_activations, quantization
from .contraction import INTEGER_SUM, product
from .scaled_sums import result_attributes
from .wide import LONGEST, multiply_wide, wide_factors

LARGEST_PRODUCT = 255 * 255
"""Of two bytes without their zero points."""
_A_ZERO = AttributeSpec(int, "zero point of a")


def _check_bytes(operator: Operator, a: TensorType, b: TensorType) -> None:
    if (a.dtype, b.dtype) != (DType.I8, DType.I8):
        raise ShapeError(f"{operator.name} multiplies i8 by i8, not {a} and {b}")


@register
class MatMulSum(Part):
    """Sums of products of two stacks of matrices of integers, of a without its zero point: i32."""

    name = "matmul_sum"
    operands = ("a", "b")
    anchor = True
    attributes = {"transpose_b": TRANSPOSED["transpose_b"], "a_zero": _A_ZERO}
    non_differentiable = INTEGER_SUM

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        a, b = operands
        _check_bytes(self, a, b)
        return (TensorType(DType.I32, product_shape(self.name, a.shape, b.shape, **_turned(attributes))),)

    def input_margins(
        self, operands: Sequence[TensorType], attributes: Attributes
    ) -> tuple[tuple[int, int], ...] | None:
        """Kernels read four elements of a row at a time: past the last one where their number is no multiple."""
        beyond = -operands[0].shape[-1] % 4
        return (*((0, 0),) * (operands[0].rank - 1), (0, beyond)) if beyond else None

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        a, b = operands
        offset = a.astype(np.int16) - np.int16(attributes["a_zero"])
        return (fp.wrap32(product(*matrices(offset, b, _turned(attributes)))).astype(np.int32),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Reduction:
        zero: int = attributes["a_zero"]

        def term(r: tuple[Expr, ...]) -> Expr:
            left, right = factors(c, index, r[0], _turned(attributes))
            return (Cast(c.load(0, left), DType.I32) - zero) * Cast(c.load(1, right), DType.I32)

        return Reduction("add", c.type(0).shape[-1:], term, dtype=DType.I32)

    def macs(self, operands: tuple[TensorType, ...], results: tuple[TensorType, ...], attributes: Attributes) -> int:
        return results[0].size * operands[0].shape[-1]


def _turned(attributes: Attributes) -> dict[str, bool]:
    """Which side of a sum is transposed."""
    return {"transpose_a": False, "transpose_b": attributes["transpose_b"]}


@register
class RowSums(Part):
    """Sums of rows of integers without their zero point, times a factor: what a zero point of b adds to products.

    The rows are those of the last dimension, which stays with size 1; i32.
    """

    name = "row_sums"
    operands = ("a",)
    anchor = True
    attributes = {"a_zero": _A_ZERO, "factor": AttributeSpec(int, "multiplies each sum")}
    non_differentiable = INTEGER_SUM

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (a,) = operands
        if a.rank < 1 or a.dtype is not DType.I8:
            raise ShapeError(f"{self.name} adds up rows of i8, not {a}")
        return (TensorType(DType.I32, (*a.shape[:-1], 1)),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        offset = operands[0].astype(np.int64) - attributes["a_zero"]
        return (fp.wrap32(offset.sum(axis=-1, keepdims=True) * attributes["factor"]).astype(np.int32),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Reduction:
        length = c.type(0).shape[-1]
        missing = length * attributes["a_zero"]

        def term(r: tuple[Expr, ...]) -> Expr:
            return Cast(c.load(0, (*index[:-1], r[0])), DType.I32)

        return Reduction("add", (length,), term, lambda total: (total - missing) * attributes["factor"], DType.I32)


@register
class QMatMul(QuantizedOperator):
    """Products of matrices of quantized numbers a [..., M, K] and b [..., K, N], in fixed point.

    The product of the scales of a and b is rounded to f32, as LiteRT's BATCH_MATMUL does.
    """

    name = "q_matmul"
    operands = ("a", "b")
    attributes = {
        **TRANSPOSED,
        "a": quantization("a"),
        "b": quantization("b"),
        "y": quantization("the result"),
    }
    non_differentiable = INTEGER_SUM

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        a, b = operands
        check_activations(self, operands, attributes, "a", "b")
        if a.dtype is DType.I16:
            _check_shorts(self, a, b, attributes)
            wide_factors(*_factor(attributes))
        else:
            _check_bytes(self, a, b)
        _factor(attributes)
        turned = {key: attributes[key] for key in TRANSPOSED}
        return (TensorType(a.dtype, product_shape(self.name, a.shape, b.shape, **turned), None, attributes["y"]),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        if operands[0].dtype == np.int16:
            a, b = operands
            total = product(*matrices(a, b, attributes))
            return (fp.saturate(multiply_wide(total, *wide_factors(*_factor(attributes))), DType.I16),)
        a, b = (x.astype(np.int16) - attributes[key].zero_point for x, key in zip(operands, ("a", "b"), strict=True))
        sums = fp.wrap32(product(*matrices(a, b, attributes)))
        scaled = fp.multiply(sums, *_factor(attributes)) + attributes["y"].zero_point
        return (fp.saturate(scaled, DType.of(operands[0].dtype)),)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        """Sums of products and a `rescale` of them."""
        x, y = operands
        if x.type.dtype is DType.I16:
            return _wide_products(b, x, y, attributes)
        x = exchanged(b, x) if attributes["transpose_a"] else x
        stacked = reshaped(b, x, (1, *x.type.shape)) if x.type.rank == 2 else x  # so that it can have margins
        multiplier, shift = _factor(attributes)
        total = _sums(b, stacked, y, attributes)
        constants = (b.constant(f) for f in (multiplier, shift))
        given = {"reduces": bool(shift < 0), "saturates": bool(-21 <= shift < 0), **_result(x, attributes)}
        result = b.emit("rescale", total, *constants, **given)
        return reshaped(b, result, product_shape(self.name, x.type.shape, y.type.shape, **_turned(attributes)))

    def macs(self, operands: tuple[TensorType, ...], results: tuple[TensorType, ...], attributes: Attributes) -> int:
        return results[0].size * inner_size(operands[0], attributes)


def _sums(b: Builder, x: Value, y: Value, attributes: Attributes) -> Value:
    """The sums of products of bytes, both without their zero points."""
    zero: int = attributes["a"].zero_point
    total = b.emit("matmul_sum", x, y, transpose_b=attributes["transpose_b"], a_zero=zero)
    if not attributes["b"].zero_point:
        return total
    return b.emit("add", total, b.emit("row_sums", x, a_zero=zero, factor=-attributes["b"].zero_point))


def _wide_products(b: Builder, x: Value, y: Value, attributes: Attributes) -> Value:
    """Those of 16-bit numbers, which doubles hold exactly."""
    exact = (b.emit("cast", v, dtype="f64") for v in (x, y))
    products = b.emit("matmul", *exact, **{key: attributes[key] for key in TRANSPOSED})
    wide = (b.constant(f) for f in wide_factors(*_factor(attributes)))
    return b.emit("rescale_wide", b.emit("cast", products, dtype="i64"), *wide, **_result(x, attributes))


def _result(x: Value, attributes: Attributes) -> dict[str, Any]:
    """What the scaling of the sums needs to know of the results."""
    return result_attributes(x, {**attributes, "low": None, "high": None})


def _check_shorts(operator: Operator, a: TensorType, b: TensorType, attributes: Attributes) -> None:
    if b.dtype not in (DType.I16, DType.I8) or inner_size(a, attributes) > LONGEST:
        raise ShapeError(f"{operator.name} multiplies i16 by i16 or i8, not {a} by {b}")
    if any(attributes[key].zero_point for key in ("a", "b", "y")):
        raise ShapeError(f"{operator.name}: 16-bit numbers must have the zero point 0")


def _factor(attributes: Attributes) -> tuple[Array, Array]:
    """Multiplier and shift between the sums and the result. Raises `ScaleError` where scales are too far apart."""
    a, b, y = (attributes[key] for key in ("a", "b", "y"))
    with np.errstate(over="ignore"):
        scales = np.float32(a.scale) * np.float32(b.scale)
    multiplier, shift = fp.quantize_multiplier(float(scales) / y.scale)
    # A factor of zero is zero however it is shifted.
    return np.array(multiplier, np.int32), np.array(shift if multiplier else -1, np.int32)
