"""What stands between the sums of a contraction and its quantized result: factors, and the type of the sums.

A contraction of quantized numbers falls into a sum of integer products (see `contraction`) and a `rescale` of it, so
that schedules see an anchor with an elementwise epilogue.
"""

from __future__ import annotations

import math
from types import NoneType
from typing import Any

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Operator, Value
from ...types import DType, Quantization, TensorType
from . import fixed_point as fp
from .base import ACTIVATED, check_activation, check_quantized, per_tensor, quantization
from .contraction import IntegerSum
from .groups import joined, together
from .wide import multiply_wide, wide_factors, wide_sum

QUANTIZED = {
    "x": quantization("x"),
    "weight": quantization("the weight; one scale for each filter (the last dimension) or one for all"),
    "y": quantization("the result"),
    **ACTIVATED,
    "sums": AttributeSpec(
        (str, NoneType), "type of sums and bias, i32 or i64; if absent, i64 for i16 and else i32", None
    ),
}
ROUNDED_PRODUCT = AttributeSpec(bool, "x scale * weight scale is rounded to f32, as 8-bit unsigned kernels do", False)


def real_factors(attributes: Attributes, *, rounded_product: bool = False) -> Array:
    """The factors (f64) between the sums of products and the result's scale: one, or one per filter."""
    x: Quantization = attributes["x"]
    weight: Quantization = attributes["weight"]
    products = np.float64(x.scale) * np.array(weight.scales)
    if rounded_product:
        with np.errstate(over="ignore"):
            products = products.astype(np.float32).astype(np.float64)
    factors: Array = products / attributes["y"].scale
    return factors[0] if weight.is_per_tensor else factors


def fixed_factors(attributes: Attributes) -> tuple[Array, Array]:
    """Multiplier and shift (i32) that stand for the factors of a convolution."""
    real = real_factors(attributes, rounded_product=attributes["rounded_product"])
    multipliers, shifts = fp.quantize_multipliers(real)
    # A factor of zero is zero however it is shifted.
    return multipliers.astype(np.int32)[()], np.where(multipliers, shifts, -1).astype(np.int32)[()]


def check_factors(attributes: Attributes, *, wide: bool) -> None:
    """Raise `ScaleError` where the scales of a convolution are too far apart; `wide`: for sums of 64 bits."""
    largest = float(np.max(real_factors(attributes, rounded_product=attributes["rounded_product"])))
    multiplier, shift = (np.array(n) for n in fp.quantize_multiplier(largest))
    if wide:
        wide_factors(multiplier, shift)


def sums_type(x: DType, attributes: Attributes) -> DType:
    """The element type of a contraction's sums and its bias."""
    if attributes["sums"] is None:
        return DType.I64 if x is DType.I16 else DType.I32
    return DType(attributes["sums"])


def sums_of(operator: IntegerSum, operands: tuple[Array, ...], attributes: Attributes) -> Array:
    """The sums of a contraction with their bias: int64, but wrapped around where the kernel's sums are of 32 bits."""
    x, weight, *bias = operands
    total = operator.total(x, weight, sum_attributes(operator, attributes))
    total = total + bias[0] if bias else total
    return total if sums_type(DType.of(x.dtype), attributes) is DType.I64 else fp.wrap32(total)


def evaluate_rescaled(operator: IntegerSum, operands: tuple[Array, ...], attributes: Attributes) -> Array:
    """The result of a convolution."""
    dtype = DType.of(operands[0].dtype)
    total, factors = sums_of(operator, operands, attributes), fixed_factors(attributes)
    if sums_type(dtype, attributes) is DType.I64:
        scaled = multiply_wide(total, *wide_factors(*factors))
    else:
        scaled = fp.multiply(total, *factors)
    return fp.saturate(scaled + attributes["y"].zero_point, dtype, attributes["low"], attributes["high"])


def summed(b: Builder, operator: IntegerSum, operands: tuple[Value, ...], attributes: Attributes) -> Value:
    """The sums of a contraction: those of 16-bit numbers from their bytes."""
    x, weight, *bias = operands
    weight, given = with_whole_quads(b, weight, sum_attributes(operator, attributes))
    if x.type.dtype is not DType.I16:
        return b.emit(operator.name, x, weight, *bias, **given)
    terms, dtype = math.prod(weight.type.shape[:-1]), sums_type(DType.I16, attributes)
    return wide_sum(
        b, x, bias[0] if bias else None, dtype, terms, lambda part: b.emit(operator.name, part, weight, **given)
    )


def with_whole_quads(b: Builder, weight: Value, attributes: Attributes) -> tuple[Value, dict[str, Any]]:
    """The weight and attributes of a sum of products whose narrow groups are taken together, so that kernels fit."""
    given = dict(attributes)
    groups: int = given.get("groups", 1)
    channels, filters = weight.type.shape[-2:]
    if (n := together(channels, groups, filters // groups)) > 1:
        weight = joined(b, weight, groups, n, given["weight_zero"])
        given["groups"] = groups // n
    return weight, given


def rescaled(b: Builder, total: Value, x: Value, attributes: Attributes) -> Value:
    """The sums of a convolution as its result."""
    factors, given = fixed_factors(attributes), result_attributes(x, attributes)
    if total.type.dtype is DType.I64:
        wide = (b.constant(np.asarray(f)) for f in wide_factors(*factors))
        return b.emit("rescale_wide", total, *wide, **given)
    constants = (b.constant(np.asarray(f)) for f in factors)
    reduces = bool(np.all(factors[1] < 0))
    saturates = reduces and bool(np.all(factors[1] >= -21))
    return b.emit("rescale", total, *constants, reduces=reduces, saturates=saturates, **given)


def check_contraction(operator: Operator, operands: tuple[TensorType, ...], attributes: Attributes) -> None:
    """Raise `ShapeError` unless element types and quantizations fit."""
    x, weight, *bias = operands
    check_quantized(operator, (x, weight), attributes, "x", "weight")
    per_tensor(operator, attributes, "x", "y")
    check_activation(operator, x.dtype, attributes["y"], attributes)
    given: Quantization = attributes["weight"]
    if not given.is_per_tensor and (given.axis != weight.rank - 1 or given.problem(weight.dtype, weight.shape)):
        raise ShapeError(f"{operator.name}: {weight} can't be quantized as {given}")
    if len(set(given.zero_points)) > 1:
        raise ShapeError(f"{operator.name}: the filters must have the same zero point")
    _check_sums(operator, x, weight, attributes)
    sums = sums_type(x.dtype, attributes)
    if bias and (bias[0].dtype is not sums or bias[0].shape != weight.shape[-1:]):
        raise ShapeError(f"{operator.name} takes a bias {TensorType(sums, weight.shape[-1:])}, not {bias[0]}")


def _check_sums(operator: Operator, x: TensorType, weight: TensorType, attributes: Attributes) -> None:
    """Raise `ShapeError` for sums that no kernel has, and 16-bit numbers in forms that they don't have."""
    short = x.dtype is DType.I16
    if attributes["sums"] not in ((None, "i32", "i64") if short else (None, "i32")):
        raise ShapeError(f"{operator.name}: sums of {x.dtype} can't be of type {attributes['sums']}")
    if short and weight.dtype is not DType.I8:
        raise ShapeError(f"{operator.name} multiplies i16 by i8, not by {weight}")
    if short and (attributes["x"].zero_point or attributes["y"].zero_point):
        raise ShapeError(f"{operator.name}: 16-bit numbers must have the zero point 0")


def sum_attributes(operator: Operator, attributes: Attributes) -> dict[str, Any]:
    """What the sum of products needs of a contraction's attributes."""
    zero_points = {"x_zero": attributes["x"].zero_point, "weight_zero": attributes["weight"].zero_points[0]}
    return {**{k: v for k, v in attributes.items() if k in operator.attributes}, **zero_points}


def result_attributes(x: Value, attributes: Attributes) -> dict[str, Any]:
    """What the scaling of the sums needs of a contraction's attributes."""
    return {"dtype": str(x.type.dtype), **{key: attributes[key] for key in ("y", "low", "high")}}
