"""Operators of detectors and of pictures at other places: RoiAlign, GridSample, NonMaxSuppression, Col2Im."""

from __future__ import annotations

import math

import numpy as np

from ....compiler.graph.ir import Array, Value
from ....compiler.ops.pictures.grid_sample import affine_grid as affine_grid_layer
from ....compiler.ops.pictures.grid_sample import grid_sample as grid_sample_layer
from ....compiler.types import DType
from ..node import Node
from ..registry import onnx


@onnx("GridSample", since=16)
def grid_sample(c: Node) -> Value:
    """Pictures at the points of a grid."""
    modes = {
        "bilinear": "bilinear",
        "linear": "bilinear",
        "nearest": "nearest",
        "bicubic": "bicubic",
        "cubic": "bicubic",
    }
    default = "bilinear" if c.version < 20 else "linear"
    mode = modes[c.choice("mode", default, *modes)]
    padding = c.choice("padding_mode", "zeros", "zeros", "border", "reflection")
    x, grid = c.channels_last(c.value(0)), c.value(1)
    return c.channels_first(grid_sample_layer(c, x, grid, mode, padding, c.flag("align_corners")))


@onnx("AffineGrid", since=20)
def affine_grid(c: Node) -> Value:
    """Where matrices move the points of a regular grid."""
    size = c.integers(1)
    return affine_grid_layer(c, c.value(0), tuple(size[2:]), c.flag("align_corners"))


@onnx("RoiAlign", since=10)
def roi_align(c: Node) -> Value:
    """Features in boxes, as torchvision's roi_align."""
    name = {"avg": "roi_align", "max": "roi_align_max"}[c.choice("mode", "avg", "avg", "max")]
    aligned = False
    if c.version >= 16:
        word = c.choice("coordinate_transformation_mode", "half_pixel", "half_pixel", "output_half_pixel")
        aligned = word == "half_pixel"
    size = (int(c.attribute("output_height", 1)), int(c.attribute("output_width", 1)))
    ratio = int(c.attribute("sampling_ratio", 0))
    rules = {"size": size, "spatial_scale": float(c.attribute("spatial_scale", 1.0)), "aligned": aligned}
    batch = c.cast(c.value(2), DType.I32)
    y = c.emit(name, c.channels_last(c.value(0)), c.value(1), batch, sampling_ratio=ratio or -1, **rules)
    return c.channels_first(y)


@onnx("NonMaxSuppression", since=10)
def non_max_suppression(c: Node) -> Array:
    """Boxes that don't overlap better ones; how many there are must be known, and so must be all inputs."""
    centre = int(c.attribute("center_point_box", 0))
    boxes, scores = c.constant(0).astype(np.float32), c.constant(1)
    most = int(c.one(2)) if c.has(2) else 0
    overlap = float(c.one(3)) if c.has(3) else 0.0
    least = float(c.one(4)) if c.has(4) else -math.inf
    found: list[tuple[int, int, int]] = []
    for sample in range(boxes.shape[0]):
        corners = _corners(boxes[sample], centre=bool(centre))
        for kind in range(scores.shape[1]):
            chosen = _chosen(corners, scores[sample, kind], most, overlap, least if c.has(4) else -math.inf)
            found += [(sample, kind, box) for box in chosen]
    return np.array(found, np.int64).reshape(-1, 3)


def _corners(boxes: Array, *, centre: bool) -> Array:
    """[N, 4] as (low, low, high, high)."""
    if centre:
        half = boxes[:, 2:] / 2
        return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)
    one, other = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([np.minimum(one, other), np.maximum(one, other)], axis=1)


def _chosen(corners: Array, scores: Array, most: int, overlap: float, least: float) -> list[int]:
    chosen: list[int] = []
    for box in np.argsort(-scores, kind="stable"):
        if len(chosen) >= most or scores[box] <= least:
            break
        if all(_shared(corners[box], corners[other]) <= overlap for other in chosen):
            chosen.append(int(box))
    return chosen


def _shared(one: Array, other: Array) -> float:
    """Intersection over union."""
    size = np.maximum(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0)
    both = float(size.prod())
    union = float((one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod()) - both
    return both / union if union > 0 else 0.0


@onnx("Col2Im", since=18)
def col2im(c: Node) -> Value:
    """Columns of blocks added up at their places in a picture."""
    image, block = c.integers(1), c.integers(2)
    count = len(image)
    dilations = tuple(c.attribute("dilations", (1,) * count))
    strides = tuple(c.attribute("strides", (1,) * count))
    pads = tuple(c.attribute("pads", (0,) * 2 * count))
    x = c.value(0)
    samples, rows, columns = x.type.shape
    volume = math.prod(block)
    channels = rows // volume
    wide = [s + pads[d] + pads[count + d] for d, s in enumerate(image)]
    blocks = [(w - d * (k - 1) - 1) // s + 1 for w, d, k, s in zip(wide, dilations, block, strides, strict=True)]
    if columns != math.prod(blocks) or rows % volume:
        c.unsupported(f"{x.type} doesn't hold blocks of {list(block)} of a picture of {list(image)}")
    place = np.zeros((1,), np.int64)
    for d in range(count):
        at = np.arange(block[d])[:, None] * dilations[d] + np.arange(blocks[d]) * strides[d]
        shape = [1] * (2 * count)
        shape[d], shape[count + d] = at.shape
        place = place * wide[d] + at.reshape(shape)
    total = math.prod(wide)
    flat = c.transpose(c.reshape(x, (samples, channels, volume, columns)), (2, 3, 0, 1))
    updates = c.reshape(flat, (volume * columns, samples, channels))
    indices = c.made(np.broadcast_to(place, (*block, *blocks)).reshape(-1, 1).astype(np.int64))
    y = c.emit("scatter_nd", indices, updates, shape=(total, samples, channels))
    y = c.reshape(c.transpose(y, (1, 2, 0)), (samples, channels, *wide))
    begin = (0, 0, *pads[:count])
    return c.emit("slice", y, begin=begin, size=(samples, channels, *image))
