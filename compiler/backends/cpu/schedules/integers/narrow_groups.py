"""Grouped convolutions of bytes whose groups are narrow: vectors of dot products serve several groups at once.

A group has 4 or 8 channels, one quad or two, and as many filters. A quarter of a vector of input bytes is loaded into
all four quarters of a register, so that each lane has a quad of one of several groups; the weights of the four quarters
are those of four filters of each group. Nothing is moved across lanes, and nothing is multiplied by zero. The sums of a
filter lie in as many lanes as its group has quads; at the end they are added up, and all lanes put in order.

A step takes a row of the window: what is loaded of the input is multiplied by the weights of all columns of the window
that lie over it, for as many pixels side by side. Signs and zero points are made good as in `integer_contraction`.
"""

from __future__ import annotations

from functools import reduce
from itertools import groupby
from operator import add, itemgetter

from .....graph.ir import Value
from .....loops.ir import Allocate, Buffer, Const, Dot4, Expr, Load, Space, Spread, Stmt, Store, const
from .....lowering.group import Group
from .....lowering.kernel import Packed, Scheduled, let, packing_step
from .....lowering.loops import starts_of, vector_widths
from .....targets.target import DotProduct, Target
from .....types import DType
from ..epilogue import side_by_side
from ..geometry import Walk, walks
from ..micro_kernel import MicroKernel
from ..row_tiles import RowTiling, uses_of_row
from ..tiling import Tile
from .integer_contraction import DotEmitter, DotMicroKernel, dot_kernels, serves
from .signs import QUAD, Signs

VECTORS = 2
"""Of results in a tile, where there are enough."""


def schedule_narrow_groups(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule a sum of integer products in narrow groups, on a machine whose vectors hold several groups' quads."""
    if target.dot_product is not DotProduct.VNNI or not serves(group):
        return ()
    if not all(_fits(group, walk, target) for walk in walks(group)):
        return ()
    return dot_kernels(NarrowGroupsEmitter, group, target, threads)


def _fits(group: Group, g: Walk, target: Target) -> bool:
    """True if a group has a power of two of quads and as many filters as channels, which fill half a vector or less.

    Filters that fill a vector are as quick with a quad broadcast to all of them. The weights of a row of the window
    must leave registers to sums.
    """
    quads, rest = divmod(g.channels, QUAD)
    x, weight = (v.type.dtype for v in group.anchor.operands[:2])
    return (
        not rest
        and g.groups > 1
        and g.channels * g.groups == group.result.type.shape[-1]
        and quads.bit_count() == 1
        and 2 * g.channels <= target.vector_lanes
        and 2 * g.window[1] * quads <= target.vector_registers
        and not Signs.of(target, x, weight, group.anchor.attributes).needs_input_sums
    )


class NarrowGroupsEmitter(DotEmitter):
    """Writes the kernel of one integer contraction in groups."""

    def __init__(self, group: Group, g: Walk, target: Target, threads: int, flipped: Value | None = None) -> None:
        self.quads = g.channels // QUAD
        """Of a group."""
        super().__init__(group, g, target, threads, flipped)

    def _choose_tile(self, target: Target) -> Tile:
        widths = vector_widths(min(self.filters, VECTORS * target.vector_lanes), target.vector_lanes)
        tiling = RowTiling(self.g, target, vectors=len(widths) * self.quads, held=self.quads)
        return tiling.decided(self.group, widths)

    def _declare_panels(self, weight: Value) -> int:
        steps = self.g.depth // self.g.channels
        self.w = Buffer("w", DType.I8, (self.panels, steps, self.tile.channels * self.g.channels))
        order = {"widths": self.tile.widths, "last": self.last_widths}
        pack = packing_step("pack_groups", **order, offset=self.signs.weight_offset)
        self.parameters.add(self.w, Packed(weight, (pack,)))
        return steps

    def micro_kernel(self, rows: int, columns: int, widths: tuple[int, ...]) -> MicroKernel:
        """What computes one tile."""
        return NarrowGroupsMicroKernel(self, rows, columns, widths)


class NarrowGroupsMicroKernel(DotMicroKernel):
    """One register tile: for each pixel and vector of results as many vectors of sums as a group has quads."""

    def __init__(self, owner: NarrowGroupsEmitter, rows: int, columns: int, widths: tuple[int, ...]) -> None:
        super().__init__(owner, rows, columns, widths)
        self.quads = owner.quads
        name, shape = owner.names.fresh, (rows * columns * self.quads,)
        self.accumulators = [Buffer(name("acc"), DType.I32, shape, Space.REGISTER, lanes=w) for w in widths]

    @property
    def products(self) -> int:  # type: ignore[override]
        """Dot products of one step for each sum."""
        return self.dot.g.window[1]

    def _extents(self) -> tuple[int, int]:
        return 1, 1

    def _first_input(self, j: Expr) -> Expr | int:
        return j * self.dot.tile.channels

    def _start(self, j: Expr) -> None:
        self.channels = []
        self.starts: list[Expr] = []
        for accumulator, width, offset in zip(self.accumulators, self.widths, starts_of(self.widths), strict=True):
            self.block.append(Allocate(accumulator))
            channel = let(self.block, self.dot.names.fresh("c"), j * self.dot.tile.channels + offset)
            self.channels.append(channel)
            self.starts.append(self._initial(channel, width))
            zero = const(0, accumulator.element)

            def clear(r: Expr, s: Expr, to: Buffer = accumulator, zero: Expr = zero) -> list[Stmt]:
                return [Store(to, self._sums(r * self.columns + s, part), zero) for part in range(self.quads)]

            self.block += self._pixels(clear)

    def _sums(self, pixel: Expr, part: int) -> tuple[Expr, ...]:
        """Where a vector of a pixel's sums is: those of filters 4 * part ... of each group."""
        return (pixel * self.quads + part,)

    def _step(self, image: Expr, y: Expr, x: Expr, j: Expr, depth: Expr) -> list[Stmt]:
        g, block = self.dot.g, list[Stmt]()
        for accumulator, width, offset in zip(self.accumulators, self.widths, starts_of(self.widths), strict=True):
            weights = self._row_of_weights(block, j, depth, offset, width)
            for r in range(self.rows):
                for column, uses in groupby(uses_of_row(g, self.columns), key=itemgetter(0)):
                    place = (image, y + r * g.strides[0], x + (column * g.pitch + offset))
                    loaded = self.dot.signs.as_left(Load(self.dot.x, place, width))
                    inputs = let(block, self.dot.names.fresh("a"), loaded)
                    for _, kx, s in uses:
                        for part, weight in enumerate(weights[kx]):
                            at = self._sums(Const(r * self.columns + s), part)
                            block.append(Store(accumulator, at, Dot4(inputs, weight, Load(accumulator, at))))
        return block

    def _row_of_weights(self, block: list[Stmt], j: Expr, depth: Expr, offset: int, width: int) -> list[list[Expr]]:
        """The weights of all columns of the window for a vector of results."""
        o, columns = self.dot, self.dot.g.window[1]
        places = [offset * o.g.channels + part * width * QUAD for part in range(self.quads)]

        def weight(kx: int, place: int) -> Expr:
            at = (o.panel(j), depth * columns + kx, Const(place))
            return let(block, o.names.fresh("w"), Load(o.w, at, width * QUAD))

        return [[weight(kx, place) for place in places] for kx in range(columns)]

    def _total(self, v: int, at: tuple[Expr, ...]) -> Expr:
        (pixel,), width = at, self.widths[v]
        parts = [Load(self.accumulators[v], self._sums(pixel, part)) for part in range(self.quads)]
        lanes = width // QUAD

        def of_quad(quad: int) -> Expr:
            """The sums over one quad of all groups, filters of a group side by side."""
            return side_by_side([Spread(p, QUAD, 1, lanes, q) for q in range(quad, lanes, self.quads) for p in parts])

        return reduce(add, map(of_quad, range(self.quads)), self.starts[v])
