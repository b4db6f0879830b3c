"""Products of matrices whose factors and results are anywhere: register tiles for schedules with several products.

A tile keeps some rows by some vectors of columns in registers, as the micro-kernel of contractions does (see
`micro_kernel`); what it loads, starts from and does with its sums is up to the schedule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .....loops.ir import Allocate, Broadcast, Buffer, Const, Expr, Fma, Load, Space, Stmt, Store
from .....lowering.kernel import Names, let
from .....lowering.loops import loop, vector_widths
from .....types import DType
from ..tiling import Tile, split


@dataclass(frozen=True, slots=True)
class Columns:
    """Neighbouring columns: `width` from number `first` on, which stand `offset` behind the first of tile `tile`."""

    first: Expr
    width: int
    tile: Expr
    offset: int


@dataclass(frozen=True)
class TiledProduct:
    """Sums over k of left(row, k) * right(k, columns), for all rows and columns."""

    names: Names
    dtype: DType
    lanes: int
    tile: Tile
    """Rows (as the tile's columns) and vectors that registers hold."""
    start: Callable[[Expr, Columns], Expr]
    """What the sums of a row start from."""
    left: Callable[[Expr, Expr], Expr]
    right: Callable[[Expr, Columns], Expr]
    finish: Callable[[Expr, Columns, Expr], list[Stmt]]
    """What is done with the sums of a row."""

    def loops(self, rows: int, columns: int, inner: int) -> list[Stmt]:
        """The product, tile by tile: tiles of columns outside, of rows inside."""
        whole, rest = divmod(columns, self.tile.channels)
        panels = [(0, whole, self.tile.widths)] * bool(whole)
        panels += [(whole, 1, vector_widths(rest, self.lanes))] * bool(rest)
        body: list[Stmt] = []
        for first, count, widths in panels:
            for row, tiles, height in split(rows, self.tile.columns):
                body += self._panels(first, count, widths, (row, tiles, height), inner)
        return body

    def _panels(
        self, first: int, count: int, widths: tuple[int, ...], rows: tuple[int, int, int], inner: int
    ) -> list[Stmt]:
        row, tiles, height = rows

        def panel(j: Expr) -> list[Stmt]:
            return loop(
                "t", tiles, lambda t: self._tile(t * height + row, height, self._columns(j + first, widths), inner)
            )

        return loop("j", count, panel)

    def _columns(self, j: Expr, widths: tuple[int, ...]) -> list[Columns]:
        offsets = [sum(widths[:i]) for i in range(len(widths))]
        return [Columns(j * self.tile.channels + o, w, j, o) for o, w in zip(offsets, widths, strict=True)]

    def _tile(self, row: Expr, height: int, columns: list[Columns], inner: int) -> list[Stmt]:
        block: list[Stmt] = []
        name = self.names.fresh
        vectors = [Columns(let(block, name("c"), c.first), c.width, c.tile, c.offset) for c in columns]
        sums = [Buffer(name("acc"), self.dtype, (height,), Space.REGISTER, c.width) for c in vectors]
        for total, c in zip(sums, vectors, strict=True):
            block.append(Allocate(total))
            block += [Store(total, (Const(r),), self.start(row + r, c)) for r in range(height)]
        block += loop(name("k"), inner, lambda k: self._step(row, height, vectors, sums, k))
        for total, c in zip(sums, vectors, strict=True):
            for r in range(height):
                block += self.finish(row + r, c, Load(total, (Const(r),)))
        return block

    def _step(self, row: Expr, height: int, vectors: list[Columns], sums: list[Buffer], k: Expr) -> list[Stmt]:
        block: list[Stmt] = []
        factors = [let(block, self.names.fresh("w"), self.right(k, c)) for c in vectors]
        for r in range(height):
            one = let(block, self.names.fresh("a"), self.left(row + r, k))
            for total, factor, c in zip(sums, factors, vectors, strict=True):
                spread = spread_out(one, c.width)
                block.append(Store(total, (Const(r),), Fma(spread, factor, Load(total, (Const(r),)))))
        return block


def spread_out(scalar: Expr, width: int) -> Expr:
    """A scalar in every lane."""
    return Broadcast(scalar, width) if width > 1 else scalar
