"""Gradient of a convolution's weight: for each tap, channel and filter, a sum over all pixels of all images.

Register tiles of the result (input channels of neighbouring taps by vectors of filters) accumulate over the pixels.
The pixels are visited in blocks whose input and gradient stay in the L2 cache, and all tiles are brought up to date
with one block before the next, so that neither tensor is read from memory more than once. Each thread owns a part of
the result; hence sums don't depend on the number of threads. The padding must lie in the input's margins.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from .....loops.ir import (
    Allocate,
    Binary,
    Broadcast,
    Buffer,
    Const,
    Expr,
    Fma,
    For,
    If,
    Kernel,
    Load,
    LoopKind,
    Space,
    Stmt,
    Store,
    Var,
    minimum,
)
from .....lowering.group import Group
from .....lowering.kernel import Names, Scheduled, let
from .....lowering.loops import ceil_div, kind_for, loop, vector_widths
from .....ops.windows.convolution_gradients import WeightGradient
from .....ops.windows.window import Window, window_of
from .....targets.target import Target
from .....types import TensorType
from ..geometry import origin_of, pair_of, rows_of
from ..tiling import Tiling, split

Place = tuple[Expr, Expr, Expr, Expr]

BLOCK_SHARE = 0.5
"""Part of the L2 cache that a block of pixels may fill."""


def schedule_weight_gradient(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule the gradient of a convolution's weight without epilogue whose padding lies in the margins.

    Groups whose results fill several to a vector have a schedule of their own (see `narrow_weight_gradient`).
    """
    anchor = group.anchor
    if not isinstance(anchor.operator, WeightGradient) or len(group.members) != 1:
        return ()
    if any(v not in group.outer for v in anchor.operands):  # one element that is known at compile time
        return ()
    x, dy = (v.type for v in anchor.operands)
    if group.result.type.layout is not None or not x.dtype.is_float:  # the result is written as it lies without margins
        return ()
    window = window_of(anchor.name, x.shape[1:-1], group.result.type.shape[:-2], anchor.attributes)
    if not x.has_margins(window.margins):
        return ()
    return (_WeightGradient(group, window, x, dy, target, threads).schedule(),)


@dataclass(frozen=True, slots=True)
class _Tiles:
    """Register tiles of one form: `count` of them, at equal distances from each other."""

    rows: int
    """Window rows of one tile."""
    columns: int
    """Neighbouring input elements of one tile."""
    widths: tuple[int, ...]
    """Vectors of filters of one tile."""
    first: tuple[int, int, int]
    """Row, column and filter of the first tile."""
    counts: tuple[int, int, int, int]
    """Tiles along planes and groups, rows, columns and filters."""

    @property
    def count(self) -> int:
        """All tiles of this form."""
        return math.prod(self.counts)

    def place(self, number: Expr) -> Place:
        """Plane and group, row, column and filter of a tile."""
        _, rows, columns, filters = self.counts
        f, column = number % filters, number // filters % columns
        row, part = number // (columns * filters) % rows, number // (rows * columns * filters)
        steps = (self.rows, self.columns, sum(self.widths))
        places = [i * step + first for i, step, first in zip((row, column, f), steps, self.first, strict=True)]
        return part, places[0], places[1], places[2]


TileBody = Callable[[_Tiles, Place], list[Stmt]]


def _at(body: TileBody, tiles: _Tiles, number: Expr) -> list[Stmt]:
    return body(tiles, tiles.place(number))


class _WeightGradient:
    def __init__(
        self, group: Group, window: Window, x: TensorType, dy: TensorType, target: Target, threads: int
    ) -> None:
        self.group, self.window, self.threads = group, window, threads
        self.names = Names()
        self.dtype = x.dtype
        self.pitch = x.buffer_shape[-1]
        (kh, kw), self.groups = pair_of(window.kernel, 1), group.anchor.attributes["groups"]
        self.strides, self.dilations = pair_of(window.strides, 1), pair_of(window.dilations, 1)
        deep = x.rank == 5
        self.depth = (window.kernel[0], window.strides[0], window.dilations[0], x.buffer_shape[2])
        self.depth = self.depth if deep else (1, 1, 1, 0)
        """Planes of the window, their stride and dilation, and buffer rows of a plane."""
        channels, filters = x.shape[-1] // self.groups, dy.shape[-1] // self.groups
        merged = self.pitch == channels and self.dilations[1] == 1
        self.height, width = (kh, kw * channels) if merged else (kh * kw, channels)
        """Rows of the result for each plane of the window."""
        self.channels, self.filters = channels, filters
        self.window_columns = 1 if merged else kw
        """Rows of the result for each row of the window."""
        self.x = Buffer("x", x.dtype, rows_of(x))
        self.dy = Buffer("dy", dy.dtype, dy.buffer_shape)
        planes = self.depth[0]
        self.dw = Buffer("dw", dy.dtype, (planes * self.height, width, self.groups * filters), Space.OUT)
        origin = origin_of(x, window.padding)
        assert origin is not None, "the margins hold the padding"
        self.origin = (origin[0] if deep else 0, *pair_of(origin, 0))
        self.dy_margins = dy.margins
        lanes, registers = target.vector_lanes, target.vector_registers
        height = self.height if merged else 1
        tile = Tiling(height=height, width=width, channels=filters, lanes=lanes, registers=registers).best()
        parts = planes * self.groups
        self.tiles = [
            _Tiles(rows, columns, vector_widths(extent, lanes), (row, column, f), (parts, n_rows, n_columns, n_filters))
            for row, n_rows, rows in split(self.height, tile.rows)
            for column, n_columns, columns in split(width, tile.columns)
            for f, n_filters, extent in split(filters, tile.channels)
        ]
        self.output = pair_of(window.output, 1)
        self.planes = window.output[0] if deep else 1
        self.images = x.shape[0]
        row_bytes = (self.x.shape[2] * self.strides[0] + math.prod(dy.buffer_shape[-2:])) * self.dtype.itemsize
        self.block = max(1, min(self.output[0], int(target.l2_bytes * BLOCK_SHARE / row_bytes)))

    def schedule(self) -> Scheduled:
        """One kernel: threads, then blocks of pixels, then tiles."""
        kind = kind_for(self.group.macs)
        shares = self.threads if kind is LoopKind.PARALLEL else 1
        blocks = ceil_div(self.output[0], self.block)

        def share(p: Expr) -> list[Stmt]:
            clear = self._own(p, shares, self._clear)
            sums = loop(
                "n",
                self.images * self.planes,
                lambda n: loop(
                    "b", blocks, lambda b: self._own(p, shares, lambda t, place: self._accumulate(t, place, n, b))
                ),
            )
            return [*clear, *sums]

        body = loop("p", shares, share, kind)
        arguments = (*(self.group.outer[v] for v in self.group.anchor.operands), self.group.operation.result)
        return Scheduled(Kernel("", (self.x, self.dy, self.dw), tuple(body)), arguments)

    def _own(self, p: Expr, shares: int, body: TileBody) -> list[Stmt]:
        """`body` for all tiles of thread p; single tiles go to the threads in turn."""
        statements: list[Stmt] = []
        turn = 0
        for tiles in self.tiles:
            if shares == 1:
                each = partial(_at, body, tiles)
                statements += loop(self.names.fresh("q"), tiles.count, each)
            elif tiles.count == 1:
                mine = Binary("eq", p, Const(turn % shares))
                statements.append(If(mine, tuple(_at(body, tiles, Const(0)))))
                turn += 1
            else:
                q = self.names.fresh("q")
                start, stop = p * tiles.count // shares, (p + 1) * tiles.count // shares
                statements.append(For(q, start, stop, tuple(_at(body, tiles, Var(q)))))
        return statements

    def _elements(self, t: _Tiles, body: Callable[[Expr, Expr], list[Stmt]]) -> list[Stmt]:
        """`body(r, s)` for the rows and columns of a tile, expanded."""
        return loop("r", t.rows, lambda r: loop("s", t.columns, lambda s: body(r, s), LoopKind.UNROLL), LoopKind.UNROLL)

    def _memory(self, place: Place) -> tuple[Expr, Expr, Expr]:
        """Row, column and filter of the result where a tile starts."""
        part, row, column, f = place
        return part // self.groups * self.height + row, column, part % self.groups * self.filters + f

    def _clear(self, t: _Tiles, place: Place) -> list[Stmt]:
        row, column, f = self._memory(place)
        starts = [sum(t.widths[:v]) for v in range(len(t.widths))]

        def zero(r: Expr, s: Expr) -> list[Stmt]:
            return [
                Store(self.dw, (row + r, column + s, f + start), Const(0.0, self.dtype, width))
                for start, width in zip(starts, t.widths, strict=True)
            ]

        return self._elements(t, zero)

    def _accumulate(self, t: _Tiles, place: Place, n: Expr, b: Expr) -> list[Stmt]:
        """Add the products of one block of pixels to one tile: summed up apart first, which keeps rounding small."""
        part, window_row, column, _ = place
        row, _, f = self._memory(place)
        block: list[Stmt] = []
        fresh = self.names.fresh
        accumulators = [
            Buffer(fresh("acc"), self.dtype, (t.rows * t.columns,), Space.REGISTER, lanes=w) for w in t.widths
        ]
        filters = [let(block, fresh("f"), f + sum(t.widths[:v])) for v in range(len(t.widths))]
        ky = let(block, fresh("ky"), window_row // self.window_columns)
        kx = let(block, fresh("kx"), window_row % self.window_columns)

        def zero(r: Expr, s: Expr) -> list[Stmt]:
            at = (r * t.columns + s,)
            return [Store(a, at, Const(0.0, self.dtype, w)) for a, w in zip(accumulators, t.widths, strict=True)]

        def add(r: Expr, s: Expr) -> list[Stmt]:
            at, adds = (r * t.columns + s,), list[Stmt]()
            for accumulator, first, width in zip(accumulators, filters, t.widths, strict=True):
                memory = (row + r, column + s, first)
                adds.append(Store(self.dw, memory, Load(self.dw, memory, width) + Load(accumulator, at)))
            return adds

        block += [Allocate(a) for a in accumulators]
        block += self._elements(t, zero)
        (sy, sx), (dy, dx) = self.strides, self.dilations
        _, sz, dz, plane_rows = self.depth
        image, z = (n // self.planes, n % self.planes) if self.planes > 1 else (n, Const(0))
        first = (z * sz + part // self.groups * dz + self.origin[0]) * plane_rows
        y0 = let(block, fresh("iy"), first + ky * dy + self.origin[1])
        own = part % self.groups * self.channels
        x0 = let(block, fresh("ix"), (kx * dx + self.origin[2]) * self.pitch + own + column)
        spatial = len(self.dy.shape) - 2

        def pixel(oy: Expr, ox: Expr) -> list[Stmt]:
            def source(r: Expr, s: Expr) -> tuple[Expr, ...]:
                return (image, y0 + oy * sy + r * dy, x0 + ox * (sx * self.pitch) + s)

            return self._multiply(t, accumulators, filters, (image, *(z, oy, ox)[-spatial:]), source)

        height, width = self.output
        stop = minimum(b * self.block + self.block, height) if height % self.block else b * self.block + self.block
        rows = For("oy", b * self.block, stop, tuple(loop("ox", width, lambda ox: pixel(Var("oy"), ox))))
        return [*block, rows, *self._elements(t, add)]

    def _multiply(
        self,
        t: _Tiles,
        accumulators: list[Buffer],
        filters: list[Var],
        pixel: tuple[Expr, ...],
        source: Callable[[Expr, Expr], tuple[Expr, ...]],
    ) -> list[Stmt]:
        """One multiply-add for every accumulator."""
        block: list[Stmt] = []
        base = [i + m[0] for i, m in zip(pixel, self.dy_margins, strict=False)]
        gradients = [
            let(block, self.names.fresh("g"), Load(self.dy, (*base, first), width))
            for first, width in zip(filters, t.widths, strict=True)
        ]

        def element(r: Expr, s: Expr) -> list[Stmt]:
            inside: list[Stmt] = []
            a = let(inside, "a", Load(self.x, source(r, s)))
            at = (r * t.columns + s,)
            for accumulator, gradient, width in zip(accumulators, gradients, t.widths, strict=True):
                spread = Broadcast(a, width) if width > 1 else a
                inside.append(Store(accumulator, at, Fma(spread, gradient, Load(accumulator, at))))
            return inside

        return [*block, *self._elements(t, element)]
