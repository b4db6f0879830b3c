"""Sums of products of integers: what quantized convolutions and dense layers fall into.

Graphs hold `q_conv2d` and `q_dense`; `conv2d_sum` and `dense_sum` are their products without the scales (see
`scaled_sums`). `conv3d_sum` is what quantized ONNX files come to: no kernel of TFLite convolves bytes in three
dimensions.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec
from ...graph.registry import register
from ...loops.compute import Compute, Reduction
from ...loops.ir import Cast, Const, Expr
from ...types import DType, TensorType
from ..products.dense import Dense
from ..windows.convolution import WINDOW_ATTRIBUTES, Conv2D, Conv3D, Convolution
from ..windows.window import Window
from . import fixed_point as fp
from .base import Part

ZERO_POINTS = {
    "x_zero": AttributeSpec(int, "zero point of x"),
    "weight_zero": AttributeSpec(int, "zero point of the weight", 0),
}
INTEGER_SUM = "its operands are made of integers"
"""Why there is no gradient."""


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
        return self.convolution.macs(operands, results, attributes)


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
class DenseSum(IntegerSum):
    """Sums of a dense layer of integers: i32."""

    name = "dense_sum"
    attributes = ZERO_POINTS
    dense = Dense()
    """The same of floats."""

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        self.check(operands)
        (y,) = self.dense.infer(operands, {})
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
        return self.dense.macs(operands, results, attributes)
