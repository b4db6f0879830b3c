"""Schedule for 3x3 convolutions of bytes by Winograd's filtering in integers; see `ops.quantized.winograd`.

All is as in `winograd`, but that inputs and filters at their points are 16-bit numbers, neighbouring channels of which
an instruction multiplies two at a time, and that products are brought back to sums modulo 2^32. Where there are so many
channels that a sum might not lie within the bits that are left, they are summed up in parts.
On a core that outruns its caches their ends take the numbers of a channel from one table (see `rescaling`).

Weights are packed as they are, [panel][pair of channels][9][filter][2], and a part of a panel is brought to its points
before it multiplies a block of many tiles. Those with a zero point are packed at their points, [panel][part][36][pair
of channels][filter][2], and so are all on a core that outruns its caches: there they are asked for early.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .....graph.ir import Value
from .....loops.ir import (
    Allocate,
    Binary,
    Buffer,
    Const,
    Dot2Words,
    Expr,
    For,
    If,
    Load,
    Space,
    Stmt,
    Store,
    const,
)
from .....lowering.group import Group
from .....lowering.kernel import Packed, PackingStep, Scheduled, let, packing_step
from .....lowering.loops import ceil_div, loop
from .....ops.quantized import winograd as words
from .....ops.quantized.contraction import Conv2DSum, Conv3DSum
from .....ops.windows.winograd import POINTS, TAPS, TILE
from .....targets.target import DotProduct, Target
from .....types import DType
from ..epilogue import loaded_once
from ..geometry import Met, Planes, Walk
from ..integers.integer_contraction import literal_bias
from ..integers.rescaling import FIELDS, START, UnsignedRescaling
from ..integers.signs import QUAD, Signs
from ..integers.word_contraction import PAIR
from ..linear import square
from ..owner import Step
from ..pairs import PairKernel
from ..prefetch import PointsAhead
from ..sum_loops import Run
from ..tiling import Tile, Tiling
from .emitter import WinogradEmitter, inside, winograd_walk
from .filters import Chunks
from .products import CHUNK, Place, Product
from .tiles import PRODUCTS, workspace

IN_ONE_SUM = "winograd_in_one_sum"
"""The algorithm that sums up all channels at once, as the numbers of the weight allow."""

BLOCK_TILES = 144
"""Tiles of a block, for which filters are brought to their points anew."""

FILTERS_SHARE = 0.6
"""Part of the L2 cache that the filters of a panel may fill at their points: measured on Zen 3."""


def parts_of(channels: int, x: DType, weight: DType, weight_zero: int) -> int:
    """Parts of so many channels, each of which may be summed up."""
    return ceil_div(channels, words.most_channels(x, weight, weight_zero) // PAIR * PAIR)


def schedule_integer_winograd(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule a sum of integer products for which Winograd's filtering was chosen."""
    if not isinstance(group.anchor.operator, (Conv2DSum, Conv3DSum)):
        return ()
    return IntegerWinogradEmitter(group, winograd_walk(group), target, threads).schedule()


class IntegerWinogradEmitter(WinogradEmitter):
    """Writes the kernel of one convolution of bytes."""

    dtype = DType.I32
    points = DType.I16
    form = words.FORM
    neighbours = PAIR
    met: Met | None = None
    """The planes of the window that the present block multiplies; None: all of them."""

    def __init__(self, group: Group, walk: Walk, target: Target, threads: int) -> None:
        x, self.weight = (v.type.dtype for v in group.anchor.operands[:2])
        # Widened inputs keep their signs, whatever dot products of bytes want.
        self.signs = replace(Signs.of(target, x, self.weight, group.anchor.attributes), left=x)
        self.held_registers = int(target.dot_product is not DotProduct.VNNI)  # of a product, before it is added
        algorithm, channels = group.anchor.algorithm, self._channels_of(walk)
        at_once = algorithm is not None and algorithm.name == IN_ONE_SUM
        self.parts = 1 if at_once else parts_of(channels, x, self.weight, self.signs.weight_zero)
        self.rescaling = UnsignedRescaling.of(group, target) if target.outruns_caches else None
        super().__init__(group, walk, target, threads)

    def _summed_channels(self) -> int:
        """The channels, filled up to parts of whole pairs."""
        whole = self.parts * PAIR
        return ceil_div(self._channels_of(self.walk), whole) * whole

    @staticmethod
    def _channels_of(walk: Walk) -> int:
        """Those that a result sums over, in all planes of the window."""
        return walk.planes.window * walk.channels

    def _takes_lanes(self, target: Target) -> bool:
        return False

    def _transforms(self) -> bool:
        # At their points they take eight times their memory; making them for a block takes no longer than reading them,
        # unless they are asked for early.
        return self.weight is DType.I8 and not self.signs.weight_zero and not self.target.outruns_caches

    def _decided_tile(self, tiling: Tiling) -> Tile:
        """Where the inputs stay in the L2 cache, filters at their points do, too."""
        target, points = self.target, PRODUCTS * self.points.itemsize
        inputs = tiling.width * self.pitch * points
        if self.transforms and target.multiplies_words and 2 * inputs <= target.l2_bytes:
            vector = ceil_div(self.channels, self.parts) * tiling.lanes * points
            most = max(1, int(target.l2_bytes * FILTERS_SHARE / vector))
            tiling = replace(tiling, max_vectors=min(tiling.max_vectors, most))
        if target.outruns_caches:
            tiling = self._with_even_shares(tiling)
        return super()._decided_tile(tiling)

    def _with_even_shares(self, tiling: Tiling) -> Tiling:
        """Where threads share out the panels, each gets as many, if there are register tiles for that."""
        walk, form = self.walk, self.form
        tiles = walk.images * form.tiles_of(walk.height) * form.tiles_of(walk.width)
        if not self.by_panels(tiles):
            return tiling
        even = [n for n in range(2, tiling.max_vectors + 1) if self.filters % (n * self.shares * tiling.lanes) == 0]
        if not even:
            return tiling
        return replace(tiling, min_vectors=even[-1], max_vectors=even[-1])

    def _largest_block(self, target: Target) -> int:
        return BLOCK_TILES

    def _even_size(self, size: int, tiles: tuple[int, int, int]) -> int:
        """Of blocks within a plane, so that they can leave out planes of padding, if that takes no small blocks."""
        _, rows, columns = tiles
        if not self._has_planes_of_zeros or self.parts > 1:
            return size
        parts = range(min(size, rows * columns), ceil_div(size, 2) - 1, -1)
        return next((part for part in parts if rows * columns % part == 0), size)

    @property
    def _has_planes_of_zeros(self) -> bool:
        """Do windows reach into planes of padding that change no sum?"""
        planes = self.walk.planes
        if self.signs.padding or self.walk.channels % PAIR:
            return False
        return any(met != (0, planes.window) for met in planes.by_plane)

    @property
    def leaves_out(self) -> bool:
        """Do blocks leave out planes of padding? None reaches from one plane of results into another."""
        _, rows, columns = self.blocks.tiles
        return self._has_planes_of_zeros and self.parts == 1 and rows * columns % self.blocks.size == 0

    def _met(self, b: Expr) -> Met | None:
        if not self.leaves_out:
            return None
        _, rows, columns = self.blocks.tiles
        return self.walk.planes.met(b // (rows * columns // self.blocks.size) % self.walk.planes.count)

    def _panels(self, p: Expr, b: Expr, panels: tuple[Expr, Expr]) -> list[Stmt]:
        self.met = self._met(b)
        return super()._panels(p, b, panels)

    def by_panels(self, total: int) -> bool:
        """True if threads share out the filters: all inputs get to their points in less time than all filters."""
        return self.shares > 1 and self.filters > 2 * total

    def _declare(self) -> None:
        super()._declare()
        weight = self.group.outer[self.group.anchor.operands[1]]
        if self.rescaling is None:
            self.correction = self.signs.add_correction(self.parameters, weight, self.filters)
        else:
            self.table = self.parameters.add(*self.rescaling.table(weight, self.signs, self.filters, self.filters))

    @property
    def pairs(self) -> int:
        """Pairs of channels of a part."""
        return self.channels // (self.parts * PAIR)

    def _filled(self) -> tuple[PackingStep, ...]:
        """Puts the channels of all planes one after the other, and adds zeros to fill the parts and the last panel."""
        channels = self._channels_of(self.walk)
        surplus = self.channels - channels, self.panels * self.tile.channels - self.filters
        filled = packing_step("pad", padding=((0, 0),) * 2 + tuple((0, n) for n in surplus))
        if isinstance(self.group.anchor.operator, Conv2DSum):
            return (filled,)
        planes = packing_step("transpose", permutation=(1, 2, 0, 3, 4))
        return (planes, packing_step("reshape", shape=(TAPS, TAPS, channels, self.filters)), filled)

    def _declare_points(self, weight: Value) -> None:
        width = self.tile.channels
        shape = (self.panels, self.parts, PRODUCTS, self.pairs, width * PAIR)
        steps = (
            *self._filled(),
            packing_step("reshape", shape=(TAPS, TAPS, self.channels, self.panels, width)),
            packing_step("transpose", permutation=(3, 0, 1, 2, 4)),
            packing_step("winograd_words", weight_zero=self.signs.weight_zero),
            packing_step("reshape", shape=(self.panels, PRODUCTS, self.parts, self.pairs, PAIR, width)),
            packing_step("transpose", permutation=(0, 2, 1, 3, 5, 4)),
            packing_step("reshape", shape=shape),
        )
        self.w = self.parameters.add(Buffer("w", self.points, shape), Packed(weight, steps))

    def _declare_chunks(self, weight: Value) -> None:
        width, pairs = self.tile.channels, self.parts * self.pairs
        shape = (self.panels, pairs, TAPS**2, width * PAIR)
        steps = (
            *self._filled(),
            packing_step("reshape", shape=(TAPS**2, pairs, PAIR, self.panels, width)),
            packing_step("transpose", permutation=(3, 1, 0, 4, 2)),
            packing_step("reshape", shape=shape),
        )
        source = self.parameters.add(Buffer("f", self.weight, shape), Packed(weight, steps))
        self.w = workspace(self.parameters, "w", self.points, self.shares, self.pairs * width * PAIR)
        self.chunks = Chunks(self.pairs, source, self.w, width * PAIR, flip=False, matrix=words.FILTER)

    def _view(self) -> Walk:
        view = super()._view()
        if not self.leaves_out:
            return view
        window = self.walk.planes.window
        return replace(view, planes=Planes(count=1, rows=0, window=window, kernel=window))

    def _steps(self) -> int:
        return self.walk.channels // PAIR if self.leaves_out else self.pairs

    def weight_index(self, j: Expr, depth: Expr, channel: Expr, offset: int) -> tuple[Expr, ...]:
        """Place of the weights of pair `depth` at the present point of a part."""
        if self.chunks:
            return (self.share * PRODUCTS + self.point, Const(0), (depth * self.tile.channels + offset) * PAIR)
        return (j, CHUNK, self.point, depth, Const(offset * PAIR))

    def _product(self, widths: tuple[int, ...], j: Expr, i: Expr) -> Product:
        product = WordProduct(self, 1, self.tile.columns, widths)
        product.met_planes = self.met
        product.part = CHUNK * self.products_of_part
        if self.target.outruns_caches:
            product.asked = self._asked(j, i)
        return product

    def _asked(self, j: Expr, i: Expr) -> Place:
        """What register tile i asks for in a step: weights of the next point."""
        tiles = self.blocks.size // self.tile.columns
        ahead = PointsAhead(self.panels * self.parts, PRODUCTS, self.pairs, tiles)

        def place(step: Expr) -> tuple[Expr, ...]:
            number, point, behind = ahead.place(j * self.parts + CHUNK, self.point, i, step)
            return number // self.parts, number % self.parts, point, behind

        return place

    def _by_parts(self, p: Expr, j: Expr, products: list[Stmt]) -> list[Stmt]:
        filters: list[Stmt] = []
        if self.chunks:
            filters = self.chunks.to_points(j, CHUNK, p * PRODUCTS, self.names, PAIR * self.target.vector_lanes)
        return [For(CHUNK.name, Const(0), Const(self.parts), (*filters, *products))]

    def _results(self, p: Expr, j: Expr, t: Expr, number: Expr) -> list[Stmt]:
        """Bring the products of a tile back to sums, on the stack, and store what the epilogue makes of them."""
        block: list[Stmt] = []
        image, row, column = self.blocks.place(number)
        tile = (let(block, "n", image), let(block, "ty", row), let(block, "tx", column))

        def vectors(first: Expr, width: int, count: int) -> list[Stmt]:
            return self._vectors(p, tile, j, t, first, (count, width))

        together = PAIR if self.rescaling is None else QUAD  # whole vectors of words are narrowed, or of bytes
        return [*block, *self._by_vectors(j, together, vectors)]

    def _vectors(
        self, p: Expr, tile: tuple[Expr, Expr, Expr], j: Expr, t: Expr, first: Expr, size: tuple[int, int]
    ) -> list[Stmt]:
        """The results of neighbouring vectors of filters, from filter `first` of the panel on."""
        block: list[Stmt] = []
        (n, ty, tx), (count, width) = tile, size
        channel = let(block, self.names.fresh("c"), j * self.tile.channels + first)
        sums = Buffer(self.names.fresh("sums"), self.dtype, (TILE * TILE, count * width), Space.STACK)
        block.append(Allocate(sums))

        def vector(k: Expr) -> list[Stmt]:
            inner: list[Stmt] = []
            place = let(inner, self.names.fresh("at"), t * self.tile.channels + first + k * width)
            return [*inner, *self._sums(p, place, channel + k * width, width, sums, k * width)]

        block += loop(self.names.fresh("k"), count, vector)
        lanes = count * width
        constants = loaded_once(block, self.names, self.extras, self.filters, channel, lanes)
        fields = range(START + 1, FIELDS) if self.rescaling else ()
        numbers = [let(block, self.names.fresh("f"), self._number(field, channel, lanes)) for field in fields]
        y, x = let(block, self.names.fresh("y"), ty * TILE), let(block, self.names.fresh("x"), tx * TILE)
        image = self._image(block, n)

        def row(r: Expr) -> list[Stmt]:
            line: list[Stmt] = []
            for s in range(TILE):
                pixel: list[Stmt] = []
                total: Expr = Load(sums, (r * TILE + s, Const(0)), lanes)
                if self.rescaling:
                    total = self.rescaling.element(pixel, self.names, total, *numbers)
                pixel += self._store((*image, y + r, x + s, channel), lanes, total, constants)
                line += inside(pixel, x, s, self.walk.width)
            if self.walk.height % TILE:
                return [If(Binary("lt", y + r, Const(self.walk.height)), tuple(line))]
            return line

        return [*block, *loop(self.names.fresh("r"), TILE, row)]

    def _number(self, field: int, channel: Expr, lanes: int) -> Expr:
        """Numbers of the table of `rescaling` from a channel on."""
        return Load(self.table, (Const(0), channel + field * self.filters), lanes)

    def _start(self, channel: Expr, width: int) -> Expr:
        """What the sums of so many filters start from."""
        if self.rescaling:
            return self._number(START, channel, width)
        start: Expr = Load(self.correction, (channel,), width)
        if self.anchor_bias is not None:
            start = start + Load(self.anchor_bias, (channel,), width)
        bias = literal_bias(self.group)
        return start + bias if bias else start

    def _sums(self, p: Expr, place: Expr, channel: Expr, width: int, sums: Buffer, to: Expr) -> list[Stmt]:
        """Bring the sums of a vector of filters, bias included, from their place to another one, on the stack."""
        block: list[Stmt] = []
        start = let(block, self.names.fresh("start"), self._start(channel, width))
        places = [(Const(r * TILE + s), to) for r in range(TILE) for s in range(TILE)]

        def part(number: Expr) -> list[Stmt]:
            inner: list[Stmt] = []

            def name(e: Expr) -> Expr:
                return let(inner, self.names.fresh("t"), e)

            def product(q: int) -> Expr:
                return name(Load(self.y, (p * PRODUCTS + q, Const(0), at), width))

            at = name(place + number * self.products_of_part)
            products = [[product(i * POINTS + k) for k in range(POINTS)] for i in range(POINTS)]
            results = square(words.OUTPUT, products, name)
            for n, index in enumerate(places):
                r, s = divmod(n, TILE)
                before = start if self.parts == 1 else Load(sums, index, width)
                inner.append(Store(sums, index, before + _exact(results[r][s], words.SHIFTS[r] + words.SHIFTS[s])))
            return inner

        block += [Store(sums, index, start) for index in places] if self.parts > 1 else []
        return [*block, *loop(self.names.fresh("part"), self.parts, part)]


def _exact(multiple: Expr, shift: int) -> Expr:
    """A result, of 9 * 2^shift times it modulo 2^32."""
    return Binary("shr", multiple * words.INVERSE, const(shift, multiple.type))


class WordProduct(PairKernel, Product):
    """A register tile of products of pairs of 16-bit numbers, for one part of the channels."""

    met_planes: Met | None = None
    """The planes of the window that are multiplied; None: all of them, as if they were channels of one."""

    def _meet(self, image: Expr) -> Met:
        return self.met_planes or super()._meet(image)

    def _multiplying(self, image: Expr, row: Expr, column: Expr, j: Expr) -> Callable[[Step, Run, Expr], list[Stmt]]:
        multiplying = super()._multiplying(image, row, column, j)
        if self.met_planes is None:
            return multiplying
        channels = self.o.g.channels * PAIR

        def in_plane(multiply: Step, run: Run, k: Expr) -> list[Stmt]:
            def shifted(n: Expr, y: Expr, x: Expr, j: Expr, depth: Expr) -> list[Stmt]:
                return multiply(n, y, x + run[0] * channels, j, depth)

            return multiplying(shifted, run, k)

        return in_plane

    def _first_input(self, j: Expr) -> Expr | int:
        return CHUNK * (self.o.g.channels * PAIR) if self.met_planes is None else 0

    def _added(self, element: Expr, weight: Expr, total: Expr) -> Expr:
        return Dot2Words(element, weight, total)
