"""Sums of products of quantized numbers: convolution (grouped and depthwise included) and dense layers.

`q_conv2d` and `q_dense` are what graphs hold. For lowering they fall into a sum of integer products (`conv2d_sum`,
`dense_sum`) and a `rescale` of it, so that schedules see an anchor with an elementwise epilogue. `conv3d_sum` is what
quantized ONNX files come to: no kernel of TFLite convolves bytes in three dimensions.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from types import NoneType
from typing import Any, ClassVar

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Operator, Value
from ...graph.registry import register
from ...loops.compute import Compute, Reduction
from ...loops.ir import Cast, Const, Expr
from ...types import DType, Quantization, TensorType
from ..products.dense import Dense
from ..windows.convolution import WINDOW_ATTRIBUTES, Conv2D, Conv3D, Convolution
from ..windows.window import Window
from . import fixed_point as fp
from .base import ACTIVATED, Part, QuantizedOperator, check_activation, check_quantized, per_tensor, quantization
from .groups import joined, together
from .wide import multiply_wide, wide_factors, wide_sum

ZERO_POINTS = {
    "x_zero": AttributeSpec(int, "zero point of x"),
    "weight_zero": AttributeSpec(int, "zero point of the weight", 0),
}
QUANTIZED = {
    "x": quantization("x"),
    "weight": quantization("the weight; one scale for each filter (the last dimension) or one for all"),
    "y": quantization("the result"),
    **ACTIVATED,
    "sums": AttributeSpec(
        (str, NoneType), "type of sums and bias, i32 or i64; if absent, i64 for i16 and else i32", None
    ),
}
INTEGER_SUM = "its operands are made of integers"


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


def product(x: Array, weight: Array) -> Array:
    """Matrix product of integers, exact: [M, K] times [K, N] as int64; floats hold the sums where they are small."""
    bound = int(np.abs(x).max(initial=0)) * int(np.abs(weight).max(initial=0)) * x.shape[-1]
    dtype: Any = np.float32 if bound < 1 << 24 else np.float64 if bound < 1 << 53 else np.int64
    result: Array = (x.astype(dtype) @ weight.astype(dtype)).astype(np.int64)
    return result


class IntegerSum(Part):
    """Base of the sums of products (x - x zero point) * (weight - weight zero point), plus an i32 bias."""

    operands = ("x", "weight", "bias?")
    anchor = True
    non_differentiable = INTEGER_SUM

    def check(self, operands: tuple[TensorType, ...]) -> None:
        """Raise `ShapeError` unless the element types fit."""
        x, weight, *bias = operands
        if x.dtype not in (DType.I8, DType.U8) or weight.dtype not in (DType.I8, DType.U8):
            raise ShapeError(f"{self.name} multiplies 8-bit integers, not {x} and {weight}")
        if bias and bias[0].dtype is not DType.I32:
            raise ShapeError(f"{self.name} takes a bias of type i32, not {bias[0]}")

    @abstractmethod
    def total(self, x: Array, weight: Array, attributes: Attributes) -> Array:
        """The sums of products without the bias (int64), of 16-bit numbers, too."""

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x, weight, *bias = operands
        total = self.total(x, weight, attributes)
        return (fp.wrap32(total + bias[0] if bias else total).astype(np.int32),)


def _offset(x: Array, zero_point: int) -> Array:
    """Numbers without their zero point, which is 0 for those of 16 bits."""
    offset: Array = x.astype(np.int16) - np.int16(zero_point)
    return offset


class ConvolutionSum(IntegerSum):
    """Base of the sums of convolutions of integers: i32; padding counts as zero points."""

    attributes = {**WINDOW_ATTRIBUTES, **ZERO_POINTS}
    convolution: ClassVar[Convolution]
    """The same of floats."""

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        self.check(operands)
        (y,) = self.convolution.infer(operands, attributes)
        self._check_padding(operands[0], operands[1], attributes)
        return (TensorType(DType.I32, y.shape),)

    def _check_padding(self, x: TensorType, weight: TensorType, attributes: Attributes) -> None:
        """Raise `ShapeError` where the margins of x, which hold what its type says, aren't the padding."""
        zero: int = attributes["x_zero"]
        if x.zero_point != zero and any(p != (0, 0) for p in self.window(x, weight, attributes).padding):
            raise ShapeError(f"{self.name} pads with `x_zero` = {zero}, but the zero point of {x} is {x.zero_point}")

    def input_margins(self, operands: Sequence[TensorType], attributes: Attributes) -> tuple[tuple[int, int], ...]:
        x = operands[0]
        *margins, columns, channels = self.window(x, operands[1], attributes).margins
        # Kernels read four elements at a time: past the last channel where their number is no multiple of four.
        beyond = -(-3 // x.shape[-1]) if x.shape[-1] % 4 else 0
        return (*margins, (columns[0], columns[1] + beyond), channels)

    def window(self, x: TensorType, weight: TensorType, attributes: Attributes) -> Window:
        """The geometry of the convolution."""
        return self.convolution.window(x, weight, attributes)

    def total(self, x: Array, weight: Array, attributes: Attributes) -> Array:
        shifted, kernel = _offset(x, attributes["x_zero"]), _offset(weight, attributes["weight_zero"])
        types = [TensorType(DType.of(a.dtype), a.shape) for a in (x, weight)]
        window = self.window(types[0], types[1], attributes)
        groups = attributes["groups"]
        if groups == x.shape[-1]:
            return _depthwise(shifted, kernel, window)
        return _grouped(shifted, kernel, window, groups)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Reduction:
        x, weight = c.type(0), c.type(1)
        groups = attributes["groups"]
        window = self.window(x, weight, attributes)
        channels, filters = weight.shape[-2], weight.shape[-1] // groups
        n, *out, f = index
        first = f // filters * channels if groups > 1 else Const(0)
        x_zero: int = attributes["x_zero"]
        weight_zero: int = attributes["weight_zero"]

        def term(r: tuple[Expr, ...]) -> Expr:
            *k, ch = r
            place = window.input_index(out, k)
            a = Cast(c.load_padded(0, (n, *place, first + ch), x_zero), DType.I32) - x_zero
            return a * (Cast(c.load(1, (*k, ch, f)), DType.I32) - weight_zero)

        bias = (lambda total: total + c.load(2, (f,))) if c.count > 2 else None
        return Reduction("add", (*window.kernel, channels), term, bias, DType.I32)

    def macs(self, operands: tuple[TensorType, ...], results: tuple[TensorType, ...], attributes: Attributes) -> int:
        return results[0].size * math.prod(operands[1].shape[:-1])


@register
class Conv2DSum(ConvolutionSum):
    """Sums of a 2-D convolution of integers: i32; padding counts as zero points."""

    name = "conv2d_sum"
    convolution = Conv2D()


@register
class Conv3DSum(ConvolutionSum):
    """Sums of a 3-D convolution of integers: i32; padding counts as zero points."""

    name = "conv3d_sum"
    convolution = Conv3D()


def _grouped(x: Array, weight: Array, window: Window, groups: int) -> Array:
    """Sums of a convolution: one matrix product for each group."""
    channels, filters = weight.shape[-2], weight.shape[-1] // groups
    patches = window.patches(x, 0)  # [N, pixels..., C, kernel...]
    shape = patches.shape[: x.ndim - 1]
    taken = (slice(None),) * len(shape)
    summands = math.prod(weight.shape[:-1])
    parts = []
    for g in range(groups):
        rows = patches[*taken, g * channels : (g + 1) * channels].reshape(math.prod(shape), summands)
        columns = np.moveaxis(weight[..., g * filters : (g + 1) * filters], -2, 0).reshape(summands, filters)
        parts.append(product(rows, columns).reshape(*shape, filters))
    return parts[0] if groups == 1 else np.concatenate(parts, axis=-1)


def _depthwise(x: Array, weight: Array, window: Window) -> Array:
    """Sums of a depthwise convolution, one element of the window after the other."""
    patches = window.patches(x, 0)
    multiplier = weight.shape[-1] // x.shape[-1]
    total = np.zeros((*patches.shape[: x.ndim - 1], weight.shape[-1]), np.int64)
    for tap in np.ndindex(weight.shape[:-2]):
        total += np.repeat(patches[..., *tap], multiplier, axis=-1) * weight[tap][0].astype(np.int32)
    return total


@register
class QConv2D(QuantizedOperator):
    """2-D convolution of quantized x [N, H, W, C] with weight [KH, KW, C / groups, F] and bias i32 [F]."""

    name = "q_conv2d"
    operands = ("x", "weight", "bias?")
    attributes = {
        **WINDOW_ATTRIBUTES,
        **QUANTIZED,
        "rounded_product": ROUNDED_PRODUCT,
    }
    non_differentiable = INTEGER_SUM

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, weight, *_ = operands
        check_contraction(self, operands, attributes)
        check_factors(attributes, wide=sums_type(x.dtype, attributes) is DType.I64)
        (y,) = Conv2DSum.convolution.infer((x, weight), attributes)
        return (TensorType(x.dtype, y.shape, None, attributes["y"]),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        return (evaluate_rescaled(Conv2DSum(), operands, attributes),)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        return rescaled(b, summed(b, Conv2DSum(), operands, attributes), operands[0], attributes)

    def macs(self, operands: tuple[TensorType, ...], results: tuple[TensorType, ...], attributes: Attributes) -> int:
        return results[0].size * math.prod(operands[1].shape[:-1])


@register
class DenseSum(IntegerSum):
    """Sums of a dense layer of integers: i32."""

    name = "dense_sum"
    attributes = ZERO_POINTS

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        self.check(operands)
        (y,) = _DENSE.infer(operands, {})
        return (TensorType(DType.I32, y.shape),)

    def total(self, x: Array, weight: Array, attributes: Attributes) -> Array:
        rows = _offset(x, attributes["x_zero"]).reshape(math.prod(x.shape[:-1]), x.shape[-1])
        return product(rows, _offset(weight, attributes["weight_zero"])).reshape(*x.shape[:-1], weight.shape[-1])

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Reduction:
        *place, unit = index
        x_zero: int = attributes["x_zero"]
        weight_zero: int = attributes["weight_zero"]

        def term(r: tuple[Expr, ...]) -> Expr:
            a = Cast(c.load(0, (*place, r[0])), DType.I32) - x_zero
            return a * (Cast(c.load(1, (r[0], unit)), DType.I32) - weight_zero)

        bias = (lambda total: total + c.load(2, (unit,))) if c.count > 2 else None
        return Reduction("add", c.type(1).shape[:1], term, bias, DType.I32)

    def macs(self, operands: tuple[TensorType, ...], results: tuple[TensorType, ...], attributes: Attributes) -> int:
        return operands[0].size * operands[1].shape[1]


_DENSE = Dense()


@register
class QDense(QuantizedOperator):
    """Quantized x [..., I] times weight [I, O], plus bias i32 [O]; the sums are scaled in f64 and rounded once."""

    name = "q_dense"
    operands = ("x", "weight", "bias?")
    attributes = QUANTIZED
    non_differentiable = INTEGER_SUM

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        check_contraction(self, operands, attributes)
        (y,) = _DENSE.infer(operands[:2], {})
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
        return operands[0].size * operands[1].shape[1]


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
