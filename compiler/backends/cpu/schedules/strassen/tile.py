"""A register tile of one of Strassen's products, and what its sums become: kept sums, and results of two products."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from .....loops.ir import Allocate, Binary, Buffer, Const, Expr, If, Load, Space, Stmt, Store, VectorType
from .....lowering.kernel import let
from .....lowering.loops import loop, starts_of, vector_widths
from .....ops.products.strassen import FIRST, HALVES, LAST_KEPT, LOWER, OTHERS, RIGHT, SECOND
from ..epilogue import Channels, Finish, epilogue, finished_together, loaded_once
from ..micro_kernel import MicroKernel
from ..owner import Owner
from .pairs import Pairs

Total = Callable[[int, tuple[Expr, ...]], Expr]
"""The sums of a vector of filters at a place of the tile."""


class StrassenOwner(Owner, Protocol):
    """What the tile needs to know of the kernel that it is part of."""

    pairs: Pairs
    point: Expr
    """Number of the present product."""
    filters: int
    half: int
    """Filters of the first half."""
    scales: Buffer
    """Powers of two that the sums of filters are multiplied by."""
    by_panels: bool
    """Threads share out panels of filters."""


class RegisterTile(MicroKernel):
    """A register tile of one product: pairs by filters of a half."""

    o: StrassenOwner
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
        lower = let(block, self.o.names.fresh("lower"), (q + 1) % LOWER)
        right = let(block, self.o.names.fresh("right"), q % RIGHT[0] // RIGHT[1])
        if self.room == width and not self.o.by_panels:
            block += self._results(lower, right * self.o.half, width)
        else:  # two places, or threads aren't seen to stay apart
            left = self._results(lower, Const(0), width)
            others = self._results(lower, Const(self.o.half), self.room)
            block.append(If(Binary("eq", right, Const(0)), tuple(left), tuple(others)))
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

    def _results(self, row: Expr, behind: Expr, room: int) -> list[Stmt]:
        """Finish the results of one pixel of each pair for `room` filters, so far behind those of the first half."""
        before, channels, name = self.block, self.channels, self.o.names.fresh
        self.row, self.block, total = row, [], partial(self._sums, row)
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
        made, self.block, self.channels = self.block, before, channels
        return made

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
        pixel = let(block, o.names.fresh("pixel"), o.pairs.pixel(first + s, self.row))
        self.place = o.pairs.place_of(pixel)
        block += super()._store(channels, r, s, total)
        if o.pairs.count % self.columns or (self.row != Const(0) and o.pairs.pixels % HALVES):
            return [If(Binary("lt", (first + s) * HALVES + self.row, Const(o.pairs.pixels)), tuple(block))]
        return block

    def _place(self, image: Expr, row: Expr, column: Expr) -> tuple[Expr, ...]:
        return (image, *self.place[4 - self.o.group.result.type.rank :])


def _from(total: Total, first: int, v: int, at: tuple[Expr, ...]) -> Expr:
    """The sums of vector v behind the first one."""
    return total(first + v, at)
