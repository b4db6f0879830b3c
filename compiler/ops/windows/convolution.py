"""Convolution over one, two or three spatial dimensions, channels last; grouped and depthwise included."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Operation, Operator, Value
from ...graph.registry import register
from ...loops.compute import Compute, Reduction
from ...loops.ir import Expr
from ...types import TensorType
from ..gradients import sum_to
from ..layer import LayerBuilder, layer
from .window import Padding, SpatialSize, Window, dilated, normalize_padding, per_dimension, sums_of_products, window_of

WINDOW_ATTRIBUTES = {
    "strides": AttributeSpec(tuple, "step of the window in each spatial dimension"),
    "padding": AttributeSpec(
        (str, tuple), '"same", "valid", or (before, after) for each spatial dimension; zeros are added'
    ),
    "dilations": AttributeSpec(tuple, "distance between the window's elements"),
    "groups": AttributeSpec(int, "number of independent channel groups", 1),
}


class Convolution(Operator):
    """Base of conv1d, conv2d and conv3d: x [N, spatial..., C], weight [kernel..., C / groups, F], bias [F]."""

    operands = ("x", "weight", "bias?")
    floats_only = True
    attributes = WINDOW_ATTRIBUTES
    contraction = True
    anchor = True
    spatial: ClassVar[int]

    def window(self, x: TensorType, weight: TensorType, attributes: Attributes) -> Window:
        """Geometry of the sliding window."""
        kernel = weight.shape[: self.spatial]
        return window_of(self.name, x.shape[1:-1], kernel, attributes)

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, weight, *bias = operands
        groups = attributes["groups"]
        if x.rank != self.spatial + 2:
            raise ShapeError(f"{self.name} takes a tensor of rank {self.spatial + 2}, not {x}")
        if weight.rank != self.spatial + 2:
            raise ShapeError(f"{self.name} takes a weight of rank {self.spatial + 2}, not {weight}")
        if groups < 1 or x.shape[-1] % groups or weight.shape[-1] % groups:
            raise ShapeError(f"{self.name}: {groups} groups don't divide {x.shape[-1]} to {weight.shape[-1]} channels")
        if weight.shape[-2] * groups != x.shape[-1]:
            raise ShapeError(
                f"{self.name}: {x} has {x.shape[-1]} channels, but weight {weight} with {groups} group(s) takes "
                f"{weight.shape[-2] * groups}"
            )
        if bias and bias[0].shape != weight.shape[-1:]:
            raise ShapeError(f"{self.name}: bias {bias[0]} doesn't fit {weight.shape[-1]} filters")
        window = self.window(x, weight, attributes)
        return (TensorType(x.dtype, (x.shape[0], *window.output, weight.shape[-1])),)

    def input_margins(self, operands: Sequence[TensorType], attributes: Attributes) -> tuple[tuple[int, int], ...]:
        x, weight = operands[:2]
        return self.window(x, weight, attributes).margins

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x, weight, *bias = operands
        groups = attributes["groups"]
        window = window_of(self.name, x.shape[1:-1], weight.shape[: self.spatial], attributes)
        patches = window.patches(x, 0)  # [N, out..., C, kernel...]
        filters = weight.shape[-1] // groups
        channels = weight.shape[-2]
        axes = range(-self.spatial - 1, 0), range(self.spatial + 1)
        parts = []
        for g in range(groups):
            part = patches[(slice(None),) * (self.spatial + 1) + (slice(g * channels, (g + 1) * channels),)]
            w = np.moveaxis(weight[..., g * filters : (g + 1) * filters], -2, 0)
            parts.append(sums_of_products(part, w, axes))
        y: Array = np.concatenate(parts, axis=-1).astype(x.dtype, copy=False)
        return (y + bias[0] if bias else y,)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Reduction:
        x, weight = c.type(0), c.type(1)
        groups = attributes["groups"]
        window = self.window(x, weight, attributes)
        channels, filters = weight.shape[-2], weight.shape[-1] // groups
        n, *out, f = index
        first = f // filters * channels if groups > 1 else 0

        def term(r: tuple[Expr, ...]) -> Expr:
            *k, ch = r
            place = window.input_index(out, k)
            return c.load_padded(0, (n, *place, first + ch), 0.0) * c.load(1, (*k, ch, f))

        bias = (lambda total: total + c.load(2, (f,))) if c.count > 2 else None
        return Reduction("add", (*window.kernel, channels), term, bias)

    def macs(self, operands: tuple[TensorType, ...], results: tuple[TensorType, ...], attributes: Attributes) -> int:
        return results[0].size * math.prod(operands[1].shape[:-1])

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        (dy,) = cotangents
        x, weight, *bias = op.operands
        size, kernel = x.type.shape[1:-1], weight.type.shape[: self.spatial]
        return (
            b.emit(f"{self.name}_input_gradient", dy, weight, size=size, **op.attributes),
            b.emit(f"{self.name}_weight_gradient", x, dy, kernel=kernel, **op.attributes),
            *(sum_to(b, dy, v.type.shape) for v in bias),
        )


@register
class Conv1D(Convolution):
    """1-D convolution of x [N, W, C] with weight [K, C / groups, F]."""

    name = "conv1d"
    spatial = 1


@register
class Conv2D(Convolution):
    """2-D convolution of x [N, H, W, C] with weight [KH, KW, C / groups, F]."""

    name = "conv2d"
    spatial = 2


@register
class Conv3D(Convolution):
    """3-D convolution of x [N, D, H, W, C] with weight [KD, KH, KW, C / groups, F]."""

    name = "conv3d"
    spatial = 3


def _convolve(
    b: LayerBuilder,
    x: Value,
    filters: int,
    kernel: SpatialSize,
    stride: SpatialSize,
    pad: Padding,
    dilation: SpatialSize,
    groups: int,
    bias: bool,
    init: str,
) -> Value:
    spatial = x.type.rank - 2
    if spatial not in (1, 2, 3):
        raise ShapeError(f"conv takes [N, spatial..., channels] with 1 to 3 spatial dimensions, not {x.type}")
    if filters < 1:
        raise ShapeError(f"conv needs at least one filter, not {filters}")
    channels = x.type.shape[-1]
    if groups < 1 or channels % groups or filters % groups:
        raise ShapeError(f"conv: {groups} groups don't divide {channels} to {filters} channels")
    size = per_dimension("kernel", kernel, spatial)
    strides = per_dimension("stride", stride, spatial)
    dilations = per_dimension("dilation", dilation, spatial)
    order = "oi" + "dhw"[3 - spatial :]
    operands = [x, b.param("weight", (*size, channels // groups, filters), init=init, checkpoint=order)]
    if bias:
        operands.append(b.param("bias", (filters,), init="zeros"))
    padding = normalize_padding(pad, dilated(size, dilations))
    return b.emit(f"conv{spatial}d", *operands, strides=strides, padding=padding, dilations=dilations, groups=groups)


@layer("conv")
def conv(
    b: LayerBuilder,
    x: Value,
    filters: int,
    kernel: SpatialSize,
    stride: SpatialSize = 1,
    pad: Padding = "same",
    dilation: SpatialSize = 1,
    groups: int = 1,
    bias: bool = True,
    init: str = "he_normal",
) -> Value:
    """Convolution of [N, W, C], [N, H, W, C] or [N, D, H, W, C] with `filters` filters of size `kernel`."""
    return _convolve(b, x, filters, kernel, stride, pad, dilation, groups, bias, init)


@layer("depthwise_conv")
def depthwise_conv(
    b: LayerBuilder,
    x: Value,
    kernel: SpatialSize,
    stride: SpatialSize = 1,
    pad: Padding = "same",
    dilation: SpatialSize = 1,
    multiplier: int = 1,
    bias: bool = True,
    init: str = "he_normal",
) -> Value:
    """Convolution of each channel by itself, with `multiplier` filters for each."""
    channels = x.type.shape[-1]
    return _convolve(b, x, channels * multiplier, kernel, stride, pad, dilation, channels, bias, init)
