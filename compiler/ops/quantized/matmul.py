"""Products of matrices of quantized numbers, both of which are activations."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Operator, Value
from ...graph.registry import register
from ...loops.compute import Compute, Reduction
from ...loops.ir import Cast, Expr
from ...types import DType, Quantization, TensorType
from ..matmul import TRANSPOSED, exchanged, factors, inner_size, matrices, product_shape
from . import fixed_point as fp
from .base import Part, QuantizedOperator, check_quantized, per_tensor, quantization
from .contraction import INTEGER_SUM, product, result_attributes
from .wide import LONGEST, multiply_wide, wide_factors


def _check_bytes(operator: Operator, a: TensorType, b: TensorType) -> None:
    if (a.dtype, b.dtype) != (DType.I8, DType.I8):
        raise ShapeError(f"{operator.name} multiplies i8 by i8, not {a} and {b}")


@register
class MatMulSum(Part):
    """Sums of products of two stacks of matrices of integers without their zero points: i32."""

    name = "matmul_sum"
    operands = ("a", "b")
    anchor = True
    attributes = {
        **TRANSPOSED,
        "a_zero": AttributeSpec(int, "zero point of a"),
        "b_zero": AttributeSpec(int, "zero point of b"),
    }
    non_differentiable = INTEGER_SUM

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        a, b = operands
        _check_bytes(self, a, b)
        turned = {key: attributes[key] for key in TRANSPOSED}
        return (TensorType(DType.I32, product_shape(self.name, a.shape, b.shape, **turned)),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        a, b = (x.astype(np.int16) - attributes[key] for x, key in zip(operands, ("a_zero", "b_zero"), strict=True))
        return (fp.wrap32(product(*matrices(a, b, attributes))).astype(np.int32),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Reduction:
        zeros: tuple[int, int] = attributes["a_zero"], attributes["b_zero"]

        def term(r: tuple[Expr, ...]) -> Expr:
            places = factors(c, index, r[0], attributes)
            a, b = (
                Cast(c.load(i, place), DType.I32) - zero
                for i, (place, zero) in enumerate(zip(places, zeros, strict=True))
            )
            return a * b

        return Reduction("add", (inner_size(c.type(0), attributes),), term, dtype=DType.I32)

    def macs(self, operands: tuple[TensorType, ...], results: tuple[TensorType, ...], attributes: Attributes) -> int:
        return results[0].size * inner_size(operands[0], attributes)


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
        check_quantized(self, operands, attributes, "a", "b")
        per_tensor(self, attributes, "a", "b", "y")
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
        (sums,) = MatMulSum().evaluate(operands, _sum_attributes(attributes))
        scaled = fp.multiply(sums.astype(np.int64), *_factor(attributes)) + attributes["y"].zero_point
        return (fp.saturate(scaled, DType.of(operands[0].dtype)),)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        """Sums of products, of b turned for good where it is transposed, and a `rescale` of them.

        Sums that a float of 32 bits holds exactly are computed in floats, for which there is a schedule.
        """
        x, y = operands
        if attributes["transpose_b"] and y.type.size:
            y, attributes = exchanged(b, y), {**attributes, "transpose_b": False}
        given, ranged = _sum_attributes(attributes), {**attributes, "low": None, "high": None}
        multiplier, shift = _factor(attributes)
        if x.type.dtype is DType.I16:
            exact = (b.emit("cast", v, dtype="f64") for v in (x, y))
            products = b.emit("matmul", *exact, **{key: given[key] for key in TRANSPOSED})
            wide = (b.constant(f) for f in wide_factors(multiplier, shift))
            return b.emit("rescale_wide", b.emit("cast", products, dtype="i64"), *wide, **result_attributes(x, ranged))
        if inner_size(x.type, attributes) <= EXACT_LENGTH:
            floats = (_offset(b, v, given[key]) for v, key in ((x, "a_zero"), (y, "b_zero")))
            sums = b.emit("matmul", *floats, **{key: given[key] for key in TRANSPOSED})
            total = b.emit("cast", sums, dtype="i32")
        else:
            total = b.emit("matmul_sum", x, y, **given)
        constants = (b.constant(f) for f in (multiplier, shift))
        reduces = bool(shift < 0)
        return b.emit("rescale", total, *constants, reduces=reduces, **result_attributes(x, ranged))

    def macs(self, operands: tuple[TensorType, ...], results: tuple[TensorType, ...], attributes: Attributes) -> int:
        return results[0].size * inner_size(operands[0], attributes)


EXACT_LENGTH = (1 << 24) // (255 * 255)
"""Sums of so many products of numbers up to 255 need 24 bits."""


def _offset(b: Builder, x: Value, zero_point: int) -> Value:
    """The integers without their zero point, as floats."""
    plain = b.emit("cast", x, dtype="f32")
    return b.emit("sub", plain, b.scalar(zero_point, DType.F32)) if zero_point else plain


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


def _sum_attributes(attributes: Attributes) -> dict[str, Any]:
    a: Quantization = attributes["a"]
    b: Quantization = attributes["b"]
    return {**{key: attributes[key] for key in TRANSPOSED}, "a_zero": a.zero_point, "b_zero": b.zero_point}
