"""Winograd's products with filters that come to their points in registers, one row of points after another.

A step of the sum reads the 9 elements of a vector of filters, brings them to the 6 points of a row, and multiplies
these by the inputs of four tiles. Filters are brought to points anew for each row and for each four tiles, but are not
stored at their points: where there are no more tiles than that, stores of 36 vectors for each 9 that are loaded take
longer than all else. A chunk of channels is multiplied at all rows of points while its filters are in the L1 cache, and
the next one is asked for meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from .....loops.ir import (
    Allocate,
    Binary,
    Broadcast,
    Buffer,
    Const,
    Expr,
    Fma,
    If,
    Load,
    LoopKind,
    Prefetch,
    Space,
    Stmt,
    Store,
    VectorType,
    const,
)
from .....lowering.kernel import Names, let
from .....lowering.loops import loop
from .....ops.windows import winograd as f43
from ..linear import product as multiplied

TILES = 4
"""Multiplied at a time: their sums at a row of points take 24 registers, and the points 6."""
CHUNK = 32
"""Channels after which the next row of points comes: their filters stay in the L1 cache."""


@dataclass(frozen=True, slots=True)
class RowProducts:
    """What a kernel multiplies: tiles by panels of one vector of filters."""

    source: Buffer
    """Filters with the middle row and column scaled, [panel][channel][9][filter]."""
    inputs: Buffer
    """Tiles at their points, [36 of each thread][1][tile, channel]."""
    sums: Buffer
    """Products of a panel, summed over the channels, [36 of each thread][1][tile, filter]."""
    pitch: int
    """Elements from one tile's channels to the next's."""
    names: Names

    def of_panel(self, j: Expr, first: Expr, tiles: int) -> list[Stmt]:
        """All products of panel j and so many tiles; a thread's points are `first` to `first` + 35."""
        whole, rest = divmod(self.source.shape[1], CHUNK)

        def part(chunk: Expr, count: int) -> list[Stmt]:
            def block(t: Expr) -> list[Stmt]:
                rows: list[Stmt] = []
                for row in range(f43.POINTS):
                    rows += self._row(j, first + row * f43.POINTS, t * TILES, row, chunk, count)
                return rows

            return loop(self.names.fresh("i"), tiles // TILES, block)

        chunks = loop(self.names.fresh("chunk"), whole, lambda chunk: part(chunk, CHUNK)) if whole else []
        return [*chunks, *(part(Const(whole), rest) if rest else []), *self._scaled(first, tiles)]

    def _scaled(self, first: Expr, tiles: int) -> list[Stmt]:
        """Bring sums to scale: filters came to multiples of their points."""
        width = self.source.shape[-1]
        kind = VectorType(self.sums.dtype, width)
        scales = [(q, a * b) for q, (a, b) in enumerate(product(f43.SCALES, repeat=2)) if a * b != 1]

        def tile(t: Expr) -> list[Stmt]:
            places = [((first + q, Const(0), t * width), scale) for q, scale in scales]
            return [Store(self.sums, at, Load(self.sums, at, width) * const(scale, kind)) for at, scale in places]

        return loop(self.names.fresh("t"), tiles, tile)

    def _row(self, j: Expr, first: Expr, tile: Expr, row: int, chunk: Expr, count: int) -> list[Stmt]:
        """The products at a row of points, for the tiles from `tile` on, of a chunk that has so many channels.

        They are added to those of the chunks before.
        """
        width, fresh = self.source.shape[-1], self.names.fresh
        sums = [Buffer(fresh("acc"), self.sums.dtype, (TILES,), Space.REGISTER, lanes=width) for _ in range(f43.POINTS)]
        zero = const(0, VectorType(self.sums.dtype, width))
        start = chunk * CHUNK

        def sum_at(q: int, s: Expr) -> tuple[Expr, ...]:
            return (first + q, Const(0), (tile + s) * width)

        def clear(s: Expr) -> list[Stmt]:
            return [Store(a, (s,), zero) for a in sums]

        def resume(s: Expr) -> list[Stmt]:
            return [Store(a, (s,), Load(self.sums, sum_at(q, s), width)) for q, a in enumerate(sums)]

        def step(k: Expr) -> list[Stmt]:
            inner: list[Stmt] = []
            points = self._points(j, start + k, row, inner)

            def added(s: Expr) -> list[Stmt]:
                at = (tile + s) * self.pitch + start + k
                places = [(first + q, Const(0), at) for q in range(f43.POINTS)]
                elements = [Broadcast(Load(self.inputs, place), width) for place in places]
                each = zip(sums, elements, points, strict=True)
                return [Store(a, (s,), Fma(element, point, Load(a, (s,)))) for a, element, point in each]

            return [*inner, *loop(fresh("s"), TILES, added, LoopKind.UNROLL)]

        def store(s: Expr) -> list[Stmt]:
            return [Store(self.sums, sum_at(q, s), Load(a, (s,))) for q, a in enumerate(sums)]

        return [
            *map(Allocate, sums),
            If(
                Binary("eq", chunk, Const(0)),
                tuple(loop(fresh("s"), TILES, clear, LoopKind.UNROLL)),
                tuple(loop(fresh("s"), TILES, resume, LoopKind.UNROLL)),
            ),
            *loop(fresh("k"), count, step),
            *loop(fresh("s"), TILES, store, LoopKind.UNROLL),
        ]

    def _points(self, j: Expr, k: Expr, row: int, block: list[Stmt]) -> Sequence[Expr]:
        """The filters of channel k at a row of points, unscaled; `block` computes them."""
        _, _, taps, width = self.source.shape

        def name(e: Expr) -> Expr:
            return let(block, self.names.fresh("t"), e)

        def place(tap: int) -> tuple[Expr, ...]:
            return (j, k, Const(tap), Const(0))

        def column(x: int) -> Expr:
            """Of the filter, at the row of points."""
            factors = [(c, y) for y, c in enumerate(f43.COLUMN[row]) if c]
            loaded = [name(Load(self.source, place(y * f43.TAPS + x), width)) for _, y in factors]
            return multiplied((tuple(c for c, _ in factors),), loaded, name)[0]

        # The lines of the next chunk, some for each row of points.
        for tap in range(row, taps, f43.POINTS):
            block.append(Prefetch(self.source, place(tap), ahead=CHUNK * taps * width))
        return multiplied(f43.COLUMN, [column(x) for x in range(f43.TAPS)], name)
