"""Normalisation of each sample by its own statistics: over layers, groups of channels, single channels.

Each is one operator, `normalize`, followed by a learnt factor and summand. It is made of reductions and elementwise
operations, which `fuse` puts into one kernel where rows fit the cache.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Operation, Operator, Value
from ...graph.registry import register
from ...types import DType, TensorType
from ..facets import INTEGER, PERMUTED, TFLITE, Permuted
from ..gradients import reshaped
from ..layer import LayerBuilder, layer
from ..moves.axes import Permutation
from .reduction import check_some, normalize_axis

F32_EPS = 2.0**-23
LONG_ROW = 1 << 16
"""Elements of a row over several dimensions from which on channels are summed up by themselves first."""


@register
class Normalize(Operator):
    """(x - mean) / sqrt(variance + eps) over some axes; of neighbouring channels in `groups`, each by itself.

    Mean and (biased) variance are those of the axes; without `center` the mean counts as 0. The last axis is split
    into `groups` equal parts, which are normalised apart. Statistics of f16 are computed in f32. Sources: Ba, Kiros
    and Hinton, "Layer normalization", 2016; Wu and He, "Group normalization", 2018; Zhang and Sennrich, "Root mean
    square layer normalization", 2019.
    """

    name = "normalize"
    operands = ("x",)
    floats_only = True
    attributes = {
        "axes": AttributeSpec(tuple, "dimensions over which mean and variance are taken"),
        "eps": AttributeSpec((int, float), "added to the variance", 1e-5),
        "groups": AttributeSpec(int, "equal parts of the last dimension, each with statistics of its own", 1),
        "center": AttributeSpec(bool, "subtract the mean", True),
    }

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (x,) = operands
        axes, groups = self.axes(x.rank, attributes), attributes["groups"]
        check_some(self, x, axes)
        if not axes:
            raise ShapeError("normalize needs an axis", hint="axes = [-1] is the last one")
        if groups < 1 or (groups > 1 and (axes[-1] != x.rank - 1 or x.shape[-1] % groups)):
            raise ShapeError(f"normalize can't split axis {axes[-1]} of {x} into {groups} groups")
        return (x.dense(),)

    def axes(self, rank: int, attributes: Attributes) -> tuple[int, ...]:
        """The dimensions, in order."""
        return tuple(sorted({normalize_axis(self.name, a, rank) for a in attributes["axes"]}))

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,) = operands
        wide = x.astype(np.float32) if x.dtype == np.float16 else x
        split = wide.reshape(*x.shape[:-1], attributes["groups"], x.shape[-1] // attributes["groups"])
        # The axis of the groups stays; the one of their channels is the last.
        axes = tuple(a if a < x.ndim - 1 else x.ndim for a in self.axes(x.ndim, attributes))
        if axes[-1] != x.ndim and attributes["groups"] == 1:
            split, axes = wide, self.axes(x.ndim, attributes)
        centred = split - split.mean(axis=axes, keepdims=True) if attributes["center"] else split
        variance = np.mean(centred * centred, axis=axes, keepdims=True)
        result = centred * (1 / np.sqrt(variance + np.asarray(attributes["eps"], variance.dtype)))
        return (result.reshape(x.shape).astype(x.dtype),)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (x,) = operands
        if x.type.dtype is DType.F16:
            wide = self.decompose(b, (b.emit("cast", x, dtype="f32"),), attributes)
            return b.emit("cast", wide, dtype="f16")
        return b.emit("mul", *self.statistics(b, x, attributes))

    def expand(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        """In operators that have an integer form, as TensorFlow's converters write it."""
        (x,) = operands
        shape, groups, axes = x.type.shape, attributes["groups"], self.axes(x.type.rank, attributes)
        if x.type.dtype is DType.F16:
            return self.decompose(b, operands, attributes)
        if groups > 1:
            kept = [size for d, size in enumerate(shape[:-1]) if d not in axes]
            reduced = math.prod(shape[a] for a in axes[:-1])
            if any(a != len(kept) + i for i, a in enumerate(axes)):
                return self.decompose(b, operands, attributes)
            x = reshaped(b, x, (math.prod(kept), reduced, groups, shape[-1] // groups))
            axes = (1, 3)
        means: dict[str, Any] = {"axes": axes, "keepdims": True}
        mean = b.emit("reduce_mean", x, **means) if attributes["center"] else None
        squares = b.emit("mul", x, x) if mean is None else b.emit("squared_difference", x, mean)
        variance = b.emit("add", b.emit("reduce_mean", squares, **means), b.scalar(attributes["eps"], x.type.dtype))
        centred = x if mean is None else b.emit("sub", x, mean)
        return reshaped(b, b.emit("mul", centred, b.emit("rsqrt", variance)), shape)

    def statistics(self, b: Builder, x: Value, attributes: Attributes) -> tuple[Value, Value]:
        """X without the mean, and 1 / sqrt(variance + eps) in a shape that broadcasts to that of x."""
        axes, eps = self.axes(x.type.rank, attributes), b.scalar(attributes["eps"], x.type.dtype)
        mean = self._mean(b, x, attributes) if attributes["center"] else None
        centred = x if mean is None else b.emit("sub", x, mean)
        if mean is not None and self._by_channels(x.type, attributes):
            # The mean square distance from a group's mean: within a channel, and from channel to channel.
            own = b.emit("reduce_mean", x, axes=axes[:-1], keepdims=True)
            within, between = b.emit("sub", x, own), b.emit("sub", own, mean)
            squares = b.emit("reduce_mean", b.emit("mul", within, within), axes=axes[:-1], keepdims=True)
            variance = self._over_groups(b, b.emit("add", squares, b.emit("mul", between, between)), attributes)
        else:
            variance = self._mean(b, b.emit("mul", centred, centred), attributes)
        return centred, b.emit("rsqrt", b.emit("add", variance, eps))

    def _by_channels(self, x: TensorType, attributes: Attributes) -> bool:
        """True if sums are taken for each channel first, with vectors across channels, and then of channels."""
        axes = self.axes(x.rank, attributes)
        count = math.prod(x.shape[a] for a in axes)
        return len(axes) > 1 and axes[-1] == x.rank - 1 and (attributes["groups"] > 1 or count > LONG_ROW)

    def _mean(self, b: Builder, value: Value, attributes: Attributes) -> Value:
        """The mean over axes (and each group), in a shape that broadcasts to that of the value."""
        axes = self.axes(value.type.rank, attributes)
        if self._by_channels(value.type, attributes):
            return self._over_groups(b, b.emit("reduce_mean", value, axes=axes[:-1], keepdims=True), attributes)
        if attributes["groups"] > 1:
            return self._over_groups(b, value, attributes)
        return b.emit("reduce_mean", value, axes=axes, keepdims=True)

    def _over_groups(self, b: Builder, value: Value, attributes: Attributes) -> Value:
        """The mean of each group of channels, repeated for each of them; of all channels where there is one group."""
        groups, (*outer, channels) = attributes["groups"], value.type.shape
        if groups == 1:
            return b.emit("reduce_mean", value, axes=(-1,), keepdims=True)
        split = reshaped(b, value, (*outer, groups, channels // groups))
        mean = b.emit("reduce_mean", split, axes=(-1,), keepdims=True)
        return reshaped(b, b.emit("broadcast_to", mean, shape=split.type.shape), value.type.shape)

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        (dy,), (x,), y, attributes = cotangents, op.operands, op.result, op.attributes
        narrow = x.type.dtype is DType.F16
        if narrow:
            dy, x, y = (b.emit("cast", v, dtype="f32") for v in (dy, x, y))
        _, inverse = self.statistics(b, x, attributes)
        rest = b.emit("sub", dy, b.emit("mul", y, self._mean(b, b.emit("mul", dy, y), attributes)))
        if attributes["center"]:
            rest = b.emit("sub", rest, self._mean(b, dy, attributes))
        dx = b.emit("mul", rest, inverse)
        return (b.emit("cast", dx, dtype="f16") if narrow else dx,)


def _permuted(operands: tuple[TensorType, ...], attributes: Attributes, permutation: Permutation) -> Permuted | None:
    rank = len(permutation)
    if attributes["groups"] > 1 and permutation[-1] != rank - 1:
        return None
    moved = tuple(sorted(permutation.index(a % rank) for a in attributes["axes"]))
    return Permuted({**attributes, "axes": moved}, permutation, (permutation,))


INTEGER.none("made of others", Normalize)
TFLITE.none("made of others", Normalize)
PERMUTED.add(_permuted, Normalize)


# ---- layers ---------------------------------------------------------------------------------------------------------


def _affine(b: LayerBuilder, y: Value, shape: tuple[int, ...], weight: bool, bias: bool) -> Value:
    if weight:
        y = b.emit("mul", y, b.param("weight", shape, init="ones"))
    return b.emit("add", y, b.param("bias", shape, init="zeros")) if bias else y


@layer("layer_norm")
def layer_norm(
    b: LayerBuilder, x: Value, eps: float = 1e-5, rank: int = 1, affine: bool = True, bias: bool = True
) -> Value:
    """Normalise each sample over its last `rank` dimensions; weight and bias have the shape of these."""
    if not 1 <= rank <= x.type.rank:
        raise ShapeError(f"layer_norm over {rank} dimensions doesn't fit {x.type}")
    y = b.emit("normalize", x, axes=tuple(range(-rank, 0)), eps=eps)
    return _affine(b, y, x.type.shape[-rank:], affine, affine and bias)


@layer("rms_norm")
def rms_norm(b: LayerBuilder, x: Value, eps: float = F32_EPS, rank: int = 1, affine: bool = True) -> Value:
    """Divide by the root of the mean square over the last `rank` dimensions; weight has the shape of these."""
    if not 1 <= rank <= x.type.rank:
        raise ShapeError(f"rms_norm over {rank} dimensions doesn't fit {x.type}")
    y = b.emit("normalize", x, axes=tuple(range(-rank, 0)), eps=eps, center=False)
    return _affine(b, y, x.type.shape[-rank:], affine, False)


@layer("group_norm")
def group_norm(b: LayerBuilder, x: Value, groups: int, eps: float = 1e-5, affine: bool = True) -> Value:
    """Normalise each sample over all places and `channels / groups` neighbouring channels at a time."""
    if x.type.rank < 2 or groups < 1 or x.type.shape[-1] % groups:
        raise ShapeError(f"group_norm can't split the channels of {x.type} into {groups} groups")
    rank, channels = x.type.rank, x.type.shape[-1]
    if groups == channels and rank > 2:
        y = b.emit("normalize", x, axes=tuple(range(1, rank - 1)), eps=eps)
    else:
        y = b.emit("normalize", x, axes=tuple(range(1, rank)), eps=eps, groups=groups)
    return _affine(b, y, (channels,), affine, affine)


@layer("instance_norm")
def instance_norm(b: LayerBuilder, x: Value, eps: float = 1e-5, affine: bool = False) -> Value:
    """Normalise each channel of each sample over all its places."""
    if x.type.rank < 3:
        raise ShapeError(f"instance_norm takes [N, spatial..., channels], not {x.type}")
    y = b.emit("normalize", x, axes=tuple(range(1, x.type.rank - 1)), eps=eps)
    return _affine(b, y, x.type.shape[-1:], affine, affine)


@layer("scale")
def scale(
    b: LayerBuilder, x: Value, init: str = "ones", name: str = "weight", shape: tuple[int, ...] | None = None
) -> Value:
    """A learnt factor for each channel; `name` and `shape` are those of the checkpoint, such as [channels, 1, 1]."""
    channels = x.type.shape[-1:]
    given = channels if shape is None else tuple(shape)
    if not channels or math.prod(given) not in (1, channels[0]):
        raise ShapeError(f"scale: {list(given)} doesn't hold a factor for each channel of {x.type}")
    factor = b.param(name, given, init=init)
    if given not in (channels, (1,), ()):
        factor = b.emit("reshape", factor, shape=(math.prod(given),))
    return b.emit("mul", x, factor)
