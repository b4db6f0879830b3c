"""Layers that read pictures at places between pixels: grid_sample, affine_grid, crop_and_resize.

They are formulas: places and weights of the pixels around each point are computed by ordinary operators, and
`weighted_gather` adds the pixels up. So there are gradients of pictures and of points, of any order. Sources: PyTorch,
grid_sample and affine_grid; TensorFlow, tf.image.crop_and_resize.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import numpy as np

from ...errors import ShapeError, near_miss
from ...graph.ir import Value
from ...types import DType
from ..expressions import Formula, stacked
from ..layer import LayerBuilder, layer

Tap = tuple[Formula, Formula]
"""Place along one dimension, a whole number inside it, and weight."""
MODES = ("bilinear", "nearest", "bicubic")
PADDINGS = ("zeros", "border", "reflection")
_SLOPE = -0.75
"""Of PyTorch's cubic kernel."""


def _check_choice(name: str, what: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ShapeError(
            f'{name} knows no {what} "{value}"', hint=near_miss(value, known) or "known: " + ", ".join(known)
        )


@layer("grid_sample")
def grid_sample(
    b: LayerBuilder, x: Value, grid: Value, mode: str = "bilinear", padding: str = "zeros", align_corners: bool = False
) -> Value:
    """Pictures x [N, spatial..., C] at the points of grid [N, places..., D], which have the last axis first.

    -1 and 1 are the borders.

    `mode` is bilinear (in volumes: trilinear), nearest or bicubic (pictures alone), `padding` zeros, border or
    reflection, as in PyTorch. With `align_corners` the borders are the middles of the outermost pixels.
    """
    spatial = x.type.shape[1:-1]
    fits = grid.type.rank >= 2 and grid.type.shape[0] == x.type.shape[0] and grid.type.shape[-1] == len(spatial)
    if x.type.rank not in (4, 5) or not fits or min(spatial) < 1:
        raise ShapeError(
            f"grid_sample takes [N, H, W, C] and a grid [N, ..., 2], or volumes and 3, not {x.type} and {grid.type}"
        )
    _check_floats("grid_sample", x, grid)
    _check_choice("grid_sample", "mode", mode, MODES)
    _check_choice("grid_sample", "padding", padding, PADDINGS)
    if mode == "bicubic" and len(spatial) != 2:
        raise ShapeError("grid_sample: bicubic is for pictures, not for volumes", hint='use mode = "bilinear"')
    count = math.prod(grid.type.shape[:-1])
    points = Formula(b, grid).cast(_float_type(x)).reshape(count, len(spatial))
    taps = []
    for d, size in enumerate(spatial):
        place = points.column(len(spatial) - 1 - d)
        position = (place + 1) * ((size - 1) / 2) if align_corners else ((place + 1) * size - 1) * 0.5
        taps.append(_grid_taps(position, size, mode, padding, align_corners))
    batch = np.repeat(np.arange(x.type.shape[0]), count // max(x.type.shape[0], 1))
    return _sampled(b, x, Formula(b, b.emit("constant", value=batch.astype(np.int32))), taps, grid.type.shape[:-1])


def sampled_at(b: LayerBuilder, x: Value, places: Sequence[Formula], batch: Formula, shape: tuple[int, ...]) -> Value:
    """Pictures x [N, spatial..., C] between pixels, zeros outside: [shape..., C].

    `places`, in pixels along each spatial axis, and `batch` (i32) broadcast to `shape`.
    """
    taps = [
        _grid_taps(place, size, "bilinear", "zeros", align_corners=True)
        for place, size in zip(places, x.type.shape[1:-1], strict=True)
    ]
    return _sampled(b, x, batch, taps, shape)


def _check_floats(name: str, *values: Value) -> None:
    if any(v.type.dtype is not values[0].type.dtype or not v.type.dtype.is_float for v in values):
        raise ShapeError(f"{name} takes floats of one type, not {' and '.join(str(v.type) for v in values)}")


def _float_type(x: Value) -> str:
    return "f64" if x.type.dtype is DType.F64 else "f32"


def _grid_taps(position: Formula, size: int, mode: str, padding: str, align_corners: bool) -> list[Tap]:
    def inside(place: Formula) -> Formula:
        if padding == "reflection":
            place = _reflected(place, size, align_corners)
        return place if padding == "zeros" else place.clamp(0, size - 1)

    if mode == "bicubic":
        lower = position.floor()
        weights = _cubic_weights(position - lower)
        taps = [(inside(lower + (k - 1)), weight) for k, weight in enumerate(weights)]
    elif mode == "nearest":
        place = _half_even(inside(position))
        taps = [(place, place * 0 + 1)]
    else:
        taps = linear_taps(inside(position))
    if padding == "zeros":
        taps = [(place, weight.where(place.between(0, size - 1), 0)) for place, weight in taps]
    return [(place.clamp(0, size - 1), weight) for place, weight in taps]


def linear_taps(position: Formula) -> list[Tap]:
    """The elements on both sides of a position."""
    lower = position.floor()
    upper_weight = position - lower
    return [(lower, 1 - upper_weight), (lower + 1, upper_weight)]


def _half_even(x: Formula) -> Formula:
    """The nearest whole number, of two the even one."""
    up = (x + 0.5).floor()
    is_odd = up - (up * 0.5).floor() * 2
    return up - is_odd.where((up - x).emit("equal", 0.5).value, 0)


def _reflected(x: Formula, size: int, align_corners: bool) -> Formula:
    """Places outside mirrored at the border as often as it takes."""
    low, span = (0.0, float(size - 1)) if align_corners else (-0.5, float(size))
    if not span:
        return x * 0
    distance = (x - low).emit("abs")
    flips = (distance / span).floor()
    rest = distance - flips * span
    is_odd = flips - (flips * 0.5).floor() * 2
    return rest + is_odd * (span - rest * 2) + low


def _cubic_weights(t: Formula) -> list[Formula]:
    """Of the elements at -1, 0, 1 and 2, seen from the one below the position."""
    a = _SLOPE

    def far(d: Formula) -> Formula:
        return ((d * a - 5 * a) * d + 8 * a) * d - 4 * a

    def near(d: Formula) -> Formula:
        return (d * (a + 2) - (a + 3)) * d * d + 1

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


def _sampled(b: LayerBuilder, x: Value, batch: Formula, taps: list[list[Tap]], shape: tuple[int, ...]) -> Value:
    """Sums of pixels of x [N, spatial..., C] over all combinations of the taps along its axes: [shape..., C].

    `batch` and the parts of the taps have the shape [M], or shapes that broadcast to `shape`.
    """
    *lead, channels = x.type.shape
    count = math.prod(shape)
    whole = [[(place.cast("i32"), weight) for place, weight in each] for each in taps]
    places, weights = [], []
    for chosen in product(*whole):
        place, weight = batch, None
        for size, (at, factor) in zip(lead[1:], chosen, strict=True):
            place = place * size + at
            weight = factor if weight is None else weight * factor
        assert weight is not None
        places.append(_flat(place, shape, count))
        weights.append(_flat(weight, shape, count))
    pixels = Formula(b, x).cast(_float_type(x)).reshape(math.prod(lead), channels)
    y = pixels.emit("weighted_gather", stacked(places), stacked(weights))
    return y.reshape(*shape, channels).cast(str(x.type.dtype)).value


def _flat(each: Formula, shape: tuple[int, ...], count: int) -> Formula:
    return each if each.shape == (count,) else each.broadcast(*shape).reshape(count)


@layer("affine_grid")
def affine_grid(b: LayerBuilder, theta: Value, size: tuple[int, ...], align_corners: bool = False) -> Value:
    """Points [N, size..., D] for grid_sample: where theta [N, D, D + 1] moves those of a regular grid of `size`."""
    dimensions = len(size)
    if dimensions not in (2, 3) or theta.type.shape[1:] != (dimensions, dimensions + 1) or min(size) < 1:
        raise ShapeError(
            f"affine_grid takes theta [N, 2, 3] and a size [H, W], or [N, 3, 4] and 3 numbers, "
            f"not {theta.type} and {list(size)}"
        )
    _check_floats("affine_grid", theta)
    lines = [_line(count, align_corners) for count in size]
    mesh = np.meshgrid(*lines, indexing="ij")
    base = np.stack([*(m.reshape(-1) for m in reversed(mesh)), np.ones(math.prod(size))], axis=-1)
    moved = Formula(b, theta).reshape(theta.type.shape[0], 1, dimensions, dimensions + 1)
    total = (moved * moved.constant(base[:, np.newaxis, :])).emit("reduce_sum", axes=(3,))
    return total.reshape(theta.type.shape[0], *size, dimensions).value


def _line(count: int, align_corners: bool) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    if align_corners:
        return np.linspace(-1, 1, count) if count > 1 else np.zeros(1)
    return (2 * np.arange(count) + 1) / count - 1


@layer("crop_and_resize")
def crop_and_resize(
    b: LayerBuilder,
    x: Value,
    boxes: Value,
    box_indices: Value,
    size: tuple[int, ...],
    method: str = "bilinear",
    extrapolation: float = 0.0,
) -> Value:
    """Parts of pictures x [N, H, W, C], brought to `size`: [K, size..., C], as TensorFlow's crop_and_resize.

    boxes [K, 4] are y1, x1, y2, x2, with 1 for the last pixel's middle; box_indices i32 [K] say of which picture.
    `method` is bilinear or nearest; what lies outside is `extrapolation`.
    """
    count = boxes.type.shape[0] if boxes.type.rank else 0
    fits = boxes.type.shape == (count, 4) and box_indices.type.shape == (count,) and len(size) == 2 and min(size) >= 1
    if x.type.rank != 4 or not fits or min(x.type.shape) < 1:
        raise ShapeError(
            f"crop_and_resize takes [N, H, W, C], boxes [K, 4], indices [K] and a size [h, w], "
            f"not {x.type}, {boxes.type}, {box_indices.type} and {list(size)}"
        )
    _check_floats("crop_and_resize", x, boxes)
    _check_choice("crop_and_resize", "method", method, MODES[:2])
    corners = Formula(b, boxes).cast(_float_type(x))
    taps, known = [], None
    for d, (old, new) in enumerate(zip(x.type.shape[1:3], size, strict=True)):
        position = _crop_positions(corners.column(d), corners.column(d + 2), old, new)
        position = position.reshape(count, *(new if e == d else 1 for e in range(2)))
        inside = position.between(0, old - 1)
        found = [((position + 0.5).floor(), position * 0 + 1)] if method == "nearest" else linear_taps(position)
        taps.append([(place.clamp(0, old - 1), weight.where(inside, 0)) for place, weight in found])
        share = (position * 0 + 1).where(inside, 0)
        known = share if known is None else known * share
    batch = Formula(b, box_indices).cast("i32").reshape(count, 1, 1)
    y = _sampled(b, x, batch, taps, (count, *size))
    if not extrapolation or known is None:
        return y
    outside = (1 - known) * extrapolation
    return (Formula(b, y) + outside.reshape(count, *size, 1).cast(str(x.type.dtype))).value


def _crop_positions(first: Formula, last: Formula, old: int, new: int) -> Formula:
    """[K, new]."""
    if new == 1:
        return ((first + last) * (0.5 * (old - 1))).reshape(first.shape[0], 1)
    start, stop = first.reshape(first.shape[0], 1), last.reshape(last.shape[0], 1)
    step = (stop - start) * ((old - 1) / (new - 1))
    return start * (old - 1) + step * step.constant(np.arange(new))
