"""Schedule for 3x3 convolutions of stride 1 or 2 in single precision by Winograd's filtering; see `ops.windows`.

Weights known at load time are packed at their points, [panel][36][channel][filter], or brought there in each run (see
`filters` and, for very few tiles, `rows`); others are brought there by a kernel of their own, or, for
few tiles, part by part. The loops are those of `emitter`.
"""

from __future__ import annotations

from .....graph.ir import Value
from .....loops.ir import Buffer, Const, Expr, For, Load, Stmt, Store, Var, VectorType, const, minimum
from .....lowering.group import Group
from .....lowering.kernel import Packed, Scheduled, let
from .....lowering.loops import ceil_div, loop, vector_loop
from .....ops.windows import winograd as f43
from .....ops.windows.convolution import Conv2D, Conv3D
from .....ops.windows.transpose_convolution import TransposeConv2D
from .....targets.target import Target
from .....types import DType, TensorType
from ..epilogue import loaded_once
from ..geometry import Line
from ..linear import square
from ..prefetch import PointsAhead
from ..tiling import Tile, Tiling
from .emitter import (
    BLOCK_TILES,
    MOST_VECTORS,
    SPILLED_TILES,
    WinogradEmitter,
    inside,
    winograd_walk,
)
from .filters import Chunks, chunk_of, filter_kernel, packed_at_points, packed_halfway, packed_scaled
from .halfway import HalfwayProducts, chunks_of
from .products import CHUNK, LaneProduct, Product
from .rows import TILES, RowProducts
from .tiles import PRODUCTS, bytes_at_points, workspace

POINTS = f43.POINTS

PACKED = "winograd"
"""The algorithm whose filters come to their points when they are loaded, or, unless they are known then, in a kernel of
their own."""
IN_PARTS = "winograd_in_parts"
"""The one whose filters come there in each run, chunk by chunk, unless they stay in the L2 cache at their points, or
change with each run and are not a number of whole vectors."""
IN_REGISTERS = "winograd_in_registers"
"""The one whose filters come there in registers."""
BY_PHASES = "winograd_by_phases"
"""The one of a stride of 2: even and odd inputs have matrices of their own."""
HALFWAY = "winograd_halfway"
"""The one whose filters are packed half the way to their points, and come there in registers.

With each, all sums of a filter round otherwise than with the others. So the choice is made for the whole batch, and not
where a part of it, whose size depends on the number of threads, gets its schedule.
"""

KEPT_SHARE = 0.5
"""Part of the L2 cache in which filters at their points stay beside inputs and products."""


def schedule_winograd(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule a convolution, or the gradient of its input, for which Winograd's filtering was chosen."""
    if not isinstance(group.anchor.operator, (Conv2D, Conv3D, TransposeConv2D)):
        return ()
    algorithm = group.anchor.algorithm
    kind = _HalfwayEmitter if algorithm is not None and algorithm.name == HALFWAY else ConvolutionEmitter
    if kind is ConvolutionEmitter and _follow_points(group, target):
        kind = _PointsEmitter
    return kind(group, target, threads).schedule()


def _follow_points(group: Group, target: Target) -> bool:
    """Do all panels of filters follow each other at each point? They don't stay in the L2 cache, but come quickly."""
    algorithm, weight = group.anchor.algorithm, group.outer[group.anchor.operands[1]]
    known = group.knows_weight and algorithm is not None and algorithm.name in (PACKED, BY_PHASES)
    if not (known and target.streams_quickly and (target.has_few_registers or target.outruns_caches)):
        return False
    share = KEPT_SHARE if target.outruns_caches else 2
    return bytes_at_points(weight.type, form_of(group)) > share * target.l2_bytes


def form_of(group: Group) -> f43.Filtering:
    """What the algorithm of a convolution computes by."""
    algorithm, strides = group.anchor.algorithm, group.anchor.attributes["strides"]
    assert algorithm is not None, "schedules by an algorithm are tried where it was chosen"
    return f43.FORMS[algorithm.tile[-1], strides[-1]]


class ConvolutionEmitter(WinogradEmitter):
    """Writes the kernel of one convolution of floats."""

    dtype = DType.F32
    points = DType.F32

    def __init__(self, group: Group, target: Target, threads: int) -> None:
        self.form = form_of(group)
        super().__init__(group, winograd_walk(group, self.form), target, threads)

    @property
    def algorithm(self) -> str:
        """Which one was chosen."""
        chosen = self.group.anchor.algorithm
        assert chosen is not None, "schedules by an algorithm are tried where it was chosen"
        return chosen.name

    @property
    def in_registers(self) -> bool:
        """Do filters come to their points in registers?"""
        return self.algorithm == IN_REGISTERS

    def _transforms(self) -> bool:
        if self.algorithm != IN_PARTS:
            return self.in_registers
        if not self.group.knows_weight and self.filters % self.target.vector_lanes:
            return False
        widest = min(MOST_VECTORS * self.target.vector_lanes, self.filters)
        if chunk_of(self.channels, widest, self.target) is None:
            return False
        at_points = PRODUCTS * self.channels * self.filters * self.dtype.itemsize
        return 2 * at_points > self.target.l2_bytes

    @property
    def flip(self) -> bool:
        """A transposed convolution reads its filters turned by 180 degrees."""
        return self.walk.taps[0] != Line()

    def _declare_points(self, weight: Value) -> None:
        """The weights at their points, in panels, and what brings them there if that can't be done once for all."""
        shape = (self.panels, self.form.filter_points**2, self.channels, self.tile.channels)
        argument: Value | Packed
        if self.group.knows_weight:
            argument = packed_at_points(weight, shape, self.filters, flip=self.flip, form=self.form)
        else:
            argument = Value(TensorType(self.dtype, shape))
            self.preparation = (filter_kernel(weight, argument, self.flip, self.filters, self.target),)
        self.w = self.parameters.add(Buffer("w", self.dtype, shape), argument)

    def _declare_chunks(self, weight: Value) -> None:
        """The filters in panels, and a place for a chunk of them at its points."""
        width = self.tile.channels
        if self.in_registers:
            in_panels = (self.panels, self.channels, f43.TAPS**2, width)
            packed = packed_scaled(weight, in_panels, self.filters, flip=self.flip)
            self.filters_in_panels = self.parameters.add(Buffer("f", self.dtype, in_panels), packed)
            return
        channels = chunk_of(self.channels, width, self.target)
        assert channels is not None, "narrower panels have longer chunks"
        shape: tuple[int, ...] = weight.type.shape
        argument: Value | Packed = weight
        if self.group.knows_weight:
            shape, argument = (
                (self.panels, self.channels, f43.TAPS**2, width),
                Chunks.packed(weight, self.panels, width),
            )
        source = self.parameters.add(Buffer("f", self.dtype, shape), argument)
        self.w = workspace(self.parameters, "w", self.points, self.shares, channels * width)
        self.chunks = Chunks(channels, source, self.w, width, self.flip, in_panels=self.group.knows_weight)

    def _decided_tile(self, tiling: Tiling) -> Tile:
        return Tile(1, TILES, (self.target.vector_lanes,)) if self.in_registers else super()._decided_tile(tiling)

    def _products(self, p: Expr, j: Expr) -> list[Stmt]:
        if not self.in_registers:
            return super()._products(p, j)
        rows = RowProducts(self.filters_in_panels, self.x, self.y, self.pitch, self.names)
        return rows.of_panel(j, p * PRODUCTS, self.blocks.size)

    def weight_index(self, j: Expr, depth: Expr, channel: Expr, offset: int) -> tuple[Expr, ...]:
        """Place of the weights of channel `depth` at the present point."""
        if self.chunks:
            return (self.share * PRODUCTS + self.point, Const(0), depth * self.tile.channels + offset)
        return (j, self._filter_point(self.point), depth, Const(offset))

    def _filter_point(self, point: Expr) -> Expr:
        """Which of a filter's points inputs at a point are multiplied by."""
        side, last = self.form.points, self.form.filter_points - 1
        if side == last + 1:
            return point
        return minimum(point // side, last) * (last + 1) + minimum(point % side, last)

    def _product(self, widths: tuple[int, ...], j: Expr, i: Expr) -> Product:
        """What multiplies a register tile."""
        kind = LaneProduct if self.by_lanes else Product
        product = kind(self, 1, self.tile.columns, widths)
        product.chunk = self.chunks
        return product

    def _by_parts(self, p: Expr, j: Expr, products: list[Stmt]) -> list[Stmt]:
        """The products of all channels of a panel."""
        return self._by_chunks(p, j, products) if self.chunks else products

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

    def _results(self, p: Expr, j: Expr, t: Expr, number: Expr) -> list[Stmt]:
        """Bring the products of a tile back to results, and store what the epilogue makes of them."""
        block: list[Stmt] = []
        image, row, column = self.blocks.place(number)
        n, ty, tx = let(block, "n", image), let(block, "ty", row), let(block, "tx", column)

        def vector(first: Expr, width: int, count: int) -> list[Stmt]:
            body: list[Stmt] = []
            channel = let(body, self.names.fresh("c"), j * self.tile.channels + first)
            place = let(body, self.names.fresh("at"), self._place(j, t) + first)
            return [*body, *self._vector(p, (n, ty, tx), place, channel, width)]

        return [*block, *self._by_vectors(j, 1, vector)]

    def _place(self, j: Expr, t: Expr) -> Expr:
        """Of the products of tile t and panel j, at a point."""
        return t * self.tile.channels

    def _vector(self, p: Expr, tile: tuple[Expr, Expr, Expr], place: Expr, channel: Var, width: int) -> list[Stmt]:
        block: list[Stmt] = []
        n, ty, tx = tile
        size, side, first = self.form.tile, self.form.points, p * self.form.products

        def name(e: Expr) -> Expr:
            return let(block, self.names.fresh("t"), e)

        products = [
            [name(Load(self.y, (first + (i * side + k), Const(0), place), width)) for k in range(side)]
            for i in range(side)
        ]
        # The bias comes after the transform: sums that started from it would transform it, too.
        results = square(self.form.output, products, name)
        channels = self.group.result.type.shape[-1]
        constants = loaded_once(block, self.names, self.extras, channels, channel, width)
        bias = name(Load(self.anchor_bias, (channel,), width)) if self.anchor_bias is not None else None
        y, x = name(ty * size), name(tx * size)
        image = self._image(block, n)
        for r in range(size):
            line: list[Stmt] = []
            for s in range(size):
                total = results[r][s] if bias is None else results[r][s] + bias
                pixel = self._store((*image, y + r, x + s, channel), width, total, constants)
                line += inside(pixel, x, s, self.walk.width, size)
            block += inside(line, y, r, self.walk.height, size)
        return block


class _AllPanels(ConvolutionEmitter):
    """The products of all panels are made before the first results."""

    @property
    def kept_panels(self) -> int:
        """All."""
        return self.panels

    def _place(self, j: Expr, t: Expr) -> Expr:
        return j * self.products_of_part + super()._place(j, t)


class _PointsEmitter(_AllPanels):
    """All panels follow each other at each point, and each asks for the next one's filters.

    So the inputs of a block at a point stay in the L2 cache while all filters pass by, and many tiles share these.
    """

    most_vectors = 3  # with more, reading filters and asking for others takes all that a core reads in a cycle

    def _count(self, share: int, target: Target) -> int:
        largest = SPILLED_TILES * f43.F43.products // self.form.products  # so many points
        fewest, most = (ceil_div(share, size) for size in (largest, BLOCK_TILES))
        return min(range(fewest, most + 1), key=lambda n: n * self._tiling(ceil_div(share, n), target).least())

    def _panels(self, p: Expr, b: Expr, panels: tuple[Expr, Expr]) -> list[Stmt]:
        self.point, self.share = Var("q"), p
        j = Var("j")
        at_point = self._by_panel(j, *(self._at_point(p, j, widths) for widths in self.widths))
        products = loop("q", self.form.products, lambda q: [For("j", *panels, tuple(at_point))])
        return [*products, For("j", *panels, tuple(self._results_of(p, b, j)))]

    def _product(self, widths: tuple[int, ...], j: Expr, i: Expr) -> Product:
        product = super()._product(widths, j, i)
        product.part = j * self.products_of_part
        ahead = PointsAhead(self.form.products, self.panels, self.channels, self.blocks.size // self.tile.columns)

        def asked(step: Expr) -> tuple[Expr, ...]:
            point, panel, behind = ahead.place(self.point, j, i, step)
            return panel, self._filter_point(point), behind

        product.asked = asked
        return product


class _HalfwayEmitter(_AllPanels):
    """Filters come to their points from half the way."""

    def _declare_points(self, weight: Value) -> None:
        chunks = chunks_of(self.channels)
        shape = (POINTS, chunks, self.panels, self.channels // chunks * f43.TAPS, self.tile.channels)
        packed = packed_halfway(weight, shape, self.filters, flip=self.flip)
        self.halfway = self.parameters.add(Buffer("f", self.dtype, shape), packed)

    def _decided_tile(self, tiling: Tiling) -> Tile:
        lanes = self.target.vector_lanes
        # A core that multiplies two vectors in a cycle reads no more than two, so that elements should serve two.
        paired = self.target.outruns_caches and ceil_div(self.filters, lanes) % 2 == 0
        return Tile(1, TILES, (lanes,) * (1 + paired))

    def _panels(self, p: Expr, b: Expr, panels: tuple[Expr, Expr]) -> list[Stmt]:
        size, registers = self.blocks.size, self.target.vector_registers
        lanes = self.target.vector_lanes
        products = HalfwayProducts(self.halfway, lanes, self.x, self.y, self.pitch, size, registers, self.names)
        j = Var("j")
        return [*products.of_panels(p * PRODUCTS, panels), For("j", *panels, tuple(self._results_of(p, b, j)))]
