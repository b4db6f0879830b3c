"""Winograd's products with filters that were brought half the way to their points, and come to them in registers.

At their points filters take four times their memory, with only their columns there twice. For few tiles a processor
waits for that memory. So a step of the sum reads the 3 elements of a vector of filters at a row of points, makes points
of them by one product and two sums for each three, and multiplies these by the inputs of four tiles.

A row of points comes after the other, and of a row a chunk of channels, whose inputs stay in the L1 cache while all
filters pass by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .....loops.ir import (
    Allocate,
    Binary,
    Broadcast,
    Buffer,
    Const,
    Expr,
    Fma,
    For,
    If,
    Load,
    Prefetch,
    Space,
    Stmt,
    Store,
    Var,
    VectorType,
    const,
)
from .....lowering.kernel import Names, let
from .....lowering.loops import loop
from .....ops.windows import winograd as f43
from ..linear import product
from .rows import TILES

HALF = 3
"""Points of a row whose sums for so many tiles leave 4 of 16 registers."""
POINTS = (0, 1, 2, 5, 3, 4)
"""First, in either half, the one that is an element of the filter, whose register is free then."""
CHUNK = 32
"""So many channels' filters and inputs share the L1 cache."""
AHEAD = 32
"""Channels whose filters are asked for before they are read."""


def chunks_of(channels: int) -> int:
    """So many chunks of equal size take all channels; 1 if they can't be cut into good ones."""
    fewest = -(-channels // CHUNK)
    return next((n for n in range(fewest, 2 * fewest + 1) if channels % n == 0), 1)


@dataclass(frozen=True, slots=True)
class HalfwayProducts:
    """What a kernel multiplies: tiles by panels of one vector of filters."""

    source: Buffer
    """Filters, [row of points][chunk][panel][channel of a chunk][3][filter]: in the order in which they are read."""
    inputs: Buffer
    """Tiles at their points, [36 of each thread][1][tile, channel]."""
    sums: Buffer
    """Products, summed over the channels, [36 of each thread][1][panel, tile, filter]."""
    pitch: int
    """Elements from one tile's channels to the next's."""
    tiles: int
    """Of a block."""
    registers: int
    """For vectors."""
    names: Names

    def of_panels(self, first: Expr, panels: tuple[Expr, Expr]) -> list[Stmt]:
        """All products of a range of panels and a block; a thread's points are `first` to `first` + 35."""
        at_once = f43.POINTS if self.registers > f43.POINTS * TILES else HALF
        parts = [POINTS[start : start + at_once] for start in range(0, f43.POINTS, at_once)]

        def row(i: Expr) -> list[Stmt]:
            def chunk(number: Expr) -> list[Stmt]:
                def block(t: Expr) -> list[Stmt]:
                    place = (i, number, Var(panel))
                    return [s for part in parts for s in self._part(place, first + i * f43.POINTS, t * TILES, part)]

                panel = self.names.fresh("j")
                return [For(panel, *panels, tuple(loop(self.names.fresh("i"), self.tiles // TILES, block)))]

            return loop(self.names.fresh("chunk"), self.source.shape[1], chunk)

        return loop(self.names.fresh("row"), f43.POINTS, row)

    def _part(self, place: tuple[Expr, Expr, Expr], first: Expr, tile: Expr, part: Sequence[int]) -> list[Stmt]:
        """The products at some points of a row, which begins at `first`, for the tiles from `tile` on.

        They are added to those of the chunks before, and brought to scale after the last one.
        """
        (_, chunks, _, channels, _, width), (_, chunk, panel) = self.source.shape, place
        kind, fresh = VectorType(self.sums.dtype, width), self.names.fresh
        sums = {q: Buffer(fresh("acc"), kind.dtype, (TILES,), Space.REGISTER, lanes=width) for q in part}
        start = chunk * channels

        def sum_at(q: int, s: Expr) -> tuple[Expr, ...]:
            return (first + q, Const(0), (panel * self.tiles + tile + s) * width)

        def each(body: Callable[[int, Buffer, Expr], Stmt]) -> tuple[Stmt, ...]:
            return tuple(body(q, a, Const(s)) for q, a in sums.items() for s in range(TILES))

        def step(k: Expr) -> list[Stmt]:
            inner: list[Stmt] = []
            points = self._points((*place, k), part, inner)

            def added(q: int, a: Buffer, s: Expr) -> Stmt:
                at = (tile + s) * self.pitch + start + k
                element = Broadcast(Load(self.inputs, (first + q, Const(0), at)), width)
                return Store(a, (s,), Fma(element, points[q], Load(a, (s,))))

            return [*inner, *each(added)]

        clear = each(lambda q, a, s: Store(a, (s,), const(0, kind)))
        resume = each(lambda q, a, s: Store(a, (s,), Load(self.sums, sum_at(q, s), width)))
        keep = each(lambda q, a, s: Store(self.sums, sum_at(q, s), Load(a, (s,))))
        scale = each(lambda q, a, s: Store(self.sums, sum_at(q, s), Load(a, (s,)) * const(f43.SCALES[q], kind)))
        return [
            *map(Allocate, sums.values()),
            If(Binary("eq", chunk, Const(0)), clear, resume),
            *loop(fresh("k"), channels, step),
            If(Binary("lt", chunk, Const(chunks - 1)), keep, scale),
        ]

    def _points(self, place: tuple[Expr, ...], part: Sequence[int], block: list[Stmt]) -> Mapping[int, Expr]:
        """Filters of a channel at points of a row, unscaled; `block` computes them, and asks for later ones."""
        *_, taps, width = self.source.shape

        def name(e: Expr) -> Expr:
            return let(block, self.names.fresh("t"), e)

        for tap in range(taps):
            if len(part) > HALF or (tap == 1) == (0 not in part):  # each line by one part of a row
                block.append(Prefetch(self.source, (*place, Const(tap), Const(0)), ahead=AHEAD * taps * width))
        elements = [name(Load(self.source, (*place, Const(tap), Const(0)), width)) for tap in range(taps)]
        return dict(zip(part, product([f43.COLUMN[q] for q in part], elements, name), strict=True))
