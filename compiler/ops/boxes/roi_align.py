"""roi_align: means, or the largest, of bilinear samples in the cells of boxes, and the adjoint of means.

Source: He et al., "Mask R-CNN", 2017, as torchvision's roi_align does it. How many samples a cell has may depend on the
box, so the operators state their loops themselves (see `box_samples`).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Operation, Operator, Value
from ...graph.registry import register
from ...loops.compute import Procedure
from ...loops.ir import Binary, Broadcast, Const, Expr, If, Stmt, maximum
from ...types import DType, TensorType
from ..expressions import Formula
from ..facets import INTEGER, PERMUTED, TFLITE
from ..layer import LayerBuilder, layer
from .box_samples import BoxLoops, Corner, cells_of

ATTRIBUTES = {
    "size": AttributeSpec(tuple, "cells of a box: height and width"),
    "spatial_scale": AttributeSpec(float, "what coordinates of boxes are multiplied by", 1.0),
    "sampling_ratio": AttributeSpec(int, "samples along each side of a cell; below 1: as many as it has pixels", -1),
    "aligned": AttributeSpec(bool, "boxes are moved by half a pixel, and may be smaller than one", False),
}


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
        for k, cells in enumerate(cells_of(boxes, x.shape[1:3], attributes)):
            image = x[np.clip(batch[k], 0, len(x) - 1)]
            total = np.zeros((*cells.inside.shape, x.shape[-1]), x.dtype)
            for rows, columns, weights in cells.corners:
                total += image[rows[:, np.newaxis], columns] * weights[..., np.newaxis]
            y[k] = cells.means(np.where(cells.inside[..., np.newaxis], total, 0))
        return (y,)

    def procedure(self, p: Procedure, attributes: Attributes) -> list[Stmt]:
        samples = max(attributes["sampling_ratio"], 1) ** 2
        body = _Means(p, p.type(0).shape, attributes)
        return p.loop("k", p.result.shape[0], body.box, shared=p.result.size * 4 * samples)

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
        for k, cells in enumerate(cells_of(boxes, x.shape[1:3], attributes)):
            image = x[np.clip(batch[k], 0, len(x) - 1)]
            parts = [image[r[:, np.newaxis], c] * weights[..., np.newaxis] for r, c, weights in cells.corners]
            y[k] = cells.largest(np.where(cells.inside[..., np.newaxis], np.maximum.reduce(parts), 0))
        return (y,)

    def procedure(self, p: Procedure, attributes: Attributes) -> list[Stmt]:
        samples = max(attributes["sampling_ratio"], 1) ** 2
        body = _Largest(p, p.type(0).shape, attributes)
        return p.loop("k", p.result.shape[0], body.box, shared=p.result.size * 4 * samples)


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
        for k, cells in enumerate(cells_of(boxes, x.shape[1:3], attributes)):
            image = x[np.clip(batch[k], 0, len(x) - 1)]
            spread = np.where(cells.inside[..., np.newaxis], cells.spread(dy[k]), 0)
            for rows, columns, weights in cells.corners:
                np.add.at(image, (rows[:, np.newaxis], columns), spread * weights[..., np.newaxis])
        return (x,)

    def procedure(self, p: Procedure, attributes: Attributes) -> list[Stmt]:
        n, height, width, channels = p.result.shape

        def clear(row: Expr) -> list[Stmt]:
            at = (row // (height * width), row // width % height, row % width)
            return p.vectors(channels, lambda c, w: [p.store((*at, c), Const(0.0, p.result.dtype, w))])

        body = _Spread(p, p.result.shape, attributes)
        return [*p.loop("r", n * height * width, clear), *p.loop("k", p.type(1).shape[0], body.box)]

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        rules = {key: op.attributes[key] for key in ATTRIBUTES}
        return b.emit("roi_align", cotangents[0], *op.operands[1:], **rules), None, None


class _Loops(BoxLoops):
    """Base: loops over vectors of the channels."""

    def _vectors(self, body: Callable[[Expr, int], list[Stmt]]) -> list[Stmt]:
        return self.p.vectors(self.p.result.shape[-1], body)

    def _filled(self, at: tuple[Expr, ...], number: float) -> list[Stmt]:
        """Store a number in all channels of a cell."""
        return self._vectors(lambda c, w: [self.p.store((*at, c), Const(number, self.p.result.dtype, w))])

    def _combined(
        self, at: tuple[Expr, ...], corners: list[Corner], combine: Callable[[Expr, Expr], Expr]
    ) -> list[Stmt]:
        """Combine what a cell has so far with each of these pixels, times its weight."""

        def vector(c: Expr, w: int) -> list[Stmt]:
            total = self.p.read((*at, c), w)
            for place, weight in corners:
                total = combine(total, self.p.load(0, (*place, c), w) * _wide(weight, w))
            return [self.p.store((*at, c), total)]

        return self._vectors(vector)


class _Means(_Loops):
    """Sums of the samples, times the share that each has."""

    def before(self, at: tuple[Expr, ...]) -> list[Stmt]:
        return self._filled(at, 0.0)

    def sample(self, at: tuple[Expr, ...], corners: list[Corner], share: Expr) -> list[Stmt]:
        return self._combined(at, corners, operator.add)

    def after(self, at: tuple[Expr, ...], share: Expr) -> list[Stmt]:
        p = self.p
        return self._vectors(lambda c, w: [p.store((*at, c), p.read((*at, c), w) * _wide(share, w))])


class _Largest(_Loops):
    """The largest of all pixels, times their weights, and of the 0 that samples outside the picture are."""

    def before(self, at: tuple[Expr, ...]) -> list[Stmt]:
        return self._filled(at, -math.inf)

    def sample(self, at: tuple[Expr, ...], corners: list[Corner], share: Expr) -> list[Stmt]:
        return self._combined(at, corners, maximum)

    def outside(self, at: tuple[Expr, ...]) -> list[Stmt]:
        p, dtype = self.p, self.p.result.dtype
        return self._vectors(lambda c, w: [p.store((*at, c), maximum(p.read((*at, c), w), Const(0.0, dtype, w)))])

    def after(self, at: tuple[Expr, ...], share: Expr) -> list[Stmt]:
        return [If(Binary("le", self.count, Const(0)), tuple(self._filled(at, 0.0)))]


class _Spread(_Loops):
    """What a cell has, times the share of a sample, goes to the pixels around each sample, by their weights."""

    def sample(self, at: tuple[Expr, ...], corners: list[Corner], share: Expr) -> list[Stmt]:
        p = self.p

        def vector(c: Expr, w: int) -> list[Stmt]:
            block: list[Stmt] = []
            dy = p.let(block, "dy", p.load(0, (*at, c), w) * _wide(share, w))
            for place, weight in corners:
                block.append(p.store((*place, c), p.read((*place, c), w) + dy * _wide(weight, w)))
            return block

        return self._vectors(vector)


def _wide(scalar: Expr, lanes: int) -> Expr:
    return Broadcast(scalar, lanes) if lanes > 1 else scalar


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
