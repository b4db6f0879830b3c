"""Gradient of a 3x3 convolution's weight by Winograd's filtering; see `ops.winograd` for the algebra.

The result at each of the 36 points is a sum over all tiles of products of the input, at its points as in the
convolution, and the gradient dy at its own. The tiles are cut into a few chunks, whatever the number of threads, so
that sums don't depend on it. Each chunk, block by block, adds to a partial sum of its own,
[chunk][36][channel][filter]; a second kernel adds these up and brings them back to filter elements.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ....errors import InternalError
from ....graph.ir import Value
from ....loops.ir import (
    Allocate,
    Broadcast,
    Buffer,
    Const,
    Expr,
    Fma,
    For,
    Load,
    LoopKind,
    Space,
    Stmt,
    Store,
    Var,
    VectorType,
    const,
)
from ....lowering.group import Group
from ....lowering.kernel import Names, Parameters, Scheduled, let
from ....lowering.loops import ceil_div, kind_for, loop, vector_loop, vector_widths
from ....ops import winograd as f43
from ....ops.window import Window, window_of, with_whole_tiles
from ....targets.target import Target
from ....types import DType, TensorType
from .linear import square
from .tiling import BROADCAST_CYCLES, Tiling, split
from .winograd_tiles import PRODUCTS, Blocks, Points, Source, pitch_of, workspace

Margins = tuple[tuple[int, int], ...]

CHUNKS = (16, 8, 4)
"""Partial sums: as many threads can share the work."""
PARTIAL_BYTES = 2_500_000
"""Most that all partial sums should take, as they are read once more in the end ..."""
FEWEST_BYTES = 12_000_000
"""... and most that the fewest of them may take: beyond it they come from memory each time."""
BLOCK_SHARE = 0.4
"""Part of the L2 cache that a block's tiles at their points may fill ..."""
BLOCK_TILES = 64
"""... but each block reads and writes a partial sum, so that it should have so many tiles at least."""


def schedule_winograd_gradient(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule a conv2d_weight_gradient for which Winograd's filtering was chosen; empty for other operators."""
    anchor = group.anchor
    if anchor.name != "conv2d_weight_gradient":
        return ()
    x, dy = (v.type for v in anchor.operands)
    window = window_of(anchor.name, x.shape[1:-1], group.result.type.shape[:2], anchor.attributes)
    chunks = chunks_of(x.shape[-1], dy.shape[-1])
    if chunks is None or not f43.is_served(x.dtype, window.kernel, window.strides, window.dilations):
        raise InternalError(f"{anchor.name} of {x} and {dy} can't be computed by {anchor.algorithm}")
    fits = all(t.has_margins(m) for t, m in zip((x, dy), margins_of_gradient(window), strict=True))
    if not fits or group.result.type.layout is not None:
        raise InternalError(f"{anchor.name} by {anchor.algorithm} reaches beyond the margins of {x} or {dy}")
    return _Emitter(group, window, chunks, target).schedule()


def margins_of_gradient(window: Window) -> tuple[Margins, Margins]:
    """The margins that x and dy need."""
    tile = (f43.TILE, f43.TILE)
    dense = ((0, 0),) * 4
    return with_whole_tiles(window.margins, window.output, tile), with_whole_tiles(dense, window.output, tile)


def chunks_of(channels: int, filters: int) -> int | None:
    """Number of partial sums; None where even a few of them are too large."""
    size = PRODUCTS * channels * filters * DType.F32.itemsize
    fitting = next((c for c in CHUNKS if c * size <= PARTIAL_BYTES), None)
    return fitting if fitting is not None or CHUNKS[-1] * size > FEWEST_BYTES else CHUNKS[-1]


class _Emitter:
    def __init__(self, group: Group, window: Window, chunks: int, target: Target) -> None:
        self.group = group
        self.names = Names()
        self.dtype = DType.F32
        self.lanes = target.vector_lanes
        x, dy = (v.type for v in group.anchor.operands)
        self.channels, self.filters = x.shape[-1], dy.shape[-1]
        self.pitches = tuple(pitch_of(n, self.dtype, target) for n in (self.channels, self.filters))
        tiles = (x.shape[0], f43.tiles_of(window.output[0]), f43.tiles_of(window.output[1]))
        self.blocks = self._choose_blocks(tiles, chunks, target)
        self.chunks = min(chunks, self.blocks.count)
        self.tile = Tiling(
            height=1,
            width=self.channels,
            channels=self.filters,
            lanes=target.vector_lanes,
            registers=target.vector_registers,
            pixel_cost=BROADCAST_CYCLES,
        ).best()
        self.parameters = Parameters()
        origin = [m[0] - p[0] for m, p in zip(x.margins[1:-1], window.padding, strict=True)]
        self.x = self._source("x", 0, (origin[0], origin[1]))
        self.dy = self._source("dy", 1, (dy.margins[1][0], dy.margins[2][0]))
        self.v, self.d = (
            workspace(self.parameters, name, DType.F32, self.chunks, self.blocks.size * pitch)
            for name, pitch in zip("vd", self.pitches, strict=True)
        )
        shape = (self.chunks * PRODUCTS, self.channels, self.filters)
        self.partial = Value(TensorType(self.dtype, shape))
        self.sums = self.parameters.add(Buffer("sums", self.dtype, shape, Space.OUT), self.partial)

    def _choose_blocks(self, tiles: tuple[int, int, int], chunks: int, target: Target) -> Blocks:
        share = ceil_div(math.prod(tiles), chunks)
        fitting = int(target.l2_bytes * BLOCK_SHARE / (PRODUCTS * sum(self.pitches) * self.dtype.itemsize))
        return Blocks(tiles, ceil_div(share, ceil_div(share, max(fitting, BLOCK_TILES))))

    def _source(self, name: str, operand: int, origin: tuple[int, int]) -> Source:
        value = self.group.anchor.operands[operand]
        images, rows, columns, pitch = value.type.buffer_shape
        buffer = Buffer(name, self.dtype, (images, rows, columns * pitch))
        self.parameters.add(buffer, self.group.outer[value])
        return Source(buffer, origin, pitch, value.type.shape[-1])

    def schedule(self) -> tuple[Scheduled, ...]:
        """The kernel that sums over the tiles of each chunk, and the one that gathers."""
        kind = kind_for(self.group.macs)
        body = loop("p", self.chunks, self._chunk, kind)
        return self.parameters.scheduled(body), self._gather(kind)

    def _chunk(self, p: Expr) -> list[Stmt]:
        first, b = p * PRODUCTS, Var("b")
        inputs, gradients = (
            Points(buffer, first, pitch, source.channels)
            for buffer, pitch, source in zip((self.v, self.d), self.pitches, (self.x, self.dy), strict=True)
        )
        x = self.x.to_points(f43.INPUT, self.blocks, b, inputs, self.names, self.lanes)
        spread = tuple(zip(*f43.OUTPUT, strict=True))
        dy = self.dy.to_points(spread, self.blocks, b, gradients, self.names, self.lanes)
        tiles = self.blocks.count_in(b)
        sums = loop("q", PRODUCTS, lambda q: self._point(first + q, tiles))
        count = self.blocks.count
        blocks = For("b", p * count // self.chunks, (p + 1) * count // self.chunks, (*x, *dy, *sums))
        return [*loop("q", PRODUCTS, lambda q: self._clear(first + q)), blocks]

    def _clear(self, row: Expr) -> list[Stmt]:
        def store(c: Expr, f: Var, width: int) -> list[Stmt]:
            return [Store(self.sums, (row, c, f), const(0, VectorType(self.dtype, width)))]

        return loop(
            "channel",
            self.channels,
            lambda c: vector_loop(self.names, self.filters, self.lanes, lambda f, width: store(c, f, width)),
        )

    def _point(self, row: Expr, tiles: Expr) -> list[Stmt]:
        """Add the products of all tiles of a block at one point to the chunk's sum."""
        statements: list[Stmt] = []
        for first_channel, rows, channels in split(self.channels, self.tile.columns):
            for first_filter, panels, filters in split(self.filters, self.tile.channels):
                widths = vector_widths(filters, self.lanes)
                i, j = self.names.fresh("i"), self.names.fresh("j")
                place = Var(i) * channels + first_channel, Var(j) * filters + first_filter
                body = self._register_tile(row, tiles, *place, channels, widths)
                inner = For(j, Const(0), Const(panels), tuple(body))
                statements.append(For(i, Const(0), Const(rows), (inner,)))
        return statements

    def _register_tile(
        self, row: Expr, tiles: Expr, c: Expr, f: Expr, channels: int, widths: tuple[int, ...]
    ) -> list[Stmt]:
        """`channels` x vectors of sums: products of a block are summed up apart, which keeps rounding small."""
        block: list[Stmt] = []
        sums = [Buffer(self.names.fresh("acc"), self.dtype, (channels,), Space.REGISTER, lanes=w) for w in widths]
        places = [let(block, self.names.fresh("f"), f + sum(widths[:v])) for v in range(len(widths))]
        channel = let(block, self.names.fresh("c"), c)
        block += [Allocate(a) for a in sums]

        def each(body: Callable[[Expr, Buffer, Expr, int], Stmt]) -> list[Stmt]:
            def row_of(r: Expr) -> list[Stmt]:
                return [body(r, a, place, w) for a, place, w in zip(sums, places, widths, strict=True)]

            return loop("r", channels, row_of, LoopKind.UNROLL)

        block += each(lambda r, a, place, w: Store(a, (r,), const(0, VectorType(self.dtype, w))))
        block.append(For("tile", Const(0), tiles, tuple(self._multiply(row, channel, sums, places, widths, channels))))

        def add(r: Expr, a: Buffer, place: Expr, width: int) -> Stmt:
            at = (row, channel + r, place)
            return Store(self.sums, at, Load(self.sums, at, width) + Load(a, (r,)))

        return [*block, *each(add)]

    def _multiply(
        self, row: Expr, channel: Expr, sums: list[Buffer], places: list[Var], widths: tuple[int, ...], channels: int
    ) -> list[Stmt]:
        """One multiply-add for every sum: those of one tile."""
        block: list[Stmt] = []
        t = Var("tile")
        gradients = [
            let(block, self.names.fresh("g"), Load(self.d, (row, Const(0), t * self.pitches[1] + place), width))
            for place, width in zip(places, widths, strict=True)
        ]

        def element(r: Expr) -> list[Stmt]:
            inside: list[Stmt] = []
            a = let(inside, "a", Load(self.v, (row, Const(0), t * self.pitches[0] + channel + r)))
            for total, gradient, width in zip(sums, gradients, widths, strict=True):
                spread = Broadcast(a, width) if width > 1 else a
                inside.append(Store(total, (r,), Fma(spread, gradient, Load(total, (r,)))))
            return inside

        return [*block, *loop("r", channels, element, LoopKind.UNROLL)]

    def _gather(self, kind: LoopKind) -> Scheduled:
        """Add up the chunks' sums and bring them back to filter elements."""
        names, parameters = Names(), Parameters()
        sums = parameters.add(Buffer("sums", self.dtype, self.sums.shape), self.partial)
        result = self.group.result.type
        dw = parameters.add(Buffer("dw", self.dtype, result.buffer_shape, Space.OUT), self.group.operation.result)
        back = tuple(zip(*f43.FILTER, strict=True))
        side = range(f43.POINTS)

        def vector(c: Expr, f: Var, width: int) -> list[Stmt]:
            block: list[Stmt] = []

            def name(e: Expr) -> Expr:
                return let(block, names.fresh("t"), e)

            def total(q: int) -> Expr:
                rows = range(q, self.chunks * PRODUCTS, PRODUCTS)
                first, *others = (Load(sums, (Const(row), c, f), width) for row in rows)
                result: Expr = first
                for other in others:
                    result = name(result + other)
                return result

            points = [[name(total(i * f43.POINTS + k)) for k in side] for i in side]
            elements = square(back, points, name)
            return block + [
                Store(dw, (Const(y), Const(x), c, f), value)
                for y, line in enumerate(elements)
                for x, value in enumerate(line)
            ]

        def channel(c: Expr) -> list[Stmt]:
            return vector_loop(names, self.filters, self.lanes, lambda f, width: vector(c, f, width))

        return parameters.scheduled(loop("channel", self.channels, channel, kind), multiplies=0)
