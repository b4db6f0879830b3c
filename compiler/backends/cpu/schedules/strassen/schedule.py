"""Schedule for 1x1 convolutions and dense layers in single precision by Strassen's multiplication.

See `ops.products.strassen` for the algebra.

A dense layer takes [N, W, C] or [N, H, W, C], as a convolution. Pairs of neighbouring pixels of an image are the halves
of the rows, so that results don't depend on the batch. Channels and filters are cut in the middle, filters at whole
vectors. Each thread takes blocks of pairs and makes the left factors of the seven products, [7][pair][channel]. Then,
for one panel of filters and one product after another, register tiles of pairs take it, of these and the packed right
factors; two sums of products wait on the stack.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby

from .....errors import InternalError
from .....graph.ir import Operation
from .....loops.ir import (
    Allocate,
    Binary,
    Buffer,
    Const,
    Expr,
    For,
    If,
    LoopKind,
    Space,
    Stmt,
    Var,
    minimum,
)
from .....lowering.group import Group
from .....lowering.kernel import Names, Parameters, Scheduled, let
from .....lowering.loops import ceil_div, kind_for, loop, vector_widths
from .....ops.products.dense import Dense
from .....ops.products.strassen import HALVES, PRODUCTS
from .....ops.windows.window import window_of
from .....targets.target import Target
from .....types import DType, TensorType
from ..geometry import Pair, Walk, origin_of, pair_of, rows_of
from ..owner import Fetched
from ..partition import part_of
from ..tiling import BROADCAST_CYCLES, Tiling, decided_tile
from ..winograd.tiles import pitch_of, workspace
from .left_factors import LeftFactors
from .pairs import Pairs
from .right_factors import right_factors
from .tile import RegisterTile

STRASSEN = "strassen"
"""The algorithm."""
DENSE_RANKS = (3, 4)
"""Of inputs of dense layers: in matrices, rows of several samples can't be told apart."""
BLOCK_PAIRS = 100
"""Of a block, at most: each reads the weights anew. Left factors may come from beyond the L2 cache, one after the
other; sums that wait take memory."""
FEW_PAIRS = 24
"""With fewer for each thread these share out panels of filters instead, so that weights are read once."""
PANEL_SHARE = 0.5
"""Part of the L2 cache that a panel of right factors of a product may fill, to stay there for a block."""
MOST_VECTORS = 4
"""Of filters of either half in a register tile."""
ASKING_PAIRS = 64
"""With no more pairs than that cores wait for right factors, unless they ask for them early ..."""
AHEAD = 1024
"""... so many elements before they read them."""


def schedule_strassen(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule a 1x1 convolution or a dense layer for which Strassen's multiplication was chosen."""
    return (_Emitter(group, target, threads).schedule(),)


def _place_of_convolution(anchor: Operation) -> tuple[Pair, Pair] | None:
    """Row and column of the first pixel in the input's buffer, and from one to the next; None if it isn't served."""
    x, weight = (v.type for v in anchor.operands[:2])
    window = window_of(anchor.name, x.shape[1:-1], weight.shape[:-2], anchor.attributes)
    origin = origin_of(x, window.padding)
    return None if origin is None or window.kernel != (1, 1) else (pair_of(origin, 0), pair_of(window.strides, 1))


def _dense_place(x: TensorType) -> tuple[Pair, Pair] | None:
    """The same of the input of a dense layer."""
    return (pair_of(tuple(before for before, _ in x.margins[1:-1]), 0), (1, 1)) if x.rank in DENSE_RANKS else None


class _Emitter:
    dtype = DType.F32
    joined_vectors = 1
    fetched: Sequence[Fetched] = ()

    def __init__(self, group: Group, target: Target, threads: int) -> None:
        self.group, self.target, self.names = group, target, Names()
        self.longest_epilogue = target.longest_epilogue
        self._see_input()
        self.images, *height, width, self.filters = group.anchor.result.type.shape
        self.pairs = Pairs(math.prod(height) * width, width)
        self.kind = kind_for(group.macs)
        self.shares = threads if self.kind is LoopKind.PARALLEL else 1
        self._cut(target)
        self._declare()
        self.g = self._view()
        self.point: Expr = Const(0)

    def _see_input(self) -> None:
        anchor = self.group.anchor
        x, weight = (v.type for v in anchor.operands[:2])
        place = _dense_place(x) if isinstance(anchor.operator, Dense) else _place_of_convolution(anchor)
        if place is None or weight.shape[-2] % HALVES or weight.shape[-1] <= self.target.vector_lanes:
            raise InternalError(f"{anchor.name} of {x} and {weight} can't be computed by {anchor.algorithm}")
        self.origin, self.strides = place
        self.source, self.channels = x, weight.shape[-2] // HALVES

    def _cut(self, target: Target) -> None:
        """Filters into halves and panels, pairs into register tiles and blocks of these."""
        lanes = target.vector_lanes
        self.half = ceil_div(ceil_div(self.filters, HALVES), lanes) * lanes
        self.pitch = pitch_of(self.channels, self.dtype, target)
        self.tile = decided_tile(self.group, self._tiling())
        self.row = ceil_div(self.pairs.count, self.tile.columns)
        """Tiles of an image."""
        self.tiles = self.images * self.row
        few = self.tiles * self.tile.columns < FEW_PAIRS * self.shares
        self.by_panels = self.shares > 1 and few and self.half > self.images * self.pairs.count
        share = self.tiles if self.by_panels else ceil_div(self.tiles, self.shares)
        self.block = ceil_div(share, ceil_div(share, max(1, BLOCK_PAIRS // self.tile.columns)))
        """Tiles of a block."""
        self.blocks = ceil_div(self.tiles, self.block)
        self.places = self.block * self.tile.columns
        """For pairs of a block."""
        self.panels = ceil_div(self.half, self.tile.channels)

    def _tiling(self) -> Tiling:
        vector = self.channels * self.target.vector_lanes * self.dtype.itemsize
        return Tiling(
            height=1,
            width=self.pairs.count,
            channels=self.half,
            lanes=self.target.vector_lanes,
            registers=self.target.vector_registers,
            max_vectors=min(MOST_VECTORS, max(1, int(self.target.l2_bytes * PANEL_SHARE / vector))),
            whole_tiles=True,
            units=self.target.float_units,
            pixel_cost=BROADCAST_CYCLES,
        )

    def _declare(self) -> None:
        operands, outer = self.group.anchor.operands, self.group.outer
        self.parameters = Parameters()
        inputs = self.parameters.add(Buffer("x", self.dtype, rows_of(self.source)), outer[operands[0]])
        right = right_factors(outer[operands[1]], self.half, self.tile.channels)
        shape = (self.panels, PRODUCTS, self.channels, self.tile.channels)
        self.w = self.parameters.add(Buffer("w", self.dtype, shape), right.factors)
        self.bias: Buffer | None = None
        if len(operands) > 2 and operands[2] in outer:
            self.bias = self.parameters.add(Buffer("b", self.dtype, (self.filters,)), outer[operands[2]])
        scales = self.parameters.add(Buffer("e", self.dtype, (HALVES * self.channels,)), right.channels)
        self.scales = self.parameters.add(Buffer("s", self.dtype, (self.filters,)), right.filters)
        self.x = workspace(self.parameters, "v", self.dtype, self.shares, self.places * self.pitch, PRODUCTS)
        self.left = self._left_factors(inputs, scales)
        result = self.group.result.type
        self.y = Buffer("y", result.dtype, result.buffer_shape, Space.OUT)
        self.extras = self.parameters.add_epilogue(self.group, self.y, lambda v: v.type.buffer_shape)
        self.parameters.add(self.y, self.group.operation.result)

    def _left_factors(self, inputs: Buffer, scales: Buffer) -> LeftFactors:
        return LeftFactors(
            pairs=self.pairs,
            inputs=inputs,
            origin=self.origin,
            strides=self.strides,
            apart=self.source.buffer_shape[-1],
            channels=self.channels,
            scales=scales,
            factors=self.x,
            pitch=self.pitch,
            names=self.names,
            lanes=self.target.vector_lanes,
        )

    def _view(self) -> Walk:
        """What the micro-kernel sees: products as images, a block's pairs as one row of pixels."""
        return Walk(
            images=PRODUCTS,
            height=1,
            width=self.places,
            channels=self.channels,
            pitch=self.pitch,
            buffer=(PRODUCTS, 1, self.x.shape[-1]),
            flat=True,
        )

    def weight_index(self, j: Expr, depth: Expr, channel: Expr, offset: int) -> tuple[Expr, ...]:
        """Place of the right factors of channel `depth` of the present product."""
        return (j, self.point, depth, Const(offset))

    # ---- loops ----

    def schedule(self) -> Scheduled:
        """The kernel and its arguments."""

        def share(p: Expr) -> list[Stmt]:
            b = Var("b")
            blocks = part_of(self.blocks, p, self.shares, is_shared=not self.by_panels)
            panels = part_of(self.panels, p, self.shares, is_shared=self.by_panels)
            products = For("j", *panels, tuple(self._panel(p, b, Var("j"))))
            return [For("b", *blocks, (*self._factors(p, b), products))]

        return self.parameters.scheduled(loop("p", self.shares, share, self.kind))

    def _each_tile(self, b: Expr, body: Callable[[Expr, Expr, Expr], list[Stmt]]) -> list[Stmt]:
        """`body(i, n, first)` for the tiles of a block: number in it, image, and first pair in the image."""
        block, i = list[Stmt](), Var("i")
        number = minimum(b * self.block + i, self.tiles - 1)  # never more, but bounds are checked by intervals
        n = let(block, self.names.fresh("n"), number // self.row if self.images > 1 else Const(0))
        row = number % self.row if self.images > 1 else number
        first = let(block, self.names.fresh("first"), row * self.tile.columns)
        count = minimum(self.tiles - b * self.block, self.block) if self.tiles % self.block else Const(self.block)
        return [For("i", Const(0), count, (*block, *body(i, n, first)))]

    def _factors(self, p: Expr, b: Expr) -> list[Stmt]:
        """Make the left factors of a block."""

        def tile(i: Expr, n: Expr, first: Expr) -> list[Stmt]:
            def pair(s: Expr) -> list[Stmt]:
                return self.left.of_pair(n, minimum(first + s, self.pairs.count - 1), p, i * self.tile.columns + s)

            return loop("s", self.tile.columns, pair)

        return self._each_tile(b, tile)

    def _panel(self, p: Expr, b: Expr, j: Expr) -> list[Stmt]:
        """The results of a block for a panel: right factors of a product serve all tiles before those of the next."""
        sums, lanes = HALVES * len(self.tile.widths) * self.tile.columns, self.target.vector_lanes
        kept = Buffer(self.names.fresh("kept"), self.dtype, (self.block * sums, lanes), Space.STACK)

        def product(q: Expr) -> list[Stmt]:
            self.point = q

            def tile(i: Expr, n: Expr, first: Expr) -> list[Stmt]:

                def kernel(widths: tuple[int, ...], room: int) -> list[Stmt]:
                    kernel = RegisterTile(self, 1, self.tile.columns, widths)
                    kernel.kept, kernel.number, kernel.room, kernel.pair = kept, i, room, (n, first)
                    if self.images * self.pairs.count <= ASKING_PAIRS:
                        kernel.ahead = lambda step: (step, AHEAD)
                    return kernel.emit(p * PRODUCTS + q, Const(0), i * self.tile.columns, j)

                return self._by_panel(j, kernel)

            return self._each_tile(b, tile)

        return [Allocate(kept), *loop("q", PRODUCTS, product)]

    def _by_panel(self, j: Expr, body: Callable[[tuple[int, ...], int], list[Stmt]]) -> list[Stmt]:
        """`body` for the vectors of a panel and its filters in the second half: the last ones may have fewer."""
        width, starts = self.tile.channels, range(0, self.half, self.tile.channels)
        sizes = [(min(width, self.half - at), min(width, max(0, self.filters - self.half - at))) for at in starts]
        block, end = list[Stmt](), self.panels
        for (size, room), same in reversed([(size, len([*same])) for size, same in groupby(sizes)]):
            here = body(vector_widths(size, self.target.vector_lanes), room)
            block = [If(Binary("lt", j, Const(end)), tuple(here), tuple(block))] if block else here
            end -= same
        return block
