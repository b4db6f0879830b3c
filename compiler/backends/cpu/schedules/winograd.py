"""Schedule for 3x3 convolutions of stride 1 by Winograd's filtering, F(4x4, 3x3); see `ops.winograd` for the algebra.

Each thread takes blocks of tiles. It brings a block's inputs to the 36 points, [36][tile][channel]. Then, for one panel
of filters after another, it multiplies at each point the block's tiles by the panel's weights with the register-tiled
micro-kernel, [36][tile][filter], and brings the products back to results, which the epilogue meets in registers. What a
block holds stays in the L2 cache. Where tiles are few and filters many, threads share out the panels instead.

Weights known at load time are packed at their points, [panel][36][channel][filter]; others are brought there by a
kernel of their own.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import groupby

from ....errors import InternalError
from ....graph.ir import Value
from ....loops.ir import (
    Binary,
    Buffer,
    Const,
    Expr,
    For,
    If,
    Load,
    LoopKind,
    Space,
    Stmt,
    Store,
    Var,
    VectorType,
    const,
)
from ....lowering.elements import Elements, Loaded, physical
from ....lowering.group import Group
from ....lowering.kernel import Names, Packed, Parameters, Scheduled, let
from ....lowering.loops import ceil_div, kind_for, loop, vector_loop, vector_widths
from ....ops import winograd as f43
from ....ops.convolution import Conv2D, Conv3D
from ....ops.transpose_convolution import TransposeConv2D
from ....targets.target import Target
from ....types import DType, TensorType
from .epilogue import loaded_once
from .geometry import Line, Walk, walks
from .lane_kernel import QUAD
from .linear import square
from .tiling import BROADCAST_CYCLES, Tile, Tiling, decided_tile
from .winograd_filters import Chunks, chunk_of, filter_kernel, packed_at_points
from .winograd_products import CHUNK, LaneProduct, Product
from .winograd_tiles import PRODUCTS, Blocks, Source, pitch_of, workspace

POINTS, TILE = f43.POINTS, f43.TILE
BLOCK_SHARE = 0.2
"""Part of the L2 cache that a block's inputs at their points may fill ..."""
BLOCK_TILES = 24
"""... but the weights, which each block reads anew, should serve so many tiles at least."""
SPILLED_TILES = 96
"""Where the inputs of so few don't stay in the L2 cache, either, there should be so many."""
STREAMED_TILES = 64
"""So many where weights come from memory slowly. With no more tiles than that, filters are brought to their points in
each run, unless they stay in the L2 cache."""
MOST_VECTORS = 4
"""Of filters in a register tile."""


def schedule_winograd(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule a convolution, or the gradient of its input, for which Winograd's filtering was chosen."""
    if not isinstance(group.anchor.operator, (Conv2D, Conv3D, TransposeConv2D)):
        return ()
    return _Emitter(group, winograd_walk(group), target, threads).schedule()


def winograd_walk(group: Group) -> Walk:
    """How the anchor walks over its input by tiles. `InternalError` unless they lie inside the input's margins."""
    anchor = group.anchor
    x, weight = (v.type for v in anchor.operands[:2])
    found = walks(group)
    if len(found) != 1 or not f43.is_served(x.dtype, found[0].window, found[0].strides, found[0].dilations):
        raise InternalError(f"{anchor.name} of {x} and {weight} can't be computed by {anchor.algorithm}")
    (walk,) = found
    rows, columns = (
        first + f43.tiles_of(size) * TILE + f43.TAPS - 1
        for first, size in zip(walk.origin, (walk.height, walk.width), strict=True)
    )
    if rows > (walk.planes.rows or walk.buffer[1]) or columns * walk.pitch > walk.buffer[2]:
        raise InternalError(f"{anchor.name} by {anchor.algorithm} reaches beyond the margins of {x}")
    return walk


class _Emitter:
    def __init__(self, group: Group, walk: Walk, target: Target, threads: int) -> None:
        self.group = group
        self.walk = walk
        self.target = target
        self.longest_epilogue = target.longest_epilogue
        self.joined_vectors = 1
        self.kind = kind_for(group.macs)
        self.shares = threads if self.kind is LoopKind.PARALLEL else 1
        self.dtype = DType.F32
        self.channels = walk.planes.window * walk.channels
        self.filters = group.result.type.shape[-1]
        self.names = Names()
        self.bias: Buffer | None = None
        self.point: Expr = Const(0)
        self.share: Expr = Const(0)
        self.chunks: Chunks | None = None
        tiles = (walk.images, f43.tiles_of(walk.height), f43.tiles_of(walk.width))
        self.transforms = self._transforms(math.prod(tiles))
        self.pitch = pitch_of(self.channels, self.dtype, target)
        self.by_lanes = target.multiplies_by_lane and self.channels >= QUAD
        self.tile, self.blocks = self._choose_blocks(tiles, target)
        self.panels = ceil_div(self.filters, self.tile.channels)
        self.last_widths = vector_widths(self.filters % self.tile.channels, target.vector_lanes)
        self._declare()
        self.g = self._view()

    def _transforms(self, total: int) -> bool:
        """Are filters brought to their points chunk by chunk?

        Tuning can't choose: sums of a filter come in another order than when weights are loaded.
        """
        if not self.target.streams_slowly or total > STREAMED_TILES:
            return False
        if self.group.outer[self.group.anchor.operands[1]] not in self.group.static:
            return False
        widest = min(MOST_VECTORS * self.target.vector_lanes, self.filters)
        if chunk_of(self.channels, widest, self.target) is None:
            return False
        at_points = PRODUCTS * self.channels * self.filters * self.dtype.itemsize
        return 2 * at_points > self.target.l2_bytes

    def _choose_blocks(self, tiles: tuple[int, int, int], target: Target) -> tuple[Tile, Blocks]:
        """The register tile, and blocks of so many image tiles that their inputs at all points stay in the L2 cache."""
        total = Blocks(tiles, 1).total
        share = total if self.by_panels(total) else ceil_div(total, self.shares)
        # First the number of blocks, then their size: so the last one is about as large as the others.
        count = ceil_div(share, self._largest_block(target))
        counts = (count, *(n for n in (count - 1, count + 1, 2 * count, 3 * count) if 0 < n <= share))
        chosen = self.group.choose("blocks", count, lambda: counts)
        assert isinstance(chosen, int)
        size = ceil_div(share, chosen)
        tiling = Tiling(
            height=1,
            width=size,
            channels=self.filters,
            lanes=target.vector_lanes,
            registers=target.vector_registers,
            max_vectors=MOST_VECTORS,
            units=target.float_units,
            pixel_registers=int(self.by_lanes),
            pixel_cost=BROADCAST_CYCLES / (QUAD if self.by_lanes else 1),
        )
        tile = decided_tile(self.group, tiling)
        # Whole register tiles. The last one of a block may have places for no image tile, whose products nobody reads.
        return tile, Blocks(tiles, ceil_div(size, tile.columns) * tile.columns)

    def _largest_block(self, target: Target) -> int:
        """Tiles of a block."""
        tile = PRODUCTS * self.pitch * self.dtype.itemsize
        if target.streams_slowly:
            fewest = STREAMED_TILES
        else:
            fewest = BLOCK_TILES if BLOCK_TILES * tile <= target.l2_bytes else SPILLED_TILES
        return max(fewest, int(target.l2_bytes * BLOCK_SHARE / tile))

    def by_panels(self, total: int) -> bool:
        """True if threads share out the filters, not the tiles.

        All of them transform the inputs of all tiles, so these are few, or all filters would be transformed by all.
        """
        if self.shares == 1:
            return False
        few = total < BLOCK_TILES * self.shares and self.filters > total
        return few or (self.transforms and self.filters >= self.shares * MOST_VECTORS * self.target.vector_lanes)

    # ---- parameters ----

    def _declare(self) -> None:
        operands, outer = self.group.anchor.operands, self.group.outer
        self.parameters = Parameters()
        self.input = self.parameters.add(Buffer("x", self.dtype, self.walk.buffer), outer[operands[0]])
        self.preparation: tuple[Scheduled, ...] = ()
        if self.transforms:
            self._declare_chunks(outer[operands[1]])
        else:
            self._declare_points(outer[operands[1]])
        self.anchor_bias: Buffer | None = None
        if len(operands) > 2:
            self.anchor_bias = self.parameters.add(Buffer("b", self.dtype, (self.filters,)), outer[operands[2]])
        self.x = workspace(self.parameters, "v", self.shares, self.blocks.size * self.pitch)
        self.y = workspace(self.parameters, "m", self.shares, self.blocks.size * self.tile.channels)
        result = self.group.result.type
        self.result = Buffer("y", result.dtype, result.buffer_shape, Space.OUT)
        self.extras = self.parameters.add_epilogue(self.group, self.result, lambda v: v.type.buffer_shape)
        self.parameters.add(self.result, self.group.operation.result)

    @property
    def flip(self) -> bool:
        """A transposed convolution reads its filters turned by 180 degrees."""
        return self.walk.taps[0] != Line()

    def _declare_points(self, weight: Value) -> None:
        """The weights at their points, in panels, and what brings them there if that can't be done once for all."""
        shape = (self.panels, PRODUCTS, self.channels, self.tile.channels)
        argument: Value | Packed
        if weight in self.group.static:
            argument = packed_at_points(weight, shape, self.filters, flip=self.flip)
        else:
            argument = Value(TensorType(self.dtype, shape))
            self.preparation = (filter_kernel(weight, argument, self.flip, self.filters, self.target),)
        self.w = self.parameters.add(Buffer("w", self.dtype, shape), argument)

    def _declare_chunks(self, weight: Value) -> None:
        """The filters in panels, and a place for a chunk of them at its points."""
        width = self.tile.channels
        channels = chunk_of(self.channels, width, self.target)
        assert channels is not None, "narrower panels have longer chunks"
        source = Buffer("f", self.dtype, (self.panels, self.channels, f43.TAPS**2, width))
        self.parameters.add(source, Chunks.packed(weight, self.panels, width))
        self.w = workspace(self.parameters, "w", self.shares, channels * width)
        self.chunks = Chunks(channels, source, self.w, width, self.flip)

    # ---- what the micro-kernel sees: 36 products of [tiles, channels] and [channels, filters] ----

    def _view(self) -> Walk:
        """Points as images, a block's tiles as one row of pixels."""
        _, _, row = self.x.shape
        return Walk(
            images=PRODUCTS,
            height=1,
            width=self.blocks.size,
            channels=self.chunks.channels if self.chunks else self.channels,
            pitch=self.pitch,
            buffer=(PRODUCTS, 1, row),
            flat=True,
        )

    def weight_index(self, j: Expr, depth: Expr, channel: Expr, offset: int) -> tuple[Expr, ...]:
        """Place of the weights of channel `depth` at the present point."""
        if self.chunks:
            return (self.share * PRODUCTS + self.point, Const(0), depth * self.tile.channels + offset)
        return (j, self.point, depth, Const(offset))

    # ---- loops ----

    def schedule(self) -> tuple[Scheduled, ...]:
        """The kernels and their arguments."""
        by_panels = self.by_panels(self.blocks.total)

        def part(p: Expr, count: int, mine: bool) -> tuple[Expr, Expr]:
            # p * count // shares leaves shares that differ by one at most, and covers all of `count`.
            return (p * count // self.shares, (p + 1) * count // self.shares) if mine else (Const(0), Const(count))

        def share(p: Expr) -> list[Stmt]:
            b = Var("b")
            blocks, panels = part(p, self.blocks.count, not by_panels), part(p, self.panels, by_panels)
            body = [*self._inputs(p, b), For("j", *panels, tuple(self._panel(p, b, Var("j"))))]
            return [For("b", *blocks, tuple(body))]

        return (*self.preparation, self.parameters.scheduled(loop("p", self.shares, share, self.kind)))

    def _inputs(self, p: Expr, b: Expr) -> list[Stmt]:
        """Bring the inputs of a block to their points."""
        source = Source(self.input, self.walk.origin, self.walk.pitch, self.walk.channels, self.walk.planes)
        first, lanes = p * PRODUCTS, self.target.vector_lanes  # each thread has 36 rows of the workspace
        return source.to_points(f43.INPUT, self.blocks, b, self.x, first, self.pitch, self.names, lanes)

    def _panel(self, p: Expr, b: Expr, j: Expr) -> list[Stmt]:
        """All products of a block for a panel of filters, and its results."""
        whole = self._by_widths(p, b, j, self.tile.widths)
        if not self.last_widths:
            return whole
        last = self._by_widths(p, b, j, self.last_widths)
        test = Binary("lt", j, Const(self.panels - 1))
        return [If(test, tuple(whole), tuple(last))] if self.panels > 1 else last

    def _by_widths(self, p: Expr, b: Expr, j: Expr, widths: tuple[int, ...]) -> list[Stmt]:
        self.point, self.share = Var("q"), p

        def tiles(i: Expr) -> list[Stmt]:
            kind = LaneProduct if self.by_lanes else Product
            product = kind(self, 1, self.tile.columns, widths)
            product.chunk = self.chunks
            return product.emit(p * PRODUCTS + self.point, Const(0), i * self.tile.columns, j)

        count = self.blocks.size // self.tile.columns
        products = loop("q", PRODUCTS, lambda q: loop("i", count, tiles))
        if self.chunks:
            products = self._by_chunks(p, j, products)
        return [*products, *self.blocks.each(b, lambda t, number: self._results(p, j, t, number, widths))]

    def _by_chunks(self, p: Expr, j: Expr, products: list[Stmt]) -> list[Stmt]:
        """The products of all chunks of a panel, which add to those of the chunks before."""
        assert self.chunks is not None
        lanes = self.target.vector_lanes
        zero = const(0, VectorType(self.dtype, lanes))
        row, first = self.blocks.size * self.tile.channels, p * PRODUCTS

        def clear(q: Expr) -> list[Stmt]:
            def vector(at: Expr, width: int) -> list[Stmt]:
                return [
                    Store(
                        self.y,
                        (first + q, Const(0), at),
                        zero if width == lanes else const(0, VectorType(self.dtype, width)),
                    )
                ]

            return vector_loop(self.names, row, lanes, vector)

        points = self.chunks.to_points(j, CHUNK, first, self.names, lanes)
        count = self.channels // self.chunks.channels
        chunks = For(CHUNK.name, Const(0), Const(count), (*points, *products))
        return [*loop("q", PRODUCTS, clear), chunks]

    def _results(self, p: Expr, j: Expr, t: Expr, number: Expr, widths: tuple[int, ...]) -> list[Stmt]:
        """Bring the products of a tile back to results, and store what the epilogue makes of them."""
        block: list[Stmt] = []
        image, row, column = self.blocks.place(number)
        n, ty, tx = let(block, "n", image), let(block, "ty", row), let(block, "tx", column)

        def vector(v: Expr, offset: int, width: int) -> list[Stmt]:
            inside: list[Stmt] = []
            first = v * width + offset
            channel = let(inside, self.names.fresh("c"), j * self.tile.channels + first)
            place = let(inside, self.names.fresh("at"), t * self.tile.channels + first)
            return [*inside, *self._vector(p, (n, ty, tx), place, channel, width)]

        offset = 0
        for width, run in groupby(widths):
            count = len(tuple(run))
            block += loop(self.names.fresh("v"), count, partial(vector, offset=offset, width=width))
            offset += count * width
        return block

    def _vector(self, p: Expr, tile: tuple[Expr, Expr, Expr], place: Expr, channel: Var, width: int) -> list[Stmt]:
        block: list[Stmt] = []
        n, ty, tx = tile

        def name(e: Expr) -> Expr:
            return let(block, self.names.fresh("t"), e)

        products = [
            [name(Load(self.y, (p * PRODUCTS + (i * POINTS + k), Const(0), place), width)) for k in range(POINTS)]
            for i in range(POINTS)
        ]
        # The bias comes after the transform: sums that started from it would transform it, too.
        results = square(f43.OUTPUT, products, name)
        channels = self.group.result.type.shape[-1]
        constants = loaded_once(block, self.names, self.extras, channels, channel, width)
        bias = name(Load(self.anchor_bias, (channel,), width)) if self.anchor_bias is not None else None
        y, x = name(ty * TILE), name(tx * TILE)
        planes = self.walk.planes.count
        image = (n,) if self.group.result.type.rank == 4 else (name(n // planes), name(n % planes))
        for r in range(TILE):
            line: list[Stmt] = []
            for s in range(TILE):
                total = results[r][s] if bias is None else results[r][s] + bias
                pixel = self._store((*image, y + r, x + s, channel), width, total, constants)
                line += _inside(pixel, x, s, self.walk.width)
            block += _inside(line, y, r, self.walk.height)
        return block

    def _store(self, index: tuple[Expr, ...], width: int, total: Expr, constants: Loaded) -> list[Stmt]:
        """The epilogue for one pixel and a vector of filters."""
        lane = index[-1]
        elements = Elements(
            self.extras,
            self.group.producers,
            self.group.constants,
            lanes=width,
            lane=lane if isinstance(lane, Var) else None,
            known={self.group.anchor.result: total},
            loaded=constants,
            prefix=self.names.fresh("e") + "_",
        )
        result = elements.element(self.group.result, index)
        return [*elements.statements, Store(self.result, physical(self.group.result.type, index), result)]


def _inside(body: list[Stmt], first: Expr, offset: int, size: int) -> list[Stmt]:
    """`body` for the row or column `first` + `offset` of a tile, unless it lies outside a result of this size."""
    # The last tile reaches `size % TILE` rows into the result; rows before that lie inside in every tile.
    if size % TILE == 0 or offset < size % TILE:
        return body
    return [If(Binary("lt", first, Const(size - offset)), tuple(body))]
