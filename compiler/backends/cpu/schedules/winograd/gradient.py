"""Gradient of a 3x3 convolution's weight by Winograd's filtering; see `ops.windows.winograd` for the algebra.

The result at each of the 36 points is a sum over all tiles of products of the input, at its points as in the
convolution, and the gradient dy at its own. The tiles are cut into a few chunks, whatever the number of threads, so
that sums don't depend on it. Each chunk, block by block, adds to a partial sum of its own,
[chunk][36][channel][filter]; a second kernel adds these up and brings them back to filter elements.
"""

from __future__ import annotations

import math
from functools import reduce
from operator import add

from .....errors import InternalError
from .....graph.ir import Value
from .....loops.ir import Buffer, Const, Expr, For, Load, LoopKind, Space, Stmt, Store, Var, VectorType, const
from .....lowering.group import Group
from .....lowering.kernel import Names, Parameters, Scheduled
from .....lowering.loops import ceil_div, kind_for, loop, vector_loop
from .....ops.windows import winograd as f43
from .....ops.windows.window import Window, window_of, with_whole_tiles
from .....targets.target import Target
from .....types import DType, TensorType
from ..gradients.outer_product import outer_tile
from .gradient_panels import PanelEmitter, equal_panels, panels_of
from .gradient_sums import PointSums, filters_from_points, gradient_source, input_source
from .tiles import PRODUCTS, SPREAD, Blocks, Points, pitch_of, workspace

Margins = tuple[tuple[int, int], ...]

CHUNKS = (16, 8, 4)
"""Partial sums: as many threads can share the work."""
PARTIAL_BYTES = 2_500_000
"""Most that all partial sums should take, as they are read once more in the end ..."""
FEWEST_BYTES = 12_000_000
"""... and most that the fewest of them may take: beyond it they come from memory each time."""
MOST_BYTES = 256_000_000
"""Most memory for all tiles at their points."""
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
    fits = all(t.has_margins(m) for t, m in zip((x, dy), margins_of_gradient(window), strict=True))
    if not fits or group.result.type.layout is not None:
        raise InternalError(f"{anchor.name} by {anchor.algorithm} reaches beyond the margins of {x} or {dy}")
    sizes, is_served = (
        (x.shape[-1], dy.shape[-1]),
        f43.is_served(x.dtype, window.kernel, window.strides, window.dilations),
    )
    if is_served and (chunks := chunks_of(*sizes)) is not None:
        return _Emitter(group, window, chunks, target).schedule()
    if is_served and (panels := panels_of(*sizes, target.vector_lanes, target.l2_bytes)) is not None:
        return PanelEmitter(group, window, panels, target).schedule()
    raise InternalError(f"{anchor.name} of {x} and {dy} can't be computed by {anchor.algorithm}")


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


def partial_sums_of(tiles: int, channels: int, filters: int, lanes: int) -> int | None:
    """Number of sums that are made of each product at the points, 1 in panels; None where neither way serves."""
    if chunks := chunks_of(channels, filters):
        return chunks
    at_points = PRODUCTS * tiles * (channels + filters) * DType.F32.itemsize
    return 1 if at_points <= MOST_BYTES and equal_panels(channels, filters, lanes) else None


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
        self.tile = outer_tile(self.channels, self.filters, target)
        self.parameters = Parameters()
        self.x = input_source(group, window, self.parameters)
        self.dy = gradient_source(group, self.parameters)
        self.v, self.d = (
            workspace(self.parameters, name, DType.F32, self.chunks, self.blocks.size * pitch)
            for name, pitch in zip("vd", self.pitches, strict=True)
        )
        shape = (self.chunks * PRODUCTS, 1, self.channels * self.filters + SPREAD)
        self.partial = Value(TensorType(self.dtype, shape))
        self.sums = self.parameters.add(Buffer("sums", self.dtype, shape, Space.OUT), self.partial)

    def _choose_blocks(self, tiles: tuple[int, int, int], chunks: int, target: Target) -> Blocks:
        share = ceil_div(math.prod(tiles), chunks)
        fitting = int(target.l2_bytes * BLOCK_SHARE / (PRODUCTS * sum(self.pitches) * self.dtype.itemsize))
        return Blocks(tiles, ceil_div(share, ceil_div(share, max(fitting, BLOCK_TILES))))

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
        totals = Points(self.sums, first, self.filters, self.channels)
        points = PointSums(inputs, gradients, totals, self.tile, self.names, self.lanes)
        sums = loop("q", PRODUCTS, lambda q: points.of_point(q, Const(0), tiles, begins=False))
        count = self.blocks.count
        blocks = For("b", p * count // self.chunks, (p + 1) * count // self.chunks, (*x, *dy, *sums))
        return [*loop("q", PRODUCTS, lambda q: self._clear(first + q)), blocks]

    def _clear(self, row: Expr) -> list[Stmt]:
        def store(c: Expr, f: Var, width: int) -> list[Stmt]:
            return [Store(self.sums, (row, Const(0), c * self.filters + f), const(0, VectorType(self.dtype, width)))]

        return loop(
            "channel",
            self.channels,
            lambda c: vector_loop(self.names, self.filters, self.lanes, lambda f, width: store(c, f, width)),
        )

    def _gather(self, kind: LoopKind) -> Scheduled:
        """Add up the chunks' sums and bring them back to filter elements."""
        names, parameters = Names(), Parameters()
        sums = parameters.add(Buffer("sums", self.dtype, self.sums.shape), self.partial)
        result = self.group.result.type
        dw = parameters.add(Buffer("dw", self.dtype, result.buffer_shape, Space.OUT), self.group.operation.result)

        def channel(c: Expr) -> list[Stmt]:
            def total(q: int, f: Expr, width: int) -> Expr:
                rows = range(q, self.chunks * PRODUCTS, PRODUCTS)
                return reduce(add, (Load(sums, (Const(row), Const(0), c * self.filters + f), width) for row in rows))

            return filters_from_points(dw, total, names, self.lanes, c, (Const(0), self.filters))

        return parameters.scheduled(loop("channel", self.channels, channel, kind), multiplies=0)
