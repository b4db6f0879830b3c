"""Transposed convolution: what a strided convolution does to gradients, and what decoders use to enlarge maps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Operation, Operator, Value
from ...graph.registry import register
from ...loops.compute import Compute, Reduction
from ...loops.ir import Binary, Const, Expr, Select
from ...types import TensorType
from ..facets import INTEGER, TFLITE
from ..gradients import sum_to
from ..layer import LayerBuilder, layer
from .window import (
    Padding,
    Phase,
    SpatialSize,
    check_pairs,
    dilated,
    normalize_padding,
    per_dimension,
    phase_margins,
    phases_of,
)


def _attributes(spatial: int) -> Mapping[str, AttributeSpec]:
    return {
        "size": AttributeSpec(tuple, "spatial size of the result"),
        "strides": AttributeSpec(tuple, "distance of neighbouring inputs in the result"),
        "padding": AttributeSpec(tuple, "(before, after) in each spatial dimension: places cut off"),
        "dilations": AttributeSpec(tuple, "distance between the window's elements", (1,) * spatial),
        "groups": AttributeSpec(int, "number of independent channel groups", 1),
    }


class TransposeConvolution(Operator):
    """Base of the adjoints of convolution: x [N, spatial..., F], weight [kernel..., F / groups, C], bias [C].

    In one dimension, result [n, stride * y + dilation * k - before, c] collects x [n, y, f] * weight [k, f, c] for all
    y, k, and all f of c's group; `padding` holds (before, after), of which only the first matters. Source: Dumoulin
    and Visin, "A guide to convolution arithmetic for deep learning", 2016.
    """

    operands = ("x", "weight", "bias?")
    floats_only = True
    contraction = True
    anchor = True
    spatial: ClassVar[int]

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, weight, *bias = operands
        rank, groups = self.spatial + 2, attributes["groups"]
        if x.rank != rank or weight.rank != rank:
            raise ShapeError(f"{self.name} can't apply weight {weight} to {x}: both have rank {rank}")
        if groups < 1 or weight.shape[-1] % groups or weight.shape[-2] * groups != x.shape[-1]:
            raise ShapeError(f"{self.name} can't apply weight {weight} to {x} in {groups} group(s)")
        if bias and bias[0].shape != weight.shape[-1:]:
            raise ShapeError(f"{self.name}: bias {bias[0]} doesn't fit {weight.shape[-1]} channels")
        each = [attributes[key] for key in ("size", "strides", "padding", "dilations")]
        if any(len(numbers) != self.spatial for numbers in each):
            raise ShapeError(f"{self.name} needs size, strides, padding and dilations for {self.spatial} dimensions")
        check_pairs(self.name, attributes["padding"], self.spatial)
        if min(*attributes["size"], *attributes["strides"], *attributes["dilations"], *weight.shape[:-2]) < 1:
            raise ShapeError(f"{self.name}: size, strides, dilations and the weight's extent must be positive")
        return (TensorType(x.dtype, (x.shape[0], *attributes["size"], weight.shape[-1])),)

    def phases(self, weight: TensorType, attributes: Attributes) -> tuple[tuple[Phase, ...], ...]:
        """The phases of each spatial dimension."""
        sides = zip(
            weight.shape[: self.spatial],
            *(attributes[key] for key in ("strides", "padding", "size", "dilations")),
            strict=True,
        )
        return tuple(phases_of(k, stride, before, size, d) for k, stride, (before, _), size, d in sides)

    def input_margins(self, operands: Sequence[TensorType], attributes: Attributes) -> tuple[tuple[int, int], ...]:
        x, weight = operands[:2]
        return phase_margins(self.phases(weight, attributes), x.shape[1:-1])

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x, weight, *bias = operands
        groups, kernel, channels = attributes["groups"], weight.shape[: self.spatial], weight.shape[-1]
        strides, dilations, size = (attributes[key] for key in ("strides", "dilations", "size"))
        first = [before for before, _ in attributes["padding"]]
        extents = [
            max((n - 1) * s + e, p + goal)
            for n, s, e, p, goal in zip(x.shape[1:-1], strides, dilated(kernel, dilations), first, size, strict=True)
        ]
        full = np.zeros((x.shape[0], *extents, channels), x.dtype)
        rows = x.reshape(math.prod(x.shape[:-1]), groups, weight.shape[-2]).swapaxes(
            0, 1
        )  # [groups, pixels, F / groups]
        for tap in np.ndindex(*kernel) if x.size else ():
            filters = weight[tap].reshape(weight.shape[-2], groups, channels // groups).swapaxes(0, 1)
            starts = [k * d for k, d in zip(tap, dilations, strict=True)]
            places = (slice(a, a + (n - 1) * s + 1, s) for a, n, s in zip(starts, x.shape[1:-1], strides, strict=True))
            products = np.matmul(rows, filters).swapaxes(0, 1).reshape(*x.shape[:-1], channels)
            full[(slice(None), *places)] += products
        y = full[(slice(None), *(slice(p, p + goal) for p, goal in zip(first, size, strict=True)))]
        return (y + bias[0] if bias else y,)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Reduction:
        kernel, features = c.type(1).shape[: self.spatial], c.type(1).shape[-2]
        n, *place, channel = index

        def term(r: tuple[Expr, ...]) -> Expr:
            *taps, feature = r
            inputs, hit = self.source(place, taps, attributes)
            source = self.first_feature(c.type(1), channel, attributes) + feature
            element = c.load_padded(0, (n, *inputs, source), 0.0)
            if hit is not None:
                element = Select(c.splat(hit), element, c.splat(Const(0.0, c.type(0).dtype)))
            return element * c.load(1, (*taps, feature, channel))

        bias = (lambda total: total + c.load(2, (channel,))) if c.count > 2 else None
        return Reduction("add", (*kernel, features), term, bias)

    def first_feature(self, weight: TensorType, channel: Expr, attributes: Attributes) -> Expr:
        """The first input channel of a result channel's group."""
        groups, (features, channels) = attributes["groups"], weight.shape[-2:]
        return channel // (channels // groups) * features if groups > 1 else Const(0)

    def source(
        self, place: Sequence[Expr], taps: Sequence[Expr], attributes: Attributes
    ) -> tuple[list[Expr], Expr | None]:
        """Which input meets a result place at these taps, and the condition that there is one between the strides."""
        inputs: list[Expr] = []
        hit: Expr | None = None
        sides = (attributes[key] for key in ("strides", "dilations", "padding"))
        for o, k, stride, dilation, (before, _) in zip(place, taps, *sides, strict=True):
            position = o + before - k * dilation
            inputs.append(position // stride)
            if stride > 1:
                test = Binary("eq", position % stride, Const(0))
                hit = test if hit is None else Binary("and", hit, test)
        return inputs, hit

    def macs(self, operands: tuple[TensorType, ...], results: tuple[TensorType, ...], attributes: Attributes) -> int:
        x, weight = operands[:2]
        return x.size * math.prod(weight.shape[:-2]) * (weight.shape[-1] // int(attributes["groups"]))

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        (dy,) = cotangents
        x, weight, *bias = op.operands
        groups, kernel = op.attributes["groups"], weight.type.shape[: self.spatial]
        # The convolution that this is the adjoint of. Its last windows lie outside x where the result has places that
        # no input reaches.
        padding, surplus = [], []
        sides = zip(
            x.type.shape[1:-1],
            dilated(kernel, op.attributes["dilations"]),
            dy.type.shape[1:-1],
            op.attributes["strides"],
            op.attributes["padding"],
            strict=True,
        )
        for inputs, extent, results, stride, (before, _) in sides:
            reached = (inputs - 1) * stride + extent - before
            after = max(reached - results, 0)
            padding.append((before, after))
            surplus.append((results + after - reached) // stride)
        given = {key: op.attributes[key] for key in ("strides", "dilations", "groups")} | {"padding": tuple(padding)}
        convolution = f"conv{self.spatial}d"
        dx = b.emit(convolution, dy, exchanged(b, weight, groups), **given)
        if any(surplus):
            dx = b.emit("slice", dx, begin=(0,) * dx.type.rank, size=x.type.shape)
            x = b.emit("pad", x, padding=((0, 0), *((0, n) for n in surplus), (0, 0)))
        dfilters = b.emit(f"{convolution}_weight_gradient", dy, x, kernel=kernel, **given)
        return dx, exchanged(b, dfilters, groups), *(sum_to(b, dy, v.type.shape) for v in bias)


def exchanged(b: Builder, weight: Value, groups: int) -> Value:
    """A weight [kernel..., A / groups, B] as [kernel..., B / groups, A]: inputs and results of each group exchanged."""
    *kernel, a, b_ = weight.type.shape
    n = len(kernel)
    if a == 1 and b_ == groups:
        return weight
    if groups == 1:
        return b.emit("transpose", weight, permutation=(*range(n), n + 1, n))
    parts = b.emit("reshape", weight, shape=(*kernel, a, groups, b_ // groups))
    turned = b.emit("transpose", parts, permutation=(*range(n), n + 2, n + 1, n))
    return b.emit("reshape", turned, shape=(*kernel, b_ // groups, groups * a))


def plain_filters(weight: Array, attributes: Attributes) -> Array:
    """The weight of the same operator without groups and dilation: zeros stand wherever nothing is multiplied."""
    *kernel, features, channels = weight.shape
    groups, dilations = attributes["groups"], attributes["dilations"]
    whole = np.zeros((*kernel, groups, features, groups, channels // groups), weight.dtype)
    for g in range(groups):
        share = channels // groups
        whole[..., g, :, g, :] = weight[..., g * share : (g + 1) * share]
    plain = np.zeros((*dilated(kernel, dilations), groups * features, channels), weight.dtype)
    plain[tuple(slice(None, None, d) for d in dilations)] = whole.reshape(*kernel, groups * features, channels)
    return plain


@register
class TransposeConv1D(TransposeConvolution):
    """Adjoint of conv1d: x [N, W, F] and weight [K, F / groups, C] to [N, size, C]."""

    name = "transpose_conv1d"
    spatial = 1
    attributes = _attributes(1)


@register
class TransposeConv2D(TransposeConvolution):
    """Adjoint of conv2d: x [N, H, W, F] and weight [KH, KW, F / groups, C] to [N, size..., C]."""

    name = "transpose_conv2d"
    spatial = 2
    attributes = _attributes(2)


@register
class TransposeConv3D(TransposeConvolution):
    """Adjoint of conv3d: x [N, D, H, W, F] and weight [KD, KH, KW, F / groups, C] to [N, size..., C]."""

    name = "transpose_conv3d"
    spatial = 3
    attributes = _attributes(3)


def _placed(
    pad: Padding, size: Sequence[int], extent: tuple[int, ...], strides: Sequence[int], more: Sequence[int]
) -> tuple[tuple[tuple[int, int], ...], tuple[int, ...]]:
    """What `pad` cuts off in front and behind, and the size of the result."""
    padding = normalize_padding(pad, extent)
    if padding == "same":
        if any(more):
            raise ShapeError('conv_transpose: with pad = "same", size * stride is the size: output_pad must be 0')
        totals = [max(e - s, 0) for e, s in zip(extent, strides, strict=True)]
        goal = tuple(n * s for n, s in zip(size, strides, strict=True))
        return tuple((t // 2, t - t // 2) for t in totals), goal
    pairs = ((0, 0),) * len(size) if isinstance(padding, str) else padding
    goal = tuple(
        (n - 1) * s + e - before - after + extra
        for n, s, e, (before, after), extra in zip(size, strides, extent, pairs, more, strict=True)
    )
    return pairs, goal


@layer("conv_transpose")
def conv_transpose(
    b: LayerBuilder,
    x: Value,
    filters: int,
    kernel: SpatialSize,
    stride: SpatialSize = 1,
    pad: Padding = "same",
    output_pad: SpatialSize = 0,
    dilation: SpatialSize = 1,
    groups: int = 1,
    bias: bool = True,
    init: str = "he_normal",
) -> Value:
    """Transposed convolution of [N, W, C], [N, H, W, C] or [N, D, H, W, C]; `pad` cuts off, "same" gives size * stride.

    A number p for `pad` gives (size - 1) * stride + dilation * (kernel - 1) + 1 - 2 * p + output_pad places, as
    PyTorch's ConvTranspose2d; "valid" is 0.
    """
    spatial = x.type.rank - 2
    if spatial not in (1, 2, 3):
        raise ShapeError(f"conv_transpose takes [N, spatial..., channels] with 1 to 3 spatial dimensions, not {x.type}")
    if filters < 1:
        raise ShapeError(f"conv_transpose needs at least one filter, not {filters}")
    channels, size = x.type.shape[-1], x.type.shape[1:-1]
    if groups < 1 or channels % groups or filters % groups:
        raise ShapeError(f"conv_transpose: {groups} groups don't divide {channels} to {filters} channels")
    window, strides, dilations = (
        per_dimension(what, value, spatial)
        for what, value in (("kernel", kernel), ("stride", stride), ("dilation", dilation))
    )
    more = _output_padding(output_pad, strides, dilations)
    padding, goal = _placed(pad, size, dilated(window, dilations), strides, more)
    if min(goal) < 1:
        raise ShapeError(f"conv_transpose: padding {pad} leaves nothing of {x.type}")
    shape = (*window, channels, filters // groups)
    weight = b.param("weight", shape, init=init, checkpoint="io" + "dhw"[3 - spatial :])
    if groups > 1:
        weight = _beside_each_other(b, weight, groups)
    operands = [x, weight]
    if bias:
        operands.append(b.param("bias", (filters,), init="zeros"))
    given = {"size": goal, "strides": strides, "padding": padding, "dilations": dilations, "groups": groups}
    return b.emit(f"transpose_conv{spatial}d", *operands, **given)


def _output_padding(given: SpatialSize, strides: Sequence[int], dilations: Sequence[int]) -> tuple[int, ...]:
    """Places added behind the result in each dimension."""
    more = (given,) * len(strides) if isinstance(given, int) else tuple(given)
    if len(more) != len(strides) or any(not isinstance(m, int) or m < 0 for m in more):
        raise ShapeError(f"conv_transpose: output_pad {given} doesn't fit {len(strides)} spatial dimensions")
    if any(m >= max(s, d) for m, s, d in zip(more, strides, dilations, strict=True)):
        raise ShapeError(f"conv_transpose: output_pad {given} must be smaller than the stride or the dilation")
    return more


def _beside_each_other(b: LayerBuilder, weight: Value, groups: int) -> Value:
    """A weight [kernel..., F, C / groups], as checkpoints have it, as [kernel..., F / groups, C]."""
    *kernel, features, share = weight.type.shape
    n = len(kernel)
    parts = b.emit("reshape", weight, shape=(*kernel, groups, features // groups, share))
    turned = b.emit("transpose", parts, permutation=(*range(n), n + 1, n, n + 2))
    return b.emit("reshape", turned, shape=(*kernel, features // groups, groups * share))


INTEGER.none("made of others", TransposeConv1D)
INTEGER.none("TFLite has no kernel for 8 bits", TransposeConv3D)
TFLITE.none("made of others", TransposeConv1D)
