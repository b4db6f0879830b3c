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
from functools import partial
from itertools import groupby

from ....errors import InternalError
from ....graph.ir import Operation, Value
from ....loops.ir import (
    Allocate,
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
    minimum,
)
from ....lowering.group import Group
from ....lowering.kernel import Names, Packed, Parameters, Scheduled, let, packing_step
from ....lowering.loops import ceil_div, kind_for, loop, starts_of, vector_loop, vector_widths
from ....ops.products import strassen
from ....ops.products.dense import Dense
from ....ops.products.strassen import FIRST, HALVES, LAST_KEPT, LOWER, OTHERS, PRODUCTS, RIGHT, SECOND
from ....ops.windows.window import window_of
from ....targets.target import Target
from ....types import DType, TensorType
from .epilogue import Channels, Finish, epilogue, finished_together, loaded_once
from .geometry import Pair, Walk, origin_of, pair_of, rows_of
from .micro_kernel import MicroKernel
from .owner import Fetched
from .tiling import BROADCAST_CYCLES, Tiling, decided_tile
from .winograd.tiles import pitch_of, workspace

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


Total = Callable[[int, tuple[Expr, ...]], Expr]
"""The sums of a vector of filters at a place of the tile."""


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
        images, *height, self.width, self.filters = group.anchor.result.type.shape
        self.pixels = math.prod(height) * self.width
        self.images, self.pairs = images, ceil_div(self.pixels, HALVES)
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
        self.row = ceil_div(self.pairs, self.tile.columns)
        """Tiles of an image."""
        self.tiles = self.images * self.row
        few = self.tiles * self.tile.columns < FEW_PAIRS * self.shares
        self.by_panels = self.shares > 1 and few and self.half > self.images * self.pairs
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
            width=self.pairs,
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
        self.input = self.parameters.add(Buffer("x", self.dtype, rows_of(self.source)), outer[operands[0]])
        weight, width = outer[operands[1]], self.tile.channels
        channels = self._packed(weight, "channel_scales")
        filters = self._packed(weight, "filter_scales", channels)
        factors = self._packed(weight, "strassen_filter", channels, filters, half=self.half, width=width)
        shape = (self.panels, PRODUCTS, self.channels, width)
        self.w = self.parameters.add(Buffer("w", self.dtype, shape), factors)
        self.bias: Buffer | None = None
        if len(operands) > 2 and operands[2] in outer:
            self.bias = self.parameters.add(Buffer("b", self.dtype, (self.filters,)), outer[operands[2]])
        self.channel_scales = self.parameters.add(Buffer("e", self.dtype, (HALVES * self.channels,)), channels)
        self.scales = self.parameters.add(Buffer("s", self.dtype, (self.filters,)), filters)
        self.x = workspace(self.parameters, "v", self.dtype, self.shares, self.places * self.pitch, PRODUCTS)
        result = self.group.result.type
        self.y = Buffer("y", result.dtype, result.buffer_shape, Space.OUT)
        self.extras = self.parameters.add_epilogue(self.group, self.y, lambda v: v.type.buffer_shape)
        self.parameters.add(self.y, self.group.operation.result)

    def _packed(self, weight: Value, name: str, *scales: Packed, **attributes: int) -> Packed:
        """What an operator makes of the weight as a matrix, and of scales."""
        flat = packing_step("reshape", shape=(HALVES * self.channels, self.filters))
        return Packed(weight, (flat, packing_step(name, **attributes)), scales)

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

        def part(p: Expr, count: int, mine: bool) -> tuple[Expr, Expr]:
            return (p * count // self.shares, (p + 1) * count // self.shares) if mine else (Const(0), Const(count))

        def share(p: Expr) -> list[Stmt]:
            b = Var("b")
            blocks, panels = part(p, self.blocks, not self.by_panels), part(p, self.panels, self.by_panels)
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

    def pixel(self, pair: Expr, s: Expr | int) -> Expr:
        """Place in its image of pixel s of a pair; of a pair with one pixel, that one."""
        return minimum(pair * HALVES + s, self.pixels - 1)

    def place_of(self, pixel: Expr) -> tuple[Expr, Expr]:
        """Row and column of a pixel."""
        if self.pixels == self.width:  # said plainly, else threads aren't seen to stay apart
            return Const(0), pixel
        return pixel // self.width, pixel % self.width

    def _factors(self, p: Expr, b: Expr) -> list[Stmt]:
        """Make the left factors of a block."""

        def tile(i: Expr, n: Expr, first: Expr) -> list[Stmt]:
            def pair(s: Expr) -> list[Stmt]:
                return self._factors_of(n, minimum(first + s, self.pairs - 1), p, i * self.tile.columns + s)

            return loop("s", self.tile.columns, pair)

        return self._each_tile(b, tile)

    def _factors_of(self, n: Expr, pair: Expr, p: Expr, place: Expr) -> list[Stmt]:
        """Make the left factors of a pair."""
        (sy, sx), (top, left), pitch = self.strides, self.origin, self.source.buffer_shape[-1]
        block: list[Stmt] = []
        places: list[tuple[Expr, Expr]] = []
        for s in range(HALVES):
            pixel = let(block, self.names.fresh("pixel"), self.pixel(pair, s))
            y, x = self.place_of(pixel)
            y = let(block, self.names.fresh("iy"), y * sy + top)
            places.append((y, let(block, self.names.fresh("ix"), (x * sx + left) * pitch)))

        def vector(c: Expr, width: int) -> list[Stmt]:
            inside: list[Stmt] = []
            channel = [c + half * self.channels for half in range(HALVES)]
            scales = [let(inside, self.names.fresh("e"), Load(self.channel_scales, (at,), width)) for at in channel]

            def element(s: int, half: int) -> Expr:
                y, x = places[s]
                number = Load(self.input, (n, y, x + channel[half]), width)
                return let(inside, self.names.fresh("d"), number * scales[half])

            a11, a12, a21, a22 = (element(s, half) for s in range(HALVES) for half in range(HALVES))
            at = let(inside, self.names.fresh("at"), place * self.pitch + c)
            for q, value in enumerate(strassen.left_factors((a11, a12, a21, a22))):
                inside.append(Store(self.x, (p * PRODUCTS + q, Const(0), at), value))
            return inside

        return [*block, *vector_loop(self.names, self.channels, self.target.vector_lanes, vector)]

    def _panel(self, p: Expr, b: Expr, j: Expr) -> list[Stmt]:
        """The results of a block for a panel: right factors of a product serve all tiles before those of the next."""
        sums, lanes = HALVES * len(self.tile.widths) * self.tile.columns, self.target.vector_lanes
        kept = Buffer(self.names.fresh("kept"), self.dtype, (self.block * sums, lanes), Space.STACK)

        def product(q: Expr) -> list[Stmt]:
            self.point = q

            def tile(i: Expr, n: Expr, first: Expr) -> list[Stmt]:

                def kernel(widths: tuple[int, ...], room: int) -> list[Stmt]:
                    kernel = _Tile(self, 1, self.tile.columns, widths)
                    kernel.kept, kernel.number, kernel.room, kernel.pair = kept, i, room, (n, first)
                    if self.images * self.pairs <= ASKING_PAIRS:
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


class _Tile(MicroKernel):
    """A register tile of one product: pairs by filters of a half."""

    o: _Emitter
    kept: Buffer
    """Two sums of products of each tile of the block, [tile, sum, vector of filters, pair][filter]."""
    number: Expr
    """Of the tile in the block."""
    room: int
    """Filters of the panel in the second half."""
    pair: tuple[Expr, Expr]
    """The image, and the first pair in it."""
    row: Expr = Const(0)
    """Which pixel of each pair is finished."""

    def _finish(self, image: Expr, row: Expr, column: Expr) -> None:
        self.block = [*self.block, *self._made(), *self._kept()]

    def _made(self) -> list[Stmt]:
        """The results of whichever product makes a block of them, in one place: the code would be long."""
        q, block, width = self.o.point, list[Stmt](), sum(self.widths)
        before = self.block
        lower = let(block, self.o.names.fresh("lower"), (q + 1) % LOWER)
        right = let(block, self.o.names.fresh("right"), q % RIGHT[0] // RIGHT[1])
        total = partial(self._sums, lower)
        if self.room == width and not self.o.by_panels:
            block += self._results(lower, right * self.o.half, width, total)
        else:  # two places, or threads aren't seen to stay apart
            left = self._results(lower, Const(0), width, total)
            others = self._results(lower, Const(self.o.half), self.room, total)
            block.append(If(Binary("eq", right, Const(0)), tuple(left), tuple(others)))
        self.block = before
        return [If(Binary("or", Binary("eq", q, Const(FIRST)), Binary("le", Const(OTHERS), q)), tuple(block))]

    def _kept(self) -> list[Stmt]:
        """What keeps the first product, and adds later ones to that."""
        q, block = self.o.point, list[Stmt]()
        number = let(block, self.o.names.fresh("kept"), q % SECOND)
        begin, block = self._kept_as(Const(0), None), [*block, *self._kept_as(number, Const(0))]
        is_kept = Binary("and", Binary("ne", q, Const(FIRST)), Binary("le", q, Const(LAST_KEPT)))
        return [If(Binary("eq", q, Const(0)), tuple(begin), (If(is_kept, tuple(block)),))]

    def _kept_as(self, number: Expr, kept: Expr | None) -> list[Stmt]:
        places = [partial(self._place_of, number, v) for v in range(len(self.widths))]
        return self._pixels(
            lambda _, s: [Store(self.kept, at(s), self._sums(kept, v, (s,))) for v, at in enumerate(places)]
        )

    def _place_of(self, kept: Expr, v: int, s: Expr) -> tuple[Expr, ...]:
        vector = (self.number * HALVES + kept) * len(self.o.tile.widths) + v
        return (vector * self.columns + s, Const(0))

    def _sums(self, kept: Expr | None, v: int, at: tuple[Expr, ...]) -> Expr:
        """The product for vector v of filters, added to a sum that was kept."""
        product = Load(self.whole_sums[v], at)
        return product if kept is None else Load(self.kept, self._place_of(kept, v, at[0]), self.widths[v]) + product

    def _results(self, row: Expr, behind: Expr, room: int, total: Total) -> list[Stmt]:
        """Finish the results of one pixel of each pair for `room` filters, so far behind those of the first half."""
        self.row, self.block, channels, name = row, [], self.channels, self.o.names.fresh
        starts = starts_of(self.widths)
        whole = [w for start, w in zip(starts, self.widths, strict=True) if start + w <= room]
        self.channels = [let(self.block, name("c"), c + behind) for c in channels]
        tile = (self.pair[0], Const(0), self.pair[1])
        for first, width, step, units in finished_together(whole, 1):
            begin = partial(self._begin, tile, first, width, step)
            kind, longest = VectorType(self.o.dtype, width), self.o.longest_epilogue
            sums = partial(_from, total, first)
            self.block += epilogue(units, kind, sums, begin, (1, self.columns), self.o.names, longest)
        if sum(whole) < room:
            self._part(tile, len(whole), room - sum(whole), total)
        self.channels = channels
        return self.block

    def _begin(
        self, tile: tuple[Expr, Expr, Expr], first: int, single: int, step: int, v: Expr
    ) -> tuple[list[Stmt], Finish]:
        block, finish = super()._begin(tile, first, single, step, v)
        width = single * step
        scale = let(block, self.o.names.fresh("scale"), Load(self.o.scales, (self.channels[first] + v * width,), width))
        return block, lambda r, s, total: finish(r, s, total * scale)

    def _part(self, tile: tuple[Expr, Expr, Expr], v: int, rest: int, total: Total) -> None:
        """The results of a vector of the second half of which only `rest` filters are there, by way of the stack."""
        name, lanes, zero = self.o.names.fresh, self.widths[v], Const(0)
        stack = Buffer(name("totals"), self.o.dtype, (self.columns, lanes), Space.STACK)
        self.block += [Allocate(stack), *self._pixels(lambda _, s: [Store(stack, (s, zero), total(v, (s,)))])]
        widths = vector_widths(rest, lanes)
        for start, width in zip(starts_of(widths), widths, strict=True):
            channel = let(self.block, name("c"), self.channels[v] + start)
            constants = loaded_once(self.block, self.o.names, self.o.extras, self.o.filters, channel, width)
            bias = self._late_bias(self.block, channel, width)
            scale = let(self.block, name("scale"), Load(self.o.scales, (channel,), width))
            pixel = partial(self._stored, Channels(tile, channel, width, constants), scale, bias, stack, start)
            self.block += loop(name("s"), self.columns, pixel)

    def _stored(
        self, channels: Channels, scale: Expr, bias: Expr | None, stack: Buffer, start: int, s: Expr
    ) -> list[Stmt]:
        """The epilogue for a pair whose sums lie on the stack, from `start` on."""
        sums = Load(stack, (s, Const(start)), channels.width) * scale
        return self._store(channels, Const(0), s, sums if bias is None else sums + bias)

    def _store(self, channels: Channels, r: Expr, s: Expr, total: Expr) -> list[Stmt]:
        (_, first), o, block = self.pair, self.o, list[Stmt]()
        pixel = let(block, o.names.fresh("pixel"), o.pixel(first + s, self.row))
        self.place = o.place_of(pixel)
        block += super()._store(channels, r, s, total)
        if o.pairs % self.columns or (self.row != Const(0) and o.pixels % HALVES):
            return [If(Binary("lt", (first + s) * HALVES + self.row, Const(o.pixels)), tuple(block))]
        return block

    def _place(self, image: Expr, row: Expr, column: Expr) -> tuple[Expr, ...]:
        return (image, *self.place[4 - self.o.group.result.type.rank :])


def _from(total: Total, first: int, v: int, at: tuple[Expr, ...]) -> Expr:
    """The sums of vector v behind the first one."""
    return total(first + v, at)
