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
    Select,
    Space,
    Stmt,
    Store,
    Var,
    VectorType,
    const,
    minimum,
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

_Place = tuple[Expr, Expr, Expr]
"""Row of points, chunk and panel of filters."""


def chunks_of(channels: int) -> int:
    """So many chunks of equal size take all channels; 1 if they can't be cut into good ones."""
    fewest = -(-channels // CHUNK)
    return next((n for n in range(fewest, 2 * fewest + 1) if channels % n == 0), 1)


@dataclass(frozen=True, slots=True)
class _Ahead:
    """The filters that come next in a thread: all register tiles together ask for them, each for its part."""

    source: Buffer
    lanes: int
    place: _Place
    turn: Expr
    """Number of the register tile."""
    turns: int

    def step(self, k: Expr) -> list[Stmt]:
        """What a step asks for."""
        *_, elements, width = self.source.shape
        vectors = width // self.lanes
        share = -(-f43.TAPS * vectors // self.turns)
        first = (self.turn * (elements // f43.TAPS) + k) * share
        asked = [minimum(first + i, elements * vectors - 1) for i in range(share)]
        places = [(line // vectors, line % vectors * self.lanes) if vectors > 1 else (line, Const(0)) for line in asked]
        return [Prefetch(self.source, (*self.place, *place)) for place in places]


@dataclass(frozen=True, slots=True)
class HalfwayProducts:
    """What a kernel multiplies: tiles by panels of one or two vectors of filters."""

    source: Buffer
    """Filters, [row of points][chunk][panel][channel of a chunk, 3][filter]: in the order in which they are read."""
    lanes: int
    """Of a vector of filters."""
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
        vectors = self.source.shape[-1] // self.lanes
        at_once = f43.POINTS if self.registers > f43.POINTS * TILES * vectors else HALF
        parts = [POINTS[point : point + at_once] for point in range(0, f43.POINTS, at_once)]
        turns = self.tiles // TILES * len(parts)

        def row(i: Expr) -> list[Stmt]:
            def chunk(number: Expr) -> list[Stmt]:
                panel, block = Var(self.names.fresh("j")), list[Stmt]()
                place = i, number, panel
                following = self._following(place, panels, block)

                def tiles(t: Expr) -> list[Stmt]:
                    found: list[Stmt] = []
                    for turn, part in enumerate(parts):
                        ahead = _Ahead(self.source, self.lanes, following, t * len(parts) + turn, turns)
                        found += self._part(place, ahead, first + i * f43.POINTS, t * TILES, part)
                    return found

                block += loop(self.names.fresh("i"), self.tiles // TILES, tiles)
                return [For(panel.name, *panels, tuple(block))]

            return loop(self.names.fresh("chunk"), self.source.shape[1], chunk)

        return loop(self.names.fresh("row"), f43.POINTS, row)

    def _following(self, place: _Place, panels: tuple[Expr, Expr], block: list[Stmt]) -> _Place:
        """The place of the next filters of a thread: of the next panel, or of its first one in the next chunk."""
        _, chunks, count, *_ = self.source.shape
        (row, chunk, panel), (first, end) = place, panels
        here = row * chunks + chunk
        is_last = Binary("eq", panel + 1, end)
        later = minimum(here + 1, f43.POINTS * chunks - 1)
        number = let(block, self.names.fresh("next"), Select(is_last, later, here))
        return number // chunks, number % chunks, Select(is_last, first, minimum(panel + 1, count - 1))

    def _part(self, place: _Place, ahead: _Ahead, first: Expr, tile: Expr, part: Sequence[int]) -> list[Stmt]:
        """The products at some points of a row, which begins at `first`, for the tiles from `tile` on.

        They are added to those of the chunks before, and brought to scale after the last one.
        """
        (_, chunks, _, elements, width), (_, chunk, panel) = self.source.shape, place
        channels = elements // f43.TAPS
        kind, fresh, vectors = VectorType(self.sums.dtype, self.lanes), self.names.fresh, range(0, width, self.lanes)
        shape = (TILES,)
        sums = {
            (q, v): Buffer(fresh("acc"), kind.dtype, shape, Space.REGISTER, kind.lanes) for q in part for v in vectors
        }
        start = chunk * channels

        def each(body: Callable[[int, Buffer, Expr, tuple[Expr, ...]], Stmt]) -> tuple[Stmt, ...]:
            """`body` of a point, an accumulator, a tile and the place of the sum."""
            return tuple(
                body(q, a, Const(s), (first + q, Const(0), (panel * self.tiles + tile + s) * width + v))
                for (q, v), a in sums.items()
                for s in range(TILES)
            )

        def step(k: Expr) -> list[Stmt]:
            inner: list[Stmt] = ahead.step(k)
            points = {v: self._points((*place, k), v, part, inner) for v in vectors}
            for q in part:
                for s in map(Const, range(TILES)):
                    at = (tile + s) * self.pitch + start + k
                    element: Expr = Broadcast(Load(self.inputs, (first + q, Const(0), at)), self.lanes)
                    element = let(inner, fresh("x"), element) if len(vectors) > 1 else element
                    for v in vectors:
                        a = sums[q, v]
                        inner.append(Store(a, (s,), Fma(element, points[v][q], Load(a, (s,)))))
            return inner

        clear = each(lambda q, a, s, at: Store(a, (s,), const(0, kind)))
        resume = each(lambda q, a, s, at: Store(a, (s,), Load(self.sums, at, self.lanes)))
        keep = each(lambda q, a, s, at: Store(self.sums, at, Load(a, (s,))))
        scale = each(lambda q, a, s, at: Store(self.sums, at, Load(a, (s,)) * const(f43.SCALES[q], kind)))
        return [
            *map(Allocate, sums.values()),
            If(Binary("eq", chunk, Const(0)), clear, resume),
            *loop(fresh("k"), channels, step),
            If(Binary("lt", chunk, Const(chunks - 1)), keep, scale),
        ]

    def _points(
        self, place: tuple[Expr, ...], vector: int, part: Sequence[int], block: list[Stmt]
    ) -> Mapping[int, Expr]:
        """A vector of filters of a channel at points of a row, unscaled; `block` computes them."""
        *outer, k = place

        def name(e: Expr) -> Expr:
            return let(block, self.names.fresh("t"), e)

        taps = [(*outer, k * f43.TAPS + tap, Const(vector)) for tap in range(f43.TAPS)]
        elements = [name(Load(self.source, tap, self.lanes)) for tap in taps]
        return dict(zip(part, product([f43.COLUMN[q] for q in part], elements, name), strict=True))
