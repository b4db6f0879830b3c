"""Choosing register tiles: how many result pixels by how many vectors of channels a micro-kernel keeps in registers.

A tile of R pixels by V vectors needs R * V accumulators, V registers for the weights and one for the broadcast
element. It is chosen by an estimate of cycles: one fused multiply-add, one vector load or two scalar broadcasts each
cycle, and at least `LATENCY` accumulators to hide the latency of the multiply-add. Tiles whose pixels fall onto the
same few sets of the L1 cache would evict each other at every step; they count double.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ....lowering.group import Group, Setting
from ....lowering.loops import vector_widths
from .geometry import Pair
from .partition import largest_share

LATENCY = 4
LOOP_OVERHEAD = 1.0
BROADCAST_CYCLES = 0.1
"""What reading an element costs beside its multiplications: register tiles of several vectors read fewer."""
CONFLICT_PENALTY = 2.0
CACHE_LINE = 64
CACHE_WAYS = 8
RESERVED_WAYS = 2
"""Ways of each set that the weights and the result need."""
_LOOKED_AT = 24
_PROMISING = 6
"""Of the tiles with one number of vectors, those whose conflicts are looked at, and those that are worth a try."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A micro-kernel's extent: `rows` x `columns` pixels by vectors of `widths` channels."""

    rows: int
    columns: int
    widths: tuple[int, ...]

    @staticmethod
    def of(setting: Setting) -> Tile:
        """The tile of a setting."""
        assert isinstance(setting, tuple)
        rows, columns, *widths = setting
        return Tile(rows, columns, tuple(widths))

    @property
    def setting(self) -> tuple[int, ...]:
        """It as a decision of a schedule: rows, columns, widths."""
        return (self.rows, self.columns, *self.widths)

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.rows * self.columns

    @property
    def channels(self) -> int:
        """Number of channels."""
        return sum(self.widths)


def split(size: int, part: int) -> list[tuple[int, int, int]]:
    """Cut a size into equal parts and a rest: (start, count, extent) of each kind."""
    whole, rest = divmod(size, part)
    return [(0, whole, part)] * bool(whole) + [(whole * part, 1, rest)] * bool(rest)


@dataclass(frozen=True, slots=True)
class _Costs:
    """Estimated cycles for one step along the reduction dimension."""

    pixel: float

    def tile(self, pixels: int, vectors: int) -> float:
        busy = max(pixels * vectors, vectors + pixels / 2, LATENCY)
        return busy + self.pixel * pixels + LOOP_OVERHEAD

    def columns(self, width: int, columns: int, rows: int, vectors: int) -> float:
        whole, rest = divmod(width, columns)
        return whole * self.tile(rows * columns, vectors) + (self.tile(rows * rest, vectors) if rest else 0)

    def bands(self, size: Pair, part: Pair, vectors: int, threads: int, *, flat: bool) -> float:
        """Of the busiest thread, which computes some of the bands of a grid of `size` in tiles of `part`."""
        (height, width), (rows, columns) = size, part
        if flat:
            whole, rest = divmod(width, columns)
            last = self.tile(rest, vectors) if rest else 0
            return largest_share(whole, self.tile(columns, vectors), last, threads)
        whole, rest = divmod(height, rows)
        last = self.columns(width, columns, rest, vectors) if rest else 0
        return largest_share(whole, self.columns(width, columns, rows, vectors), last, threads)


def _candidates(height: int, width: int, vectors: int, registers: int, apart: int) -> list[tuple[int, int]]:
    most = max(1, (registers - vectors - 1) // (vectors + apart))
    return [(r, c) for c in range(1, min(width, most) + 1) for r in range(1, min(height, most // c) + 1)]


def conflicts(offsets: list[int], l1_bytes: int) -> bool:
    """True if more of these byte offsets share a set of the L1 cache than it has room for."""
    sets = max(1, l1_bytes // (CACHE_LINE * CACHE_WAYS))
    lines = {offset // CACHE_LINE for offset in offsets}
    return max(Counter(line % sets for line in lines).values()) > CACHE_WAYS - RESERVED_WAYS


def choose_tile(
    height: int,
    width: int,
    channels: int,
    *,
    lanes: int,
    registers: int,
    min_vectors: int = 1,
    max_vectors: int = 4,
    pixel_cost: float = 0.0,
    pixel_registers: int = 0,
    evicts: Callable[[int, int], bool] = lambda rows, columns: False,
    threads: int = 1,
    flat: bool = False,
    shared_input: float = 0.0,
) -> Tile:
    """The tile with the least estimated time over a height x width grid with `channels` results each.

    Of several threads the busiest one counts, with bands of pixels shared out, or with tiles of channels, which costs
    `shared_input` cycles for each step of the sum.

    Each pixel needs `pixel_registers` beside its sums; in a step it takes, beside its multiplications, `pixel_cost`
    cycles that nothing hides. `evicts(rows, columns)` tells whether the pixels of such a tile displace each other from
    the cache.
    """
    best: tuple[float, Tile] | None = None
    costs = _Costs(pixel_cost)
    whole_vectors = max(1, channels // lanes)

    def busiest(part: Pair, tiles: int, vectors: int, tail: int, threads: int) -> float:
        cost = tiles * costs.bands((height, width), part, vectors, threads, flat=flat)
        return cost + (costs.bands((height, width), part, tail, threads, flat=flat) if tail else 0)

    for vectors in range(min_vectors, max(min_vectors, min(max_vectors, whole_vectors)) + 1):
        tiles, rest = divmod(channels, vectors * lanes)
        tail = len(vector_widths(rest, lanes))
        for rows, columns in _candidates(height, width, vectors, registers, pixel_registers):
            cost = busiest((rows, columns), tiles, vectors, tail, threads)
            if threads > 1:
                alone = busiest((rows, columns), 1, vectors, 0, 1)
                end = busiest((rows, columns), 1, tail, 0, 1) if tail else 0
                cost = min(cost, largest_share(tiles, alone, end, threads) + shared_input)
            if best is not None and cost >= best[0]:  # the question below takes a while
                continue
            if evicts(rows, columns):
                cost *= CONFLICT_PENALTY
            if best is None or cost < best[0]:
                widths = vector_widths(min(channels, vectors * lanes), lanes)
                best = (cost, Tile(rows, columns, widths))
    assert best is not None
    return best[1]


def decided_tile(group: Group, height: int, width: int, channels: int, **limits: Any) -> Tile:
    """The tile that `choose_tile` finds with these limits, unless another one was chosen for the group."""
    best = choose_tile(height, width, channels, **limits).setting
    return Tile.of(group.choose("tile", best, lambda: _promising_tiles(best, height, width, channels, limits)))


def _promising_tiles(
    best: Setting, height: int, width: int, channels: int, limits: Mapping[str, Any]
) -> Sequence[Setting]:
    """Settings of tiles by their estimated time: `best`, then for each number of vectors the quickest few."""
    lanes, least = limits["lanes"], limits.get("min_vectors", 1)
    most = max(least, min(limits.get("max_vectors", 4), max(1, channels // lanes)))
    evicts = limits.get("evicts", lambda rows, columns: False)
    costs = _Costs(limits.get("pixel_cost", 0.0))
    found: list[tuple[float, Setting]] = []
    for vectors in range(least, most + 1):
        tiles, rest = divmod(channels, vectors * lanes)
        tail = len(vector_widths(rest, lanes))
        widths = vector_widths(min(channels, vectors * lanes), lanes)
        sizes = _candidates(height, width, vectors, limits["registers"], limits.get("pixel_registers", 0))
        timed = [
            (sum(n * costs.grid(height, width, *size, v) for n, v in ((tiles, vectors), (1, tail)) if n * v), size)
            for size in sizes
        ]
        timed = [(cost * (CONFLICT_PENALTY if evicts(*size) else 1), size) for cost, size in sorted(timed)[:_LOOKED_AT]]
        found += [(cost, (*size, *widths)) for cost, size in sorted(timed)[:_PROMISING]]
    return list(dict.fromkeys((best, *(setting for _, setting in sorted(found)))))


@dataclass(frozen=True, slots=True)
class Segment:
    """`count` tiles of `columns` pixels side by side from column `start` on."""

    start: int
    count: int
    columns: int


@dataclass(frozen=True, slots=True)
class Band:
    """One row of tiles: `rows` pixels high."""

    rows: int
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """All bands of one image: `full` equal ones, then perhaps a lower (for flat grids: shorter) last one."""

    band: Band
    full: int
    last: Band | None

    @property
    def count(self) -> int:
        """Bands of one image."""
        return self.full + (self.last is not None)


def _segments(width: int, columns: int) -> tuple[Segment, ...]:
    whole, rest = divmod(width, columns)
    segments = [Segment(0, whole, columns)] if whole else []
    if rest:
        segments.append(Segment(whole * columns, 1, rest))
    return tuple(segments)


def grid_of(height: int, width: int, tile: Tile, *, flat: bool) -> Grid:
    """Divide a height x width result into bands of tiles; a flat one is a single row, of which each band is a part."""
    if flat:
        full, rest = divmod(width, tile.columns)
        last = Band(1, _segments(rest, rest)) if rest else None
        return Grid(Band(1, _segments(tile.columns, tile.columns)), full, last)
    full, rest = divmod(height, tile.rows)
    segments = _segments(width, tile.columns)
    return Grid(Band(tile.rows, segments), full, Band(rest, segments) if rest else None)
