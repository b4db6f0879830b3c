"""Integer convolutions and dense layers on processors that multiply vectors of bytes to sums of 16 bits.

Sixteen neighbours of the sum are multiplied at once (Arm's `smull`), eight products are added to the eight others
(`smlal`), and pairs of the results to four partial sums of 32 bits (`sadalp`). So a sum is a vector until the end, when
the vectors of four filters become one. Two products fit 16 bits unless both weights are -128: whether the smallest
weight is that is looked up when the code runs, and then the products aren't added in 16 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from .....graph.ir import Value
from .....loops.ir import (
    AddPairs,
    Allocate,
    Binary,
    Buffer,
    Cast,
    Const,
    Expr,
    If,
    Load,
    PairSums,
    Reduce,
    Space,
    Spread,
    Stmt,
    Store,
    VectorType,
    const,
)
from .....lowering.group import Group
from .....lowering.kernel import Packed, Scheduled, let, packing_step
from .....lowering.loops import ceil_div, vector_widths
from .....ops.quantized.packing import HALF, QUARTER, WIDE, wide_parts
from .....targets.target import DotProduct, Target
from .....types import DType
from ..geometry import Walk, walks
from ..micro_kernel import MicroKernel
from ..owner import Step
from ..tiling import Tile, split
from .integer_contraction import DotEmitter, serves
from .signs import FLIP

LOWEST = -FLIP
SUM_LANES = 4
"""Partial sums of a result."""


def schedule_wide_contraction(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule a group whose anchor is a sum of integer products, on a machine that adds pairs of 16-bit products."""
    if target.dot_product is not DotProduct.LANES or not serves(group):
        return ()
    found = walks(group)
    if any(walk.groups > 1 or walk.channel_rows for walk in found):
        return ()
    emitters = [WideEmitter(group, walk, target, threads) for walk in found]
    if any(e.signs.needs_input_sums for e in emitters):
        return ()
    return tuple(emitter.schedule() for emitter in emitters)


class WideEmitter(DotEmitter):
    """Writes the kernel of one integer contraction."""

    def __init__(self, group: Group, g: Walk, target: Target, threads: int) -> None:
        super().__init__(group, g, target, threads)
        self.signs = replace(self.signs, left=DType.I8)

    def _choose_tile(self, target: Target) -> Tile:
        """The tile with the fewest instructions whose sums leave some registers to other vectors."""
        lanes, most = target.vector_lanes, target.vector_registers * 5 // 8
        best: tuple[float, Tile] | None = None
        for vectors in range(1, ceil_div(self.filters, lanes) + 1):
            filters = min(vectors * lanes, self.filters)
            for rows in range(1, self.g.height + 1):
                for columns in range(1, self.g.width + 1):
                    if rows * columns * filters > most:
                        break
                    cost = self._cost(rows, columns, filters)
                    if best is None or cost < best[0]:
                        best = (cost, Tile(rows, columns, vector_widths(filters, lanes)))
                if rows * filters > most:
                    break
            if filters > most:
                break
        assert best is not None
        return best[1]

    def _cost(self, rows: int, columns: int, filters: int) -> float:
        """Instructions of a step of all tiles of so many pixels and filters."""
        heights, widths, panels = split(self.g.height, rows), split(self.g.width, columns), split(self.filters, filters)
        sizes = [(n * m * k, h * w, f) for _, n, h in heights for _, m, w in widths for _, k, f in panels]
        return sum(n * (3 * pixels * f + pixels + f / 2 + 3) for n, pixels, f in sizes)

    def _declare_weight(self, weight: Value) -> None:
        self.signs = replace(self.signs, left=DType.I8)
        super()._declare_weight(weight)
        axes = tuple(range(weight.type.rank))
        self.lowest: Buffer | None = None
        if self.run_length > QUARTER:
            smallest = Packed(weight, (packing_step("reduce_min", axes=axes, keepdims=False),))
            self.lowest = self.parameters.add(Buffer("m", weight.type.dtype, ()), smallest)

    def _declare_panels(self, weight: Value) -> int:
        width, (whole, parts) = self.tile.channels, wide_parts(self.run_length)
        self.run_bytes = width * (whole * WIDE + len(parts) * HALF)
        pack = packing_step("pack_wide", rows=self.runs, width=width, offset=self.signs.weight_offset)
        self.w = Buffer("w", DType.I8, (self.panels, self.runs * self.run_bytes))
        self.parameters.add(self.w, Packed(weight, (pack,)))
        return self.runs

    def micro_kernel(self, rows: int, columns: int, widths: tuple[int, ...]) -> MicroKernel:
        """What computes one tile."""
        return WideMicroKernel(self, rows, columns, widths)


class WideMicroKernel(MicroKernel):
    """One register tile of integer sums: a vector of partial sums for each pixel and filter."""

    elements = WIDE
    products = 3

    def __init__(self, owner: WideEmitter, rows: int, columns: int, widths: tuple[int, ...]) -> None:
        super().__init__(owner, rows, columns, widths)
        self.wide = owner
        self.filters = sum(widths)
        shape = (rows * columns * self.filters,)
        self.sums = Buffer(owner.names.fresh("acc"), DType.I32, shape, Space.REGISTER, lanes=SUM_LANES)
        self.adds_products = True

    def _start(self, j: Expr) -> None:
        o, block = self.wide, self.block
        block.append(Allocate(self.sums))
        zero = const(0, VectorType(DType.I32, SUM_LANES))
        block += [Store(self.sums, (Const(place),), zero) for place in range(self.sums.shape[0])]
        self.channels = []
        self.starts: list[Expr] = []
        offset = 0
        for width in self.widths:
            channel = let(block, o.names.fresh("c"), j * o.tile.channels + offset)
            start = o.start(channel, width, o.g.planes.kind(self.met) if o.kinds else Const(0)) + o.literal_bias
            if o.bias is not None:
                start = start + Load(o.bias, (channel,), width)
            self.channels.append(channel)
            self.starts.append(let(block, o.names.fresh("start"), start))
            offset += width

    def _accumulate(self, image: Expr, row: Expr, column: Expr, j: Expr) -> None:
        if self.wide.lowest is None:
            super()._accumulate(image, row, column, j)
            return
        outside, arms = self.block, list[list[Stmt]]()
        for self.adds_products in (True, False):
            self.block = []
            super()._accumulate(image, row, column, j)
            arms.append(self.block)
        self.block = outside
        lowest = Load(self.wide.lowest, ())
        fits = Binary("ne", lowest, Const(LOWEST + self.wide.signs.weight_offset, lowest.type.dtype))
        self.block.append(If(fits, tuple(arms[0]), tuple(arms[1])))

    def _extents(self) -> tuple[int, int]:
        return wide_parts(self.wide.run_length)[0], 1 if self.o.g.merges_columns else self.o.g.window[1]

    def _depth(self, kz: Expr, ky: Expr, kx: Expr, k: Expr) -> Expr:
        """Where the weights of a step begin in a panel."""
        g, outer = self.wide.g, self._extents()[1]
        run = (kz * g.window[0] + ky) * outer + kx
        return run * (self.wide.run_bytes // self.wide.tile.channels * self._width) + k * (WIDE * self._width)

    @property
    def _width(self) -> int:
        """Filters of a panel, those included that only fill it up."""
        return self.wide.tile.channels

    def _step(self, image: Expr, y: Expr, x: Expr, j: Expr, depth: Expr) -> list[Stmt]:
        return self._multiply(((WIDE,),), image, y, x, j, depth)

    @property
    def _last_step(self) -> Step | None:
        parts = wide_parts(self.wide.run_length)[1]
        return partial(self._multiply, (parts,)) if parts else None

    def _multiply(
        self, steps: Sequence[tuple[int, ...]], image: Expr, y: Expr, x: Expr, j: Expr, depth: Expr
    ) -> list[Stmt]:
        """All products of a step, whose inputs are one part of sixteen, or one or two smaller ones."""
        (parts,) = steps
        block: list[Stmt] = []
        inputs = [
            self._inputs(block, parts, (image, y, x), r, s) for r in range(self.rows) for s in range(self.columns)
        ]
        for f in range(self.filters):
            weights = self._weights(block, parts, j, depth, f)
            for pixel, values in enumerate(inputs):
                at = (Const(pixel * self.filters + f),)
                products = [Cast(a, DType.I16) * Cast(w, DType.I16) for a, w in zip(values, weights, strict=True)]
                if self.adds_products and len(products) == 2:
                    products = [products[0] + products[1]]
                total: Expr = Load(self.sums, at)
                for product in products:
                    total = AddPairs(product, total)
                block.append(Store(self.sums, at, total))
        return block

    def _inputs(
        self, block: list[Stmt], parts: tuple[int, ...], first: tuple[Expr, Expr, Expr], r: int, s: int
    ) -> list[Expr]:
        """The inputs of a pixel, eight bytes at a time; each of four is there twice, and multiplied once."""
        o, g, (image, y, x) = self.wide, self.wide.g, first
        found: list[Expr] = []
        for part in parts:
            place = (image, y + r * g.strides[0], x + s * (g.strides[1] * g.pitch))
            loaded = o.signs.as_left(Load(o.x, place, part))
            some = let(block, o.names.fresh("a"), Spread(loaded, HALF, 2, 1, 0) if part == QUARTER else loaded)
            found += self._halves(block, some)
            x = x + part
        return found

    def _weights(self, block: list[Stmt], parts: tuple[int, ...], j: Expr, depth: Expr, f: int) -> list[Expr]:
        """The weights of a filter, eight at a time."""
        o, found = self.wide, list[Expr]()
        for number, part in enumerate(parts):
            size = max(part, HALF)
            place = depth + (number * self._width * HALF + f * size)
            found += self._halves(block, let(block, o.names.fresh("w"), Load(o.w, (j, place), size)))
        return found

    def _halves(self, block: list[Stmt], vector: Expr) -> list[Expr]:
        if vector.type.lanes == HALF:
            return [vector]
        return [let(block, self.wide.names.fresh("h"), Spread(vector, HALF, 1, 1, start)) for start in (0, HALF)]

    def _total(self, v: int, at: tuple[Expr, ...]) -> Expr:
        (pixel,), first = at, sum(self.widths[:v])
        sums = [Load(self.sums, (pixel * self.filters + (first + f),)) for f in range(self.widths[v])]
        return _joined(sums) + self.starts[v]


def _joined(sums: list[Load]) -> Expr:
    """Of one, two or four vectors of partial sums, the totals side by side."""
    if len(sums) == 1:
        return Reduce("add", sums[0])
    pairs = [PairSums(sums[i], sums[i + 1]) for i in range(0, len(sums), 2)]
    if len(pairs) == 1:
        return Spread(PairSums(pairs[0], pairs[0]), 2, 1, 1, 0)
    return PairSums(pairs[0], pairs[1])
