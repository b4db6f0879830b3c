"""roi_align: means, or the largest, of bilinear samples in the cells of boxes, and the adjoint of means.

Source: He et al., "Mask R-CNN", 2017, as torchvision's roi_align does it. How many samples a cell has may depend on the
box, so both operators state their loops themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import ShapeError
from ..graph.ir import Array, Attributes, AttributeSpec, Builder, Operation, Operator, Value
from ..graph.registry import register
from ..loops.compute import Procedure
from ..loops.ir import (
    Binary,
    Broadcast,
    Cast,
    Const,
    Expr,
    For,
    If,
    Select,
    Stmt,
    Unary,
    Var,
    binary,
    const,
    maximum,
    minimum,
)
from ..types import DType, TensorType
from .expressions import Formula
from .facets import INTEGER, PERMUTED, TFLITE
from .layer import LayerBuilder, layer

FARTHEST = 8
"""Boxes larger than this many pictures have no more samples than one of that size: no box may take forever."""
ATTRIBUTES = {
    "size": AttributeSpec(tuple, "cells of a box: height and width"),
    "spatial_scale": AttributeSpec(float, "what coordinates of boxes are multiplied by", 1.0),
    "sampling_ratio": AttributeSpec(int, "samples along each side of a cell; below 1: as many as it has pixels", -1),
    "aligned": AttributeSpec(bool, "boxes are moved by half a pixel, and may be smaller than one", False),
}


def _most(size: int, cells: int) -> int:
    return -(-FARTHEST * size // cells)


class Aligned(Operator):
    """Base: pictures [N, H, W, C], boxes [K, 4] (x1, y1, x2, y2), batch i32 [K], and cells [K, size..., C]."""

    def check(self, x: tuple[int, ...], operands: tuple[TensorType, ...], attributes: Attributes) -> None:
        """Raise `ShapeError` unless everything belongs together."""
        first, boxes, batch = operands
        count = boxes.shape[0] if boxes.rank else 0
        size = attributes["size"]
        fits = len(x) == 4 and min(x) >= 1 and boxes.shape == (count, 4) and batch.shape == (count,) and len(size) == 2
        if not fits or min(size) < 1 or batch.dtype is not DType.I32 or boxes.dtype is not first.dtype:
            given = f"{list(x)}, {boxes} and {batch}"
            raise ShapeError(f"{self.name} takes pictures [N, H, W, C], boxes [K, 4] and batch i32 [K], not {given}")
        if first.dtype not in (DType.F32, DType.F64):
            raise ShapeError(f"{self.name} takes f32 or f64, not {first}", hint="cast it")


@register
class RoiAlign(Aligned):
    """Means of samples of x [N, H, W, C] in the cells of boxes [K, 4] (x1, y1, x2, y2), each of picture batch[k]."""

    name = "roi_align"
    operands = ("x", "boxes", "batch")
    attributes = ATTRIBUTES
    procedural = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, boxes, _ = operands
        self.check(x.shape, operands, attributes)
        return (TensorType(x.dtype, (boxes.shape[0], *attributes["size"], x.shape[-1])),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x, boxes, batch = operands
        y = np.zeros((len(boxes), *attributes["size"], x.shape[-1]), x.dtype)
        for k, cells in enumerate(_boxes(boxes, x.shape[1:3], attributes)):
            image = x[np.clip(batch[k], 0, len(x) - 1)]
            total = np.zeros((*cells.inside.shape, x.shape[-1]), x.dtype)
            for rows, columns, weights in cells.corners:
                total += image[rows[:, np.newaxis], columns] * weights[..., np.newaxis]
            y[k] = cells.means(np.where(cells.inside[..., np.newaxis], total, 0))
        return (y,)

    def procedure(self, p: Procedure, attributes: Attributes) -> list[Stmt]:
        count, *_, channels = p.result.shape
        dtype = p.result.dtype

        def clear(at: tuple[Expr, ...]) -> list[Stmt]:
            return p.vectors(channels, lambda c, w: [p.store((*at, c), Const(0.0, dtype, w))])

        def sample(at: tuple[Expr, ...], corners: list[_Corner]) -> list[Stmt]:
            def vector(c: Expr, w: int) -> list[Stmt]:
                total = p.read((*at, c), w)
                for place, weight in corners:
                    total = total + p.load(0, (*place, c), w) * _wide(weight, w)
                return [p.store((*at, c), total)]

            return p.vectors(channels, vector)

        def finish(at: tuple[Expr, ...], share: Expr) -> list[Stmt]:
            return p.vectors(channels, lambda c, w: [p.store((*at, c), p.read((*at, c), w) * _wide(share, w))])

        body = _Loops(p, p.type(0).shape, attributes, sample, before=clear, after=finish)
        samples = max(attributes["sampling_ratio"], 1) ** 2
        return p.loop("k", count, body.box, shared=p.result.size * 4 * samples)

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        x, boxes, batch = op.operands
        shape = x.type.shape[:3]
        return b.emit("roi_align_gradient", cotangents[0], boxes, batch, input_shape=shape, **op.attributes), None, None


@register
class RoiAlignMax(Aligned):
    """The largest share that a pixel has in the samples of x [N, H, W, C] in each cell of boxes [K, 4].

    A sample is not summed up: of its four pixels, each times its weight, the largest counts. Samples outside the
    picture are 0, and so is a cell without samples. Source: RoiAlign of ONNX with the mode "max".
    """

    name = "roi_align_max"
    operands = ("x", "boxes", "batch")
    attributes = ATTRIBUTES
    procedural = True
    non_differentiable = "it is there to run files of ONNX"

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        return RoiAlign().infer(operands, attributes)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x, boxes, batch = operands
        y = np.zeros((len(boxes), *attributes["size"], x.shape[-1]), x.dtype)
        for k, cells in enumerate(_boxes(boxes, x.shape[1:3], attributes)):
            image = x[np.clip(batch[k], 0, len(x) - 1)]
            parts = [image[r[:, np.newaxis], c] * weights[..., np.newaxis] for r, c, weights in cells.corners]
            y[k] = cells.largest(np.where(cells.inside[..., np.newaxis], np.maximum.reduce(parts), 0))
        return (y,)

    def procedure(self, p: Procedure, attributes: Attributes) -> list[Stmt]:
        count, *_, channels = p.result.shape
        dtype = p.result.dtype

        def filled(at: tuple[Expr, ...], number: float) -> list[Stmt]:
            return p.vectors(channels, lambda c, w: [p.store((*at, c), Const(number, dtype, w))])

        def sample(at: tuple[Expr, ...], corners: list[_Corner]) -> list[Stmt]:
            def vector(c: Expr, w: int) -> list[Stmt]:
                total = p.read((*at, c), w)
                for place, weight in corners:
                    total = maximum(total, p.load(0, (*place, c), w) * _wide(weight, w))
                return [p.store((*at, c), total)]

            return p.vectors(channels, vector)

        def outside(at: tuple[Expr, ...]) -> list[Stmt]:
            return p.vectors(
                channels, lambda c, w: [p.store((*at, c), maximum(p.read((*at, c), w), Const(0.0, dtype, w)))]
            )

        def finish(at: tuple[Expr, ...], share: Expr) -> list[Stmt]:
            return [If(Binary("le", body.samples, Const(0)), tuple(filled(at, 0.0)))]

        def start(at: tuple[Expr, ...]) -> list[Stmt]:
            return filled(at, -math.inf)

        body = _Loops(p, p.type(0).shape, attributes, sample, before=start, after=finish, outside=outside)
        samples = max(attributes["sampling_ratio"], 1) ** 2
        return p.loop("k", count, body.box, shared=p.result.size * 4 * samples)


@register
class RoiAlignGradient(Aligned):
    """Adjoint of roi_align: dy [K, size..., C] to what pictures [input_shape..., C] gave to it; boxes get nothing."""

    name = "roi_align_gradient"
    internal = True
    operands = ("dy", "boxes", "batch")
    attributes = {"input_shape": AttributeSpec(tuple, "[N, H, W] of the pictures"), **ATTRIBUTES}
    procedural = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        dy, boxes, _ = operands
        x = (*attributes["input_shape"], *dy.shape[3:])
        self.check(x, operands, attributes)
        if dy.shape != (boxes.shape[0], *attributes["size"], x[-1]):
            raise ShapeError(f"{self.name}: {dy} doesn't fit cells {list(attributes['size'])} of boxes {boxes}")
        return (TensorType(dy.dtype, x),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        dy, boxes, batch = operands
        x = np.zeros((*attributes["input_shape"], dy.shape[-1]), dy.dtype)
        for k, cells in enumerate(_boxes(boxes, x.shape[1:3], attributes)):
            image = x[np.clip(batch[k], 0, len(x) - 1)]
            spread = np.where(cells.inside[..., np.newaxis], cells.spread(dy[k]), 0)
            for rows, columns, weights in cells.corners:
                np.add.at(image, (rows[:, np.newaxis], columns), spread * weights[..., np.newaxis])
        return (x,)

    def procedure(self, p: Procedure, attributes: Attributes) -> list[Stmt]:
        n, height, width, channels = p.result.shape
        dtype = p.result.dtype

        def clear(row: Expr) -> list[Stmt]:
            at = (row // (height * width), row // width % height, row % width)
            return p.vectors(channels, lambda c, w: [p.store((*at, c), Const(0.0, dtype, w))])

        def sample(at: tuple[Expr, ...], corners: list[_Corner], share: Expr) -> list[Stmt]:
            def vector(c: Expr, w: int) -> list[Stmt]:
                block: list[Stmt] = []
                dy = p.let(block, "dy", p.load(0, (*at, c), w) * _wide(share, w))
                for place, weight in corners:
                    block.append(p.store((*place, c), p.read((*place, c), w) + dy * _wide(weight, w)))
                return block

            return p.vectors(channels, vector)

        body = _Loops(p, p.result.shape, attributes, sample)
        return [*p.loop("r", n * height * width, clear), *p.loop("k", p.type(1).shape[0], body.box)]

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        rules = {key: op.attributes[key] for key in ATTRIBUTES}
        return b.emit("roi_align", cotangents[0], *op.operands[1:], **rules), None, None


# ---- in NumPy -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Cells:
    """The samples of a box: rows [h * gh] and columns [w * gw]."""

    size: tuple[int, int]
    samples: tuple[int, int]
    inside: Array
    corners: list[tuple[Array, Array, Array]]
    """Rows, columns and weights of the pixels around the samples."""

    def means(self, total: Array) -> Array:
        """[h, w, C]: means over the samples of each cell."""
        (h, w), (gh, gw) = self.size, self.samples
        means: Array = total.reshape(h, gh, w, gw, total.shape[-1]).sum(axis=(1, 3)) * total.dtype.type(self.share)
        return means

    def largest(self, total: Array) -> Array:
        """[h, w, C]: the largest of the samples of each cell, 0 where there are none."""
        (h, w), (gh, gw) = self.size, self.samples
        if not gh * gw:
            return np.zeros((h, w, total.shape[-1]), total.dtype)
        largest: Array = total.reshape(h, gh, w, gw, total.shape[-1]).max(axis=(1, 3))
        return largest

    def spread(self, dy: Array) -> Array:
        """[h * gh, w * gw, C]: each sample's share."""
        share = dy * dy.dtype.type(self.share)
        repeated: Array = share.repeat(self.samples[0], axis=0).repeat(self.samples[1], axis=1)
        return repeated

    @property
    def share(self) -> float:
        """Of a sample in its cell."""
        return 1 / max(self.samples[0] * self.samples[1], 1)


def _boxes(boxes: Array, picture: tuple[int, ...], attributes: Attributes) -> Iterator[_Cells]:
    kind = boxes.dtype.type
    offset = kind(0.5 if attributes["aligned"] else 0)
    scaled = boxes * kind(attributes["spatial_scale"]) - offset
    for box in scaled:
        lines = [_line(box[1 - d], box[3 - d], picture[d], attributes["size"][d], attributes) for d in range(2)]
        (low_y, high_y, u, in_y, gh), (low_x, high_x, v, in_x, gw) = lines
        rows, columns = ((low_y, 1 - u), (high_y, u)), ((low_x, 1 - v), (high_x, v))
        corners = [(a, b, wa[:, np.newaxis] * wb) for a, wa in rows for b, wb in columns]
        yield _Cells(tuple(attributes["size"]), (gh, gw), in_y[:, np.newaxis] & in_x, corners)


def _line(
    start: Array, stop: Array, size: int, cells: int, attributes: Attributes
) -> tuple[Array, Array, Array, Array, int]:
    """Samples along one side: the pixels below and above, weight of the upper, which count; their number in a cell."""
    kind = start.dtype.type
    length = stop - start if attributes["aligned"] else np.maximum(stop - start, kind(1))
    width = length / kind(cells)
    ratio, most = attributes["sampling_ratio"], _most(size, cells)
    samples = ratio if ratio > 0 else most if np.isnan(width) else int(np.clip(np.ceil(width), 0, most))
    cell, number = np.arange(cells).repeat(samples), np.tile(np.arange(samples), cells)
    step = width / kind(samples) if samples else kind(0)
    position = start + cell.astype(kind) * width + (number.astype(kind) + kind(0.5)) * step
    inside = (position >= -1) & (position <= size)
    clipped = np.where(inside, np.maximum(position, 0), 0).astype(start.dtype)
    low = np.minimum(clipped.astype(np.int64), size - 1)
    upper = np.where(low >= size - 1, 0, clipped - low.astype(kind)).astype(start.dtype)
    return low, np.minimum(low + 1, size - 1), upper, inside, samples


# ---- in loops -------------------------------------------------------------------------------------------------------

_Corner = tuple[tuple[Expr, ...], Expr]
"""[n, row, column] of a pixel, and its weight."""


def _wide(scalar: Expr, lanes: int) -> Expr:
    return Broadcast(scalar, lanes) if lanes > 1 else scalar


@dataclass(frozen=True, slots=True)
class _Side:
    """One side of a box: where it starts, the width of a cell, its samples and the distance between them."""

    start: Expr
    width: Expr
    samples: Expr
    step: Expr


class _Loops:
    """Loops over the samples of a box."""

    def __init__(
        self,
        p: Procedure,
        picture: tuple[int, ...],
        attributes: Attributes,
        sample: Callable[..., list[Stmt]],
        *,
        before: Callable[..., list[Stmt]] | None = None,
        after: Callable[..., list[Stmt]] | None = None,
        outside: Callable[..., list[Stmt]] | None = None,
    ) -> None:
        self.p, self.picture, self.attributes = p, picture, attributes
        self.sample, self.before, self.after, self.outside = sample, before, after, outside
        self.samples: Expr = Const(0)
        self.dtype = p.type(1).dtype

    def box(self, k: Expr) -> list[Stmt]:
        """All samples of box k; `after` gets each cell's share, or `sample` does if there is none."""
        p, block = self.p, list[Stmt]()
        n = p.let(block, "n", maximum(minimum(Cast(p.load(2, (k,)), DType.I64), self.picture[0] - 1), 0))
        sides = [self._side(block, k, d) for d in range(2)]
        self.samples = p.let(block, "count", sides[0].samples * sides[1].samples)
        number = maximum(Cast(self.samples, self.dtype), 1.0)
        share = p.let(block, "share", binary("div", 1.0, number))
        h, w = self.attributes["size"]

        def cell(i: Expr, j: Expr) -> list[Stmt]:
            at = (k, i, j)
            first = self.before(at) if self.before else []
            last = self.after(at, share) if self.after else []
            return [*first, *self._samples(n, at, sides, share), *last]

        return [*block, *p.loop("i", h, lambda i: p.loop("j", w, lambda j: cell(i, j)))]

    def _side(self, block: list[Stmt], k: Expr, d: int) -> _Side:
        p, attributes, dtype = self.p, self.attributes, self.dtype
        cells, size = attributes["size"][d], self.picture[1 + d]
        scale, offset = float(attributes["spatial_scale"]), 0.5 if attributes["aligned"] else 0.0

        def edge(column: int) -> Expr:
            given = p.load(1, (k, Const(column))) * scale
            return given - offset if offset else given

        start = p.let(block, "start", edge(1 - d))
        length: Expr = edge(3 - d) - start
        length = length if attributes["aligned"] else maximum(length, 1.0)
        width = p.let(block, "width", length / float(cells))
        ratio, most = attributes["sampling_ratio"], _most(size, cells)
        if ratio > 0:
            samples: Expr = Const(ratio)
        else:
            up = Unary("neg", Unary("floor", Unary("neg", width)))
            samples = p.let(block, "samples", maximum(minimum(Cast(up, DType.I64), most), 0))
        step = p.let(block, "step", width / maximum(Cast(samples, dtype), 1.0))
        return _Side(start, width, samples, step)

    def _samples(self, n: Expr, at: tuple[Expr, ...], sides: list[_Side], share: Expr) -> list[Stmt]:
        p = self.p
        names = [p.fresh("sy"), p.fresh("sx")]
        rows, columns = list[Stmt](), list[Stmt]()
        y = self._position(rows, sides[0], at[1], names[0], 0)
        x = self._position(columns, sides[1], at[2], names[1], 1)
        corners = [
            ((n, row, column), p.let(columns, "weight", wy * wx)) for row, wy in y.corners for column, wx in x.corners
        ]
        extra = () if self.after else (share,)
        missed = tuple(self.outside(at)) if self.outside else ()
        columns.append(If(x.inside, tuple(self.sample(at, corners, *extra)), missed))
        inner = For(names[1], Const(0), sides[1].samples, tuple(columns))
        rows.append(If(y.inside, (inner,), missed))
        return [For(names[0], Const(0), sides[0].samples, tuple(rows))]

    def _position(self, block: list[Stmt], side: _Side, cell: Expr, name: str, d: int) -> _Position:
        p, size, dtype = self.p, self.picture[1 + d], self.dtype
        offset = (Cast(Var(name), dtype) + 0.5) * side.step
        position = p.let(block, "place", side.start + Cast(cell, dtype) * side.width + offset)
        inside = Binary("and", binary("le", const(-1.0, position.type), position), binary("le", position, float(size)))
        clipped = p.let(block, "clipped", maximum(position, 0.0))
        low = p.let(block, "low", maximum(minimum(Cast(clipped, DType.I64), size - 1), 0))
        high = p.let(block, "high", minimum(low + 1, size - 1))
        between = clipped - Cast(low, dtype)
        upper = p.let(block, "upper", Select(binary("le", Const(size - 1), low), const(0.0, between.type), between))
        lower = p.let(block, "lower", binary("sub", 1.0, upper))
        return _Position(inside, [(low, lower), (high, upper)])


@dataclass(frozen=True, slots=True)
class _Position:
    """Where a sample lies along one side."""

    inside: Expr
    corners: list[tuple[Expr, Expr]]


INTEGER.none("TFLite has no kernel for it", Aligned)
TFLITE.none("TFLite has no operator for it", RoiAlign, RoiAlignMax)
TFLITE.none("part of a training step", RoiAlignGradient)
PERMUTED.none("channels stand last", Aligned)


@layer("roi_align")
def roi_align(
    b: LayerBuilder,
    x: Value,
    boxes: Value,
    batch: Value,
    size: int | tuple[int, ...],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Value:
    """Features x [N, H, W, C] in boxes [K, 4] (x1, y1, x2, y2) of picture batch[k]: [K, size..., C], as torchvision's.

    Coordinates are multiplied by `spatial_scale`. A `sampling_ratio` below 1 takes as many samples as a cell has
    pixels. Gradients go to x alone.
    """
    cells = (size, size) if isinstance(size, int) else tuple(size)
    wide = "f32" if x.type.dtype is DType.F16 else str(x.type.dtype)
    corners = Formula(b, boxes).cast(wide) if boxes.type.dtype.is_float else Formula(b, boxes)
    rules = {"spatial_scale": float(spatial_scale), "sampling_ratio": sampling_ratio, "aligned": aligned}
    y = Formula(b, x).cast(wide).emit("roi_align", corners, Formula(b, batch).cast("i32"), size=cells, **rules)
    return y.cast(str(x.type.dtype)).value
