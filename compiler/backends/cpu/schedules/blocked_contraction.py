"""Contractions with long sums, block by block: all pixels meet a block of weights before the next one is read.

Where the weights of a channel tile fill the L2 cache, a core that outruns its caches waits for them, and for those of
the next tile. So the sums are made in the parts into which they are cut in any case (see `partial_sums`): the weights
of a part serve all pixels, while those of the next part are asked for. Totals wait on the stack.
"""

from __future__ import annotations

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
    const,
)
from ....lowering.kernel import let
from ....lowering.loops import ceil_div, loop, vector_loop
from ....types import DType
from .contraction import ContractionEmitter
from .geometry import Walk
from .micro_kernel import MicroKernel
from .partial_sums import cut_of

TOTAL_BYTES = 64 * 1024
"""Totals on the stack, at most."""


def is_worth_blocks(emitter: ContractionEmitter) -> bool:
    """Are sums cut into equal parts, and weights asked for that don't fit the L2 cache beside those in use?"""
    walk, parts = emitter.g, _parts(emitter.g)
    if not walk.flat or walk.depth != walk.channels or walk.channel_rows or emitter.next_panel or not emitter.ahead:
        return False
    return emitter.dtype is emitter.w.dtype is DType.F32 and parts > 1 and not walk.depth % parts


def _parts(walk: Walk) -> int:
    """How many parts the sums of a flat walk have."""
    cut = cut_of(walk.depth, 1, 1, 1)
    return cut.parts if cut else 1


class BlockedEmitter(ContractionEmitter):
    """Writes the kernel of a flat walk whose sums are made part by part, in sweeps whose totals fit the stack."""

    part: Expr | None = None
    """The part at hand ..."""
    start: Expr
    """... its first step ..."""
    number: Expr
    """... and the band, among those whose totals are on the stack."""
    bands: int
    """So many there are at most."""

    def _by_channels(self, kind: LoopKind) -> list[Stmt]:
        sweeps = self._sweeps(self.grid.count)

        def panel(j: Expr) -> list[Stmt]:
            def over(widths: tuple[int, ...]) -> list[Stmt]:
                return loop("p", sweeps, lambda p: self._sweep(p, sweeps, j, widths))

            main = over(self.tile.widths) if self.tiles else []
            if not self.last_widths:
                return main
            last = over(self.last_widths)
            return [If(Binary("lt", j, Const(self.tiles)), tuple(main), tuple(last))] if main else last

        return loop("j", self.panels, panel, kind)

    def _sweeps(self, bands: int) -> int:
        tile = self.tile.columns * self.tile.channels * self.dtype.itemsize
        fewest = ceil_div(bands, max(1, TOTAL_BYTES // tile))
        return min(ceil_div(fewest, self.threads) * self.threads, bands)

    def _sweep(self, p: Expr, sweeps: int, j: Expr, widths: tuple[int, ...]) -> list[Stmt]:
        parts = _parts(self.g)
        self.steps = self.g.depth // parts
        self.number, self.bands = self._number_in_sweep(sweeps)
        shape = (self.bands * self.tile.columns, self.tile.channels)
        self.totals = Buffer(self.names.fresh("totals"), self.dtype, shape, Space.STACK)

        def clear(r: Expr) -> list[Stmt]:
            def vector(c: Var, width: int) -> list[Stmt]:
                return [Store(self.totals, (r, c), const(0, VectorType(self.dtype, width)))]

            return vector_loop(self.names, sum(widths), self.lanes, vector)

        def part(number: Expr) -> list[Stmt]:
            block: list[Stmt] = []
            self.part, self.start = number, let(block, self.names.fresh("start"), number * self.steps)
            return [*block, *super(BlockedEmitter, self)._sweep(p, sweeps, j, widths)]

        return [Allocate(self.totals), *loop("r", shape[0], clear), *loop("part", parts, part)]

    def micro_kernel(self, rows: int, columns: int, widths: tuple[int, ...]) -> MicroKernel:
        """What computes one tile, or adds a part to its totals."""
        if self.part is None:
            return super().micro_kernel(rows, columns, widths)
        return _PartKernel(self, columns, widths)


class _PartKernel(MicroKernel):
    """A part of the sums of a register tile: it is added to their totals, from which the last one makes results."""

    def __init__(self, owner: BlockedEmitter, columns: int, widths: tuple[int, ...]) -> None:
        super().__init__(owner, 1, columns, widths)
        self.blocked = owner
        self.ahead = self._next

    def _next(self, step: Expr) -> tuple[Expr, int]:
        """All bands together ask for the weights of the next part, which lie behind those of this one."""
        o = self.blocked
        return o.start + (o.number * o.steps + Var("k")) // o.bands, o.steps * o.tile.channels

    def _fetch(self, image: Expr, row: Expr, column: Expr) -> None:
        before, self.block = self.block, []
        super()._fetch(image, row, column)
        asked, self.block = self.block, before
        if asked:
            self.block.append(If(self._has_more, (), tuple(asked)))

    @property
    def _has_more(self) -> Expr:
        """Is another part to follow?"""
        assert self.blocked.part is not None
        return Binary("lt", self.blocked.part, Const(_parts(self.blocked.g) - 1))

    def _accumulate(self, image: Expr, row: Expr, column: Expr, j: Expr) -> None:
        o, zero = self.blocked, Const(0)
        multiply = self._multiplying(image, row, column, j)
        body = multiply(self._step, (zero, zero, zero), o.start + Var("k"))
        self.block.append(For("k", zero, Const(o.steps), tuple(body)))

    def _place_of_total(self, v: int, at: tuple[Expr, ...]) -> tuple[Expr, Expr]:
        return self.blocked.number * self.blocked.tile.columns + at[0], Const(sum(self.widths[:v]))

    def _total(self, v: int, at: tuple[Expr, ...]) -> Expr:
        total = Load(self.blocked.totals, self._place_of_total(v, at), self.widths[v])
        return total + Load(self.accumulators[v], at)

    def _finish(self, image: Expr, row: Expr, column: Expr) -> None:
        o = self.blocked
        before, self.block = self.block, []
        super()._finish(image, row, column)
        results, self.block = self.block, before

        def add(r: Expr, s: Expr) -> list[Stmt]:
            vectors = range(len(self.widths))
            return [Store(o.totals, self._place_of_total(v, (s,)), self._total(v, (s,))) for v in vectors]

        self.block.append(If(self._has_more, tuple(self._pixels(add)), tuple(results)))
