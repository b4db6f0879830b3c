"""Which elements a resized dimension is made of, and with which weights: all rules of ONNX, PyTorch and TFLite.

A result at place i lies at a position of the operand that is affine in i (`Affine`). From the positions follow the
`Taps`: for each result the elements that are added up, with their weights. Sources: ONNX, operator Resize; PyTorch,
aten/native/UpSample.h; Keys, "Cubic convolution interpolation for digital image processing", 1981.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ...graph.ir import Array

COORDINATES = (
    *("half_pixel", "asymmetric", "align_corners"),
    *("pytorch_half_pixel", "half_pixel_symmetric", "tf_half_pixel_for_nn"),
)
ROUNDINGS = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
MODES = {"nearest": 0, "linear": 1, "cubic": 2, "area": 0}
"""How far a mode reaches to either side of a position, in elements."""


class Positions(Protocol):
    """Where the results of a dimension stand among its elements."""

    def positions(self, count: int, dtype: Any) -> Array:
        """Positions of the first `count` results."""
        ...


@dataclass(frozen=True, slots=True)
class Affine:
    """Position of result i: (i + before) * ratio + after, computed in this order in floats of one type."""

    before: float
    ratio: float
    after: float

    def positions(self, count: int, dtype: Any) -> Array:
        """Positions of the first `count` results."""
        kind = np.dtype(dtype).type
        result: Array = (np.arange(count, dtype=dtype) + kind(self.before)) * kind(self.ratio) + kind(self.after)
        return result


def affine(coordinates: str, size: int, target: int, scale: float, dtype: Any) -> Affine:
    """The rule for a dimension of `size` that is stretched to `target`, by `scale` (0: by target / size)."""
    kind = np.dtype(dtype).type
    ratio = float(kind(1 / scale) if scale else kind(size) / kind(max(target, 1)))
    match coordinates:
        case "asymmetric":
            return Affine(0.0, ratio, 0.0)
        case "align_corners":
            last = kind(size) * kind(scale) - kind(1) if scale else kind(target - 1)
            return Affine(0.0, float(kind(size - 1) / last) if target > 1 else 0.0, 0.0)
        case "pytorch_half_pixel" if target <= 1:
            return Affine(0.0, 0.0, 0.0)
        case "tf_half_pixel_for_nn":
            return Affine(0.5, ratio, 0.0)
        case "half_pixel_symmetric" if scale:
            return Affine(0.5, ratio, size / 2 * (1 - target / (scale * size)) - 0.5)
        case _:
            return Affine(0.5, ratio, -0.5)


def nearest(rule: Positions, rounding: str, size: int, target: int) -> Array:
    """The nearest element for each result; computed in f32, as PyTorch and TFLite do (see `nearest_exactly`)."""
    position = rule.positions(target, np.float32)
    if rounding.startswith("round"):
        position = position + np.float32(0.5 if rounding == "round_prefer_ceil" else -0.5)
    rounded = np.floor(position) if rounding in ("floor", "round_prefer_ceil") else np.ceil(position)
    places: Array = np.clip(rounded.astype(np.int64), 0, size - 1)
    return places


def nearest_exactly(coordinates: str, rounding: str, size: int, target: int) -> Array:
    """The nearest element for each result, in whole numbers: positions that lie on a border or half-way do so."""
    place = np.arange(target, dtype=np.int64)
    if coordinates == "align_corners" or (coordinates == "pytorch_half_pixel" and target <= 1):
        position, parts = place * (size - 1), max(target - 1, 1)
    elif coordinates == "asymmetric":
        position, parts = place * size, target
    else:
        behind = 0 if coordinates == "tf_half_pixel_for_nn" else target
        position, parts = (2 * place + 1) * size - behind, 2 * target
    if rounding.startswith("round"):
        position, parts = 2 * position + (parts if rounding == "round_prefer_ceil" else -parts), 2 * parts
    whole = position // parts if rounding in ("floor", "round_prefer_ceil") else -(-position // parts)
    places: Array = np.clip(whole, 0, size - 1)
    return places


# ---- taps -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Taps:
    """Result i of a dimension is the sum over k of weights[i, k] * x[places[i, k]]; x has `size` elements there.

    Each weight of a row that isn't empty counts: zeros would make NaN of infinities that no result depends on.
    """

    size: int
    places: Array
    weights: Array

    @property
    def target(self) -> int:
        """Number of results."""
        return len(self.places)

    @classmethod
    def of(cls, size: int, target: int, rows: Array, columns: Array, weights: Array) -> Taps:
        """From single entries; those at one place are added up. Shorter rows are filled by shares of their last tap."""
        keys, inverse = np.unique(rows.astype(np.int64) * size + columns, return_inverse=True)
        sums = np.zeros(len(keys), np.float64)
        np.add.at(sums, inverse, weights)
        keys, sums = keys[sums != 0], sums[sums != 0]
        rows, columns = keys // size, keys % size
        counts = np.bincount(rows, minlength=target)
        number = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        width = max(int(counts.max(initial=0)), 1)
        places, packed = np.zeros((target, width), np.int32), np.zeros((target, width))
        places[rows, number], packed[rows, number] = columns, sums
        for k in range(1, width):
            short = (counts > 0) & (counts <= k)
            places[short, k] = places[short, k - 1]
            packed[short, k - 1] /= 2
            packed[short, k] = packed[short, k - 1]
        return cls(size, places, packed)

    def adjoint(self) -> Taps:
        """The taps of the transposed matrix."""
        target, width = self.places.shape
        rows = np.repeat(np.arange(target), width)
        return Taps.of(target, self.size, self.places.reshape(-1), rows, self.weights.reshape(-1))

    def matrix(self) -> Array:
        """[target, size]."""
        result = np.zeros((self.target, self.size))
        np.add.at(result, (np.arange(self.target)[:, np.newaxis], self.places), self.weights)
        return result

    def apply(self, x: Array, axis: int) -> Array:
        """The results along an axis of x, which has floats of 32 bits or more."""
        shape = [1] * x.ndim
        shape[axis] = self.target
        total = np.zeros((*x.shape[:axis], self.target, *x.shape[axis + 1 :]), x.dtype)
        for places, weights in zip(self.places.T, self.weights.T.astype(x.dtype), strict=True):
            total += x.take(places, axis) * weights.reshape(shape)
        return total


def nearest_taps(places: Array, size: int) -> Taps:
    """One element for each result."""
    target = len(places)
    return Taps.of(size, target, np.arange(target), places, np.ones(target))


def area_taps(size: int, target: int) -> Taps:
    """Means of the elements that a result covers, also in part: adaptive average pooling."""
    i = np.arange(target)
    start, stop = i * size // target, -(-(i + 1) * size // target)
    counts = stop - start
    rows = np.repeat(i, counts)
    columns = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts - start, counts)
    return Taps.of(size, target, rows, columns, 1 / counts[rows])


def _linear(distance: Array) -> Array:
    weight: Array = np.maximum(1 - np.abs(distance), 0)
    return weight


def _cubic(a: float) -> Callable[[Array], Array]:
    """Keys's kernel with the slope `a` at 1."""

    def weight(distance: Array) -> Array:
        d = np.abs(distance)
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = (((d - 5) * d + 8) * d - 4) * a
        result: Array = np.where(d <= 1, near, np.where(d < 2, far, 0))
        return result

    return weight


def interpolation_taps(
    rule: Positions, mode: str, size: int, target: int, dtype: Any, *, coefficient: float, exclude_outside: bool
) -> Taps:
    """Linear or cubic interpolation; what lies outside is the border element, or isn't counted."""
    reach = MODES[mode]
    position = rule.positions(target, dtype).astype(np.float64)
    lower = np.floor(position).astype(np.int64)
    columns = lower[:, np.newaxis] + np.arange(1 - reach, reach + 1)
    weights = (_linear if mode == "linear" else _cubic(coefficient))(position[:, np.newaxis] - columns)
    if exclude_outside:
        weights = np.where((columns >= 0) & (columns < size), weights, 0)
        weights /= weights.sum(axis=1, keepdims=True)
    rows = np.repeat(np.arange(target), 2 * reach)
    return Taps.of(size, target, rows, np.clip(columns, 0, size - 1).reshape(-1), weights.reshape(-1))


def antialias_taps(rule: Affine, mode: str, size: int, target: int, coefficient: float) -> Taps:
    """Interpolation by a kernel that is as wide as a result, where that is wider than an element (as Pillow's)."""
    stretch = max(rule.ratio, 1.0)
    support = MODES[mode] * stretch
    center = rule.ratio * (np.arange(target) + 0.5)
    first = np.maximum((center - support + 0.5).astype(np.int64), 0)
    stop = np.minimum((center + support + 0.5).astype(np.int64), size)
    columns = first[:, np.newaxis] + np.arange(math.ceil(support) * 2 + 1)
    distance = (columns - center[:, np.newaxis] + 0.5) / stretch
    kernel = _linear if mode == "linear" else _cubic(coefficient)
    weights = np.where(columns < stop[:, np.newaxis], kernel(distance), 0)
    weights /= weights.sum(axis=1, keepdims=True)
    rows = np.repeat(np.arange(target), columns.shape[1])
    return Taps.of(size, target, rows, np.minimum(columns, size - 1).reshape(-1), weights.reshape(-1))
