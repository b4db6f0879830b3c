"""Bilinear samples in the cells of boxes, for roi_align and its adjoint: in NumPy, and as loops.

Source: He et al., "Mask R-CNN", 2017, as torchvision's roi_align does it. How many samples a cell has may depend on the
box.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ...graph.ir import Array, Attributes
from ...loops.compute import Procedure
from ...loops.ir import Binary, Cast, Const, Expr, For, If, Select, Stmt, Unary, Var, binary, const, maximum, minimum
from ...types import DType

FARTHEST = 8
"""Boxes larger than this many pictures have no more samples than one of that size: no box may take forever."""


def most_samples(size: int, cells: int) -> int:
    """Of a cell along a side, in pictures of this size."""
    return -(-FARTHEST * size // cells)


# ---- in NumPy -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
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


def cells_of(boxes: Array, picture: tuple[int, ...], attributes: Attributes) -> Iterator[Cells]:
    """The samples of each box [4] (x1, y1, x2, y2) in pictures of this height and width."""
    kind = boxes.dtype.type
    offset = kind(0.5 if attributes["aligned"] else 0)
    scaled = boxes * kind(attributes["spatial_scale"]) - offset
    for box in scaled:
        lines = [_line(box[1 - d], box[3 - d], picture[d], attributes["size"][d], attributes) for d in range(2)]
        (low_y, high_y, u, in_y, gh), (low_x, high_x, v, in_x, gw) = lines
        rows, columns = ((low_y, 1 - u), (high_y, u)), ((low_x, 1 - v), (high_x, v))
        corners = [(a, b, wa[:, np.newaxis] * wb) for a, wa in rows for b, wb in columns]
        yield Cells(tuple(attributes["size"]), (gh, gw), in_y[:, np.newaxis] & in_x, corners)


def _line(
    start: Array, stop: Array, size: int, cells: int, attributes: Attributes
) -> tuple[Array, Array, Array, Array, int]:
    """Samples along one side: the pixels below and above, weight of the upper, which count; their number in a cell."""
    kind = start.dtype.type
    length = stop - start if attributes["aligned"] else np.maximum(stop - start, kind(1))
    width = length / kind(cells)
    ratio, most = attributes["sampling_ratio"], most_samples(size, cells)
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

Corner = tuple[tuple[Expr, ...], Expr]
"""[n, row, column] of a pixel, and its weight."""


@dataclass(frozen=True, slots=True)
class _Side:
    """One side of a box: where it starts, the width of a cell, its samples and the distance between them."""

    start: Expr
    width: Expr
    samples: Expr
    step: Expr


@dataclass(frozen=True, slots=True)
class _Position:
    """Where a sample lies along one side."""

    inside: Expr
    corners: list[tuple[Expr, Expr]]


class BoxLoops(ABC):
    """Loops over the samples of boxes, [K, 4], operand 1; what is done with a sample is up to the operator.

    `at` is [box, row, column] of a cell everywhere.
    """

    def __init__(self, p: Procedure, picture: tuple[int, ...], attributes: Attributes) -> None:
        self.p, self.picture, self.attributes = p, picture, attributes
        self.count: Expr = Const(0)
        """Samples of a cell of the box at hand."""
        self.dtype = p.type(1).dtype

    @abstractmethod
    def sample(self, at: tuple[Expr, ...], corners: list[Corner], share: Expr) -> list[Stmt]:
        """What is done with a sample between these pixels, which has this share in its cell."""

    def before(self, at: tuple[Expr, ...]) -> list[Stmt]:
        """What comes before the samples of a cell."""
        return []

    def outside(self, at: tuple[Expr, ...]) -> list[Stmt]:
        """What is done for samples outside the picture."""
        return []

    def after(self, at: tuple[Expr, ...], share: Expr) -> list[Stmt]:
        """What comes behind the samples of a cell."""
        return []

    def box(self, k: Expr) -> list[Stmt]:
        """All samples of box k."""
        p, block = self.p, list[Stmt]()
        n = p.let(block, "n", maximum(minimum(Cast(p.load(2, (k,)), DType.I64), self.picture[0] - 1), 0))
        sides = [self._side(block, k, d) for d in range(2)]
        self.count = p.let(block, "count", sides[0].samples * sides[1].samples)
        number = maximum(Cast(self.count, self.dtype), 1.0)
        share = p.let(block, "share", binary("div", 1.0, number))
        h, w = self.attributes["size"]

        def cell(i: Expr, j: Expr) -> list[Stmt]:
            at = (k, i, j)
            return [*self.before(at), *self._samples(n, at, sides, share), *self.after(at, share)]

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
        ratio, most = attributes["sampling_ratio"], most_samples(size, cells)
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
        corners: list[Corner] = [
            ((n, row, column), p.let(columns, "weight", wy * wx)) for row, wy in y.corners for column, wx in x.corners
        ]
        missed = tuple(self.outside(at))
        columns.append(If(x.inside, tuple(self.sample(at, corners, share)), missed))
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
