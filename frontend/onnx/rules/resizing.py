"""Resize and Upsample, in all their versions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ....compiler.graph.ir import Array, Value
from ....compiler.ops.pictures.resample import resized
from ....compiler.ops.pictures.sampling import Affine, Taps, affine, interpolation_taps, nearest, nearest_exactly
from ....compiler.types import DType
from ..node import Node
from ..registry import onnx

_MODES = {"nearest": "nearest", "linear": "linear", "bilinear": "linear", "cubic": "cubic"}
_COORDINATES = (
    *("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"),
    *("tf_half_pixel_for_nn", "half_pixel_symmetric", "tf_crop_and_resize"),
)
_OF_WHOLE_SIZES = ("pytorch", "onnx.quantize")
"""Producers whose `align_corners` means the corners of whole sizes, as in PyTorch and ONNX Runtime, also with scales
that give none: by ONNX's own tests, sizes count unrounded there."""
_ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


@dataclass(frozen=True)
class Goal:
    """The size that some axes are brought to, and their scales where these aren't the ratios of the sizes."""

    axes: tuple[int, ...]
    sizes: tuple[int, ...]
    scales: tuple[float, ...] = ()


@onnx("Upsample", since=7)
def upsample_by_attribute(c: Node) -> Value:
    """Larger pictures; the scales are an attribute."""
    return _upsampled(c, tuple(map(float, c.needed("scales"))))


@onnx("Upsample", since=9)
def upsample(c: Node) -> Value:
    """Larger pictures; the scales are an input."""
    return _upsampled(c, _floats(c, 1))


@onnx("Resize", since=10)
def resize_by_scales(c: Node) -> Value:
    """Other sizes, by scales."""
    return _upsampled(c, _floats(c, 1))


def _upsampled(c: Node, scales: tuple[float, ...]) -> Value:
    rules = {"mode": _MODES[c.choice("mode", "nearest", *_MODES)], "coordinates": "asymmetric", "rounding": "floor"}
    return _resized(c, _scaled(c, tuple(range(c.type(0).rank)), scales), rules)


@onnx("Resize", since=11)
def resize(c: Node) -> Value:
    """Other sizes, by sizes or scales and all rules of the attributes."""
    rank = c.type(0).rank
    axes = c.axes(c.attribute("axes", tuple(range(rank))), rank)
    coordinates = c.choice("coordinate_transformation_mode", "half_pixel", *_COORDINATES)
    rules = {
        "mode": _MODES[c.choice("mode", "nearest", *_MODES)],
        "coordinates": coordinates,
        "rounding": c.choice("nearest_mode", "round_prefer_floor", *_ROUNDINGS),
        "coefficient": float(c.attribute("cubic_coeff_a", -0.75)),
        "exclude_outside": c.flag("exclude_outside"),
        "antialias": c.flag("antialias"),
    }
    outside = float(c.attribute("extrapolation_value", 0.0))
    policy = c.choice("keep_aspect_ratio_policy", "stretch", "stretch", "not_larger", "not_smaller")
    by_size = c.has(3) and c.type(3).size
    goal = _sized(c, axes, c.integers(3), policy) if by_size else _scaled(c, axes, _floats(c, 2))
    if coordinates == "align_corners" and c.converter.producer in _OF_WHOLE_SIZES:
        goal = replace(goal, scales=())
    if coordinates == "tf_crop_and_resize":
        return _cropped(c, goal, rules, _floats(c, 1), outside)
    return _resized(c, goal, rules)


def _floats(c: Node, place: int) -> tuple[float, ...]:
    return tuple(float(v) for v in c.constant(place).reshape(-1))


def _scaled(c: Node, axes: tuple[int, ...], scales: tuple[float, ...]) -> Goal:
    if len(scales) != len(axes) or not all(0 < s < math.inf for s in scales):
        c.unsupported(f"scales {list(scales)} don't fit {len(axes)} axes")
    old = [c.shape(0)[a] for a in axes]
    new = tuple(math.floor(s * f) for s, f in zip(old, scales, strict=True))
    exact = all(s * f == n for s, f, n in zip(old, scales, new, strict=True))
    return Goal(axes, new, () if exact else scales)


def _sized(c: Node, axes: tuple[int, ...], sizes: tuple[int, ...], policy: str) -> Goal:
    if len(sizes) != len(axes):
        c.unsupported(f"sizes {list(sizes)} don't fit {len(axes)} axes")
    if policy == "stretch":
        return Goal(axes, sizes)
    old = [c.shape(0)[a] for a in axes]
    ratios = [n / s for n, s in zip(sizes, old, strict=True)]
    scale = min(ratios) if policy == "not_larger" else max(ratios)
    new = tuple(math.floor(scale * s + 0.5) for s in old)
    return Goal(axes, new, (scale,) * len(axes))


def _resized(c: Node, goal: Goal, rules: Mapping[str, Any]) -> Value:
    """Axes that change brought into the places of spatial dimensions, and back."""
    x = c.value(0) if rules["mode"] != "nearest" or goal.scales else _picked(c, c.value(0), goal, rules)
    changed = [i for i, a in enumerate(goal.axes) if goal.sizes[i] != x.type.shape[a] or goal.scales]
    spatial = [
        i for i in changed if not (goal.scales and goal.scales[i] == 1 and goal.sizes[i] == x.type.shape[goal.axes[i]])
    ]
    if not spatial:
        return x
    if rules.get("antialias") and not rules["exclude_outside"] and rules["mode"] != "nearest":
        return _smoothed(c, x, goal, spatial, rules)
    axes = [goal.axes[i] for i in spatial]
    if x.type.rank in (3, 4, 5) and min(axes) >= 2:
        axes, order = list(range(2, x.type.rank)), (0, *range(2, x.type.rank), 1)
        size = tuple(_of(goal, a, x.type.shape[a]) for a in axes)
        scales = tuple(goal.scales[goal.axes.index(a)] if a in goal.axes else 1.0 for a in axes) if goal.scales else ()
        y = resized(c, c.transpose(x, order), size, _complete(rules, scales))
        return c.channels_first(y)
    return _general(c, x, goal, spatial, rules)


def _picked(c: Node, x: Value, goal: Goal, rules: Mapping[str, Any]) -> Value:
    """X with those axes resized of which the positions, which operators compute in floats, miss the nearest element."""
    coordinates, rounding = str(rules["coordinates"]), str(rules["rounding"])
    for axis, target in zip(goal.axes, goal.sizes, strict=True):
        size = x.type.shape[axis]
        rule = affine(coordinates, size, target, 0.0, np.float32)
        places = nearest_exactly(coordinates, rounding, size, target)
        if size != target and not np.array_equal(places, nearest(rule, rounding, size, target)):
            x = c.emit("gather", x, c.made(places), axis=axis)
    return x


def _of(goal: Goal, axis: int, old: int) -> int:
    return goal.sizes[goal.axes.index(axis)] if axis in goal.axes else old


def _general(c: Node, x: Value, goal: Goal, places: Sequence[int], rules: Mapping[str, Any]) -> Value:
    """Any axes: those that change behind all others, which count as samples."""
    axes = sorted(goal.axes[i] for i in places)
    if len(axes) > 3:
        c.unsupported("more than three axes that change are not supported")
    rest = [d for d in range(x.type.rank) if d not in axes]
    order = (*rest, *axes)
    turned = c.transpose(x, order)
    lead = [x.type.shape[d] for d in rest]
    flat = c.reshape(turned, (math.prod(lead), *(x.type.shape[a] for a in axes), 1))
    size = tuple(_of(goal, a, 0) for a in axes)
    scales = tuple(goal.scales[goal.axes.index(a)] for a in axes) if goal.scales else ()
    y = resized(c, flat, size, _complete(rules, scales))
    return c.transpose(c.reshape(y, (*lead, *size)), tuple(order.index(d) for d in range(len(order))))


def _complete(rules: Mapping[str, Any], scales: tuple[float, ...]) -> dict[str, Any]:
    defaults = {"coefficient": -0.75, "exclude_outside": False, "antialias": False}
    return {**defaults, **rules, "scales": scales}


# ---- antialiasing ----------------------------------------------------------------------------------------------------


def _smoothed(c: Node, x: Value, goal: Goal, places: Sequence[int], rules: Mapping[str, Any]) -> Value:
    """Filters as wide as a result where this is larger than an element; the border stands for what lies outside."""
    dtype = x.type.dtype
    y = c.cast(x, DType.F32) if dtype is DType.F16 else x
    for i in places:
        axis, target = goal.axes[i], goal.sizes[i]
        size = x.type.shape[axis]
        scale = goal.scales[i] if goal.scales else target / size
        rule = affine(str(rules["coordinates"]), size, target, scale if goal.scales else 0.0, np.float64)
        taps = _wide_taps(rule, size, target, min(scale, 1.0), rules)
        weights = c.made(taps.weights.astype(y.type.dtype.numpy))
        y = c.emit("interpolate", y, c.made(taps.places), weights, axis=axis)
    return c.cast(y, dtype)


def _wide_taps(rule: Affine, size: int, target: int, scale: float, rules: Mapping[str, Any]) -> Taps:
    reach = 1 if rules["mode"] == "linear" else 2
    position = rule.positions(target, np.float64)
    lower = np.floor(position).astype(np.int64)
    first = math.floor(-reach / scale) + 1
    steps = np.arange(first, 2 - first) if reach == 1 else np.arange(first, 2 - first + 1)
    columns = lower[:, np.newaxis] + steps
    far = np.abs(position[:, np.newaxis] - columns) * scale
    weights = np.clip(1 - far, 0, 1) if reach == 1 else _cubic(far, float(rules["coefficient"]))
    weights = weights / weights.sum(axis=1, keepdims=True)
    rows = np.repeat(np.arange(target), columns.shape[1])
    return Taps.of(size, target, rows, np.clip(columns, 0, size - 1).reshape(-1), weights.reshape(-1))


def _cubic(far: Array, slope: float) -> Array:
    """Keys' kernel at distances."""
    near = ((slope + 2) * far - (slope + 3)) * far * far + 1
    off = ((slope * far - 5 * slope) * far + 8 * slope) * far - 4 * slope
    result: Array = np.where(far <= 1, near, np.where(far < 2, off, 0))
    return result


# ---- parts of pictures -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """Positions of `target` results between two places of a dimension, which are shares of its size.

    They are computed in ONNX's order: then the last one of a whole dimension is its last element, not beyond it.
    """

    first: float
    last: float
    size: int
    target: int

    def positions(self, count: int, dtype: Any) -> Array:
        """Positions of the first `count` results."""
        kind = np.dtype(dtype).type
        first, last, end = kind(self.first), kind(self.last), kind(self.size - 1)
        if self.target == 1:
            return np.full(count, kind(0.5) * (first + last) * end)
        along = np.arange(count, dtype=dtype) * (last - first) * end / kind(self.target - 1)
        result: Array = first * end + along
        return result


def _cropped(c: Node, goal: Goal, rules: Mapping[str, Any], roi: tuple[float, ...], outside: float) -> Value:
    """Parts of axes, in shares of them; what lies outside is a number of its own."""
    x = c.value(0)
    if rules["antialias"] or len(roi) != 2 * len(goal.axes):
        c.unsupported("this form of tf_crop_and_resize is not supported")
    mask: Value | None = None
    for i, axis in enumerate(goal.axes):
        size, target = x.type.shape[axis], goal.sizes[i]
        first, last = roi[i], roi[len(goal.axes) + i]
        rule = Part(first, last, size, target)
        if (size, first, last) == (target, 0.0, 1.0):
            continue
        position = rule.positions(target, np.float32)
        inside = (position >= 0) & (position <= size - 1)
        x = _along(c, x, axis, rule, rules, target)
        shape = [-1 if d == axis else 1 for d in range(x.type.rank)]
        here = c.made(inside.reshape(shape))
        mask = here if mask is None else c.emit("logical_and", mask, here)
    return x if mask is None else c.emit("select", mask, x, c.scalar(outside, x))


def _along(c: Node, x: Value, axis: int, rule: Part, rules: Mapping[str, Any], target: int) -> Value:
    size = x.type.shape[axis]
    if rules["mode"] == "nearest":
        return c.emit("gather", x, c.made(nearest(rule, str(rules["rounding"]), size, target)), axis=axis)
    coefficient, exclude = float(rules["coefficient"]), bool(rules["exclude_outside"])
    kind = x.type.dtype.numpy if x.type.dtype is DType.F64 else np.dtype(np.float32)
    mode = str(rules["mode"])
    taps = interpolation_taps(rule, mode, size, target, kind, coefficient=coefficient, exclude_outside=exclude)
    weights = taps.weights.astype(x.type.dtype.numpy)
    return c.emit("interpolate", x, c.made(taps.places), c.made(weights), axis=axis)
