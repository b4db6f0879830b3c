"""Layers of detectors: anchors, which are constants, and formulas of boxes (x1, y1, x2, y2).

Sources: Liu et al., "SSD: Single Shot MultiBox Detector", 2016; Ren et al., "Faster R-CNN", 2015; torchvision.ops.boxes
and torchvision.models.detection, whose order and rounding of anchors this is.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Value
from ..expressions import Formula, stacked
from ..layer import LayerBuilder, layer

LARGEST_GROWTH = math.log(1000 / 16)
"""Boxes grow by this factor's exponential at most, so that no network's first steps make infinite ones."""
_LARGEST = 10_000_000
"""Anchors, at most."""


def _sides(b: LayerBuilder, name: str, boxes: Value) -> list[Formula]:
    """x1, y1, x2, y2."""
    if boxes.type.rank < 1 or boxes.type.shape[-1] != 4 or not boxes.type.dtype.is_float:
        raise ShapeError(f"{name} takes boxes [..., 4] of floats, not {boxes.type}")
    return [Formula(b, boxes).column(d) for d in range(4)]


@layer("box_iou")
def box_iou(b: LayerBuilder, boxes: Value, others: Value) -> Value:
    """Intersection over union of each of boxes [N, 4] with each of others [M, 4]: [N, M]."""
    if boxes.type.rank != 2 or others.type.rank != 2 or boxes.type.dtype is not others.type.dtype:
        raise ShapeError(f"box_iou takes boxes [N, 4] and [M, 4] of one type, not {boxes.type} and {others.type}")
    first = [side.reshape(boxes.type.shape[0], 1) for side in _sides(b, "box_iou", boxes)]
    second = [side.reshape(1, others.type.shape[0]) for side in _sides(b, "box_iou", others)]
    width, height = ((first[d + 2].minimum(second[d + 2]) - first[d].maximum(second[d])).maximum(0) for d in range(2))
    shared = width * height
    areas = [(s[2] - s[0]) * (s[3] - s[1]) for s in (first, second)]
    return (shared / (areas[0] + areas[1] - shared)).value


@layer("clip_boxes")
def clip_boxes(b: LayerBuilder, boxes: Value, height: float, width: float) -> Value:
    """Boxes [..., 4] cut off at the borders of a picture."""
    x1, y1, x2, y2 = _sides(b, "clip_boxes", boxes)
    return stacked([x1.clamp(0, width), y1.clamp(0, height), x2.clamp(0, width), y2.clamp(0, height)], axis=-1).value


@layer("decode_boxes")
def decode_boxes(
    b: LayerBuilder, deltas: Value, anchors: Value, weights: tuple[int | float, ...] = (10, 10, 5, 5)
) -> Value:
    """Boxes [..., N, 4] that the offsets `deltas` make of anchors [N, 4]: SSD's by default.

    Offsets are of the middle, in units of the anchor's size, and logarithms of the size's ratio, each times a weight.
    Faster R-CNN's weights are 1, 1, 1, 1 for proposals and 10, 10, 5, 5 for its second stage.
    """
    _check_weights("decode_boxes", weights)
    moves = [d / w for d, w in zip(_sides(b, "decode_boxes", deltas), weights, strict=True)]
    x, y, width, height = _middles(_sides(b, "decode_boxes", anchors))
    center_x, center_y = moves[0] * width + x, moves[1] * height + y
    half_w, half_h = (
        move.minimum(LARGEST_GROWTH).emit("exp") * side * 0.5 for move, side in ((moves[2], width), (moves[3], height))
    )
    return stacked([center_x - half_w, center_y - half_h, center_x + half_w, center_y + half_h], axis=-1).value


@layer("encode_boxes")
def encode_boxes(
    b: LayerBuilder, boxes: Value, anchors: Value, weights: tuple[int | float, ...] = (10, 10, 5, 5)
) -> Value:
    """The offsets from which `decode_boxes` makes boxes [..., N, 4] of anchors [N, 4]."""
    _check_weights("encode_boxes", weights)
    x, y, width, height = _middles(_sides(b, "encode_boxes", anchors))
    bx, by, bw, bh = _middles(_sides(b, "encode_boxes", boxes))
    deltas = [(bx - x) / width, (by - y) / height, (bw / width).emit("log"), (bh / height).emit("log")]
    return stacked([d * w for d, w in zip(deltas, weights, strict=True)], axis=-1).value


def _check_weights(name: str, weights: Sequence[float]) -> None:
    if len(weights) != 4 or any(not 0 < w < math.inf for w in weights):
        raise ShapeError(f"{name} takes four weights above 0, not {list(weights)}")


def _middles(sides: list[Formula]) -> tuple[Formula, Formula, Formula, Formula]:
    """Middle, width and height."""
    width, height = sides[2] - sides[0], sides[3] - sides[1]
    return sides[0] + width * 0.5, sides[1] + height * 0.5, width, height


# ---- anchors --------------------------------------------------------------------------------------------------------

Numbers = tuple[int | float, ...]


def _constant(b: LayerBuilder, boxes: Sequence[Array]) -> Value:
    return b.emit("constant", value=np.concatenate(boxes).astype(np.float32))


def _check_levels(name: str, *lists: Sequence[object]) -> None:
    lengths = {len(each) for each in lists}
    if len(lengths) != 1 or 0 in lengths:
        raise ShapeError(
            f"{name}: the lists don't have an entry for each of the same levels: {[len(x) for x in lists]}"
        )


def _check_count(name: str, maps: Sequence[Sequence[int]], each: Sequence[int]) -> None:
    if any(len(size) != 2 or min(size) < 1 for size in maps):
        raise ShapeError(f"{name} takes a height and a width of each map, not {[list(m) for m in maps]}")
    if sum(math.prod(size) * n for size, n in zip(maps, each, strict=True)) > _LARGEST:
        raise ShapeError(f"{name} makes more than {_LARGEST} anchors")


@layer("anchor_boxes")
def anchor_boxes(
    b: LayerBuilder,
    maps: tuple[tuple[int, ...], ...],
    sizes: tuple[Numbers, ...],
    ratios: tuple[Numbers, ...],
    image: tuple[int, ...],
) -> Value:
    """Anchors [count, 4] of Faster R-CNN and RetinaNet: a constant, in pixels of an `image` of height and width.

    For each level of a pyramid there are the size of its feature map (`maps`), the sides of the anchors (`sizes`) and
    height / width (`ratios`). Corners of anchors around the origin are rounded to whole pixels, halves to even ones.
    """
    _check_levels("anchor_boxes", maps, sizes, ratios)
    _check_count("anchor_boxes", maps, [len(s) * len(r) for s, r in zip(sizes, ratios, strict=True)])
    if len(image) != 2 or any(n <= 0 for each in (*sizes, *ratios, image) for n in each):
        raise ShapeError("anchor_boxes takes sizes and ratios above 0, and an image [height, width]")
    levels = []
    for (rows, columns), scales, shapes in zip(maps, sizes, ratios, strict=True):
        height = np.sqrt(np.array(shapes, np.float32))
        side = np.array(scales, np.float32)
        w, h = (((factor[:, np.newaxis] * side).reshape(-1)) for factor in (1 / height, height))
        cell = np.round(np.array([-w, -h, w, h], np.float32).T * np.float32(0.5))
        steps = image[0] // rows, image[1] // columns
        y, x = np.meshgrid(np.arange(rows) * steps[0], np.arange(columns) * steps[1], indexing="ij")
        shifts = np.stack([x, y, x, y], axis=-1).reshape(-1, 1, 4)
        levels.append((shifts + cell).reshape(-1, 4))
    return _constant(b, levels)


@layer("default_boxes")
def default_boxes(
    b: LayerBuilder,
    maps: tuple[tuple[int, ...], ...],
    ratios: tuple[Numbers, ...],
    image: tuple[int, ...],
    scales: Numbers = (),
    steps: tuple[int, ...] = (),
    smallest: float = 0.15,
    largest: float = 0.9,
    clip: bool = True,
) -> Value:
    """SSD's anchors [count, 4]: a constant, in pixels of an `image` of height and width.

    For each level there are the size of its feature map (`maps`) and aspect ratios besides 1 (`ratios`), each of which
    is used both ways. `scales`, one more than levels, are shares of the picture; without them they rise evenly from
    `smallest` to `largest`, and to 1. `steps` are pixels from cell to cell; without them cells cover the picture.
    """
    _check_levels("default_boxes", maps, ratios, *([steps] if steps else []))
    count = len(maps)
    _check_count("default_boxes", maps, [2 + 2 * len(r) for r in ratios])
    if len(image) != 2 or min(image) < 1 or any(r <= 0 for each in ratios for r in each):
        raise ShapeError("default_boxes takes ratios above 0, and an image [height, width]")
    if not scales:
        rise = (largest - smallest) / max(count - 1, 1)
        scales = (*(smallest + rise * k for k in range(count)), 1.0) if count > 1 else (smallest, largest)
    if len(scales) != count + 1:
        raise ShapeError(f"default_boxes takes one scale more than levels, not {len(scales)} for {count}")
    levels = []
    for k, ((rows, columns), shapes) in enumerate(zip(maps, ratios, strict=True)):
        between = math.sqrt(scales[k] * scales[k + 1])
        sides = [(scales[k], scales[k]), (between, between)]
        for root, turned in itertools.product(map(math.sqrt, shapes), (False, True)):
            side = (scales[k] * root, scales[k] / root)
            sides.append(side[::-1] if turned else side)
        half = (np.clip(sides, 0, 1) if clip else np.array(sides)).astype(np.float32) * np.float32(0.5)
        over = (image[0] / steps[k], image[1] / steps[k]) if steps else (rows, columns)
        y, x = np.meshgrid((np.arange(rows) + 0.5) / over[0], (np.arange(columns) + 0.5) / over[1], indexing="ij")
        middle = np.stack([x, y], axis=-1).reshape(-1, 1, 2).astype(np.float32)
        boxes = np.concatenate([middle - half, middle + half], axis=-1).reshape(-1, 4)
        levels.append(boxes * np.array([image[1], image[0]] * 2, np.float32))
    return _constant(b, levels)
