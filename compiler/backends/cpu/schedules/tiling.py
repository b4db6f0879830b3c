"""Choosing register tiles: how many result pixels by how many vectors of channels a micro-kernel keeps in registers.

A tile of R pixels by V vectors needs R * V accumulators, V registers for the weights and one for the broadcast
element. It is chosen by an estimate of cycles: one fused multiply-add, one vector load or two scalar broadcasts each
cycle, and at least `LATENCY` accumulators to hide the latency of the multiply-add. Tiles whose pixels fall onto the
same few sets of the L1 cache would evict each other at every step; they count double.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from ....lowering.group import Group, Setting
from ....lowering.loops import LINE, vector_widths
from .partition import largest_share

LATENCY = 4
LOOP_OVERHEAD = 1.0
BROADCAST_CYCLES = 0.1
"""What reading an element costs beside its multiplications: register tiles of several vectors read fewer."""
STREAMED_CYCLES = 15.0
"""What a vector of weights takes that doesn't stay in the L2 cache, in multiplications: measured on Emerald Rapids,
whose cores multiply two vectors in a cycle and read 9 bytes from beyond that cache."""
FAR_WEIGHTS = 1.03
"""By so much a step takes longer whose weights come from the L2 cache, three vectors or more (Zen 3)."""
CONFLICT_PENALTY = 2.0
SPILLED = 2.0
"""By so much the rest of the channels takes longer where it has so many narrow vectors that sums lie in memory."""
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


def conflicts(offsets: list[int], l1_bytes: int) -> bool:
    """True if more of these byte offsets share a set of the L1 cache than it has room for."""
    sets = max(1, l1_bytes // (LINE * CACHE_WAYS))
    lines = {offset // LINE for offset in offsets}
    return max(Counter(line % sets for line in lines).values()) > CACHE_WAYS - RESERVED_WAYS


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """What a tile is chosen for: a height x width grid with `channels` results each. Costs are estimates in cycles."""

    height: int
    width: int
    channels: int
    lanes: int
    registers: int
    min_vectors: int = 1
    max_vectors: int = 4
    pixel_cost: float = 0.0
    """Cycles of a pixel in a step, beside its multiplications, that nothing hides."""
    vector_cost: float = 0.0
    """The same of a vector of weights."""
    held_vectors: int | None = None
    """Vectors of weights that are in registers at a time; None: all of a tile, and an input element."""
    latency: float = LATENCY
    """Cycles from one product of a sum to the next."""
    units: int = 1
    """Vectors that the core multiplies in a cycle; costs are in multiplications, so that others take as many more."""
    pixel_registers: int = 0
    """Registers of a pixel, beside its sums."""
    evicts: Callable[[int, int], bool] = lambda rows, columns: False
    """Whether the pixels of a tile of so many rows and columns displace each other from the cache."""
    threads: int = 1
    """Of several the busiest one counts, with bands of pixels shared out, or with tiles of channels."""
    flat: bool = False
    """Bands are tiles of a row, which holds all pixels."""
    joins_narrow: bool = False
    """A tile of a few channels has narrower vectors, too: not only those that fill a register, and a tile of the rest.
    """
    whole_tiles: bool = False
    """The last tile of a row is computed whole, too."""
    most_kept_vectors: float = math.inf
    """Vectors of channels whose weights stay in the L2 cache from one tile to the next."""
    most_near_vectors: float = math.inf
    """Vectors of channels whose weights come to the registers beside the multiplications."""
    fetching: Callable[[int], float] = lambda vectors: 0.0
    """What a step takes at least to get the weights of so many vectors, in multiplications."""
    shared_input: float = 0.0
    """What it costs, in a step of the sum, that threads which share out channels read the same input."""

    def best(self) -> Tile:
        """The tile with the least estimated time."""
        return self._found()[1]

    def least(self) -> float:
        """The estimated time of the best tile."""
        return self._found()[0]

    def _found(self) -> tuple[float, Tile]:
        least, best = math.inf, Tile(1, 1, self._widths(1))
        for vectors, rows, columns in self._candidates():
            cost = self._cost(vectors, rows, columns)
            if cost >= least:  # the question below takes a while
                continue
            cost *= CONFLICT_PENALTY if self.evicts(rows, columns) else 1
            if cost < least:
                least, best = cost, Tile(rows, columns, self._widths(vectors))
        return least, best

    def promising(self) -> list[Setting]:
        """Settings of tiles by their estimated time, for each number of vectors the quickest few."""
        found: list[tuple[float, Setting]] = []
        for vectors, sizes in groupby(self._candidates(), key=itemgetter(0)):
            timed = sorted((self._cost(*size), size[1:]) for size in sizes)[:_LOOKED_AT]
            timed = sorted((cost * (CONFLICT_PENALTY if self.evicts(*size) else 1), size) for cost, size in timed)
            found += [(cost, (*size, *self._widths(vectors))) for cost, size in timed[:_PROMISING]]
        return [setting for _, setting in sorted(found)]

    def _candidates(self) -> Iterator[tuple[int, int, int]]:
        """Vectors, rows and columns of what fits the registers."""
        whole, rest = divmod(self.channels, self.lanes)
        widest = min(self.max_vectors, max(1, whole + (self.joins_narrow and rest > 0)))
        for vectors in range(self.min_vectors, max(self.min_vectors, widest) + 1):
            most = self._most_pixels(len(self._widths(vectors)))  # few channels may take several narrow vectors
            for columns in range(1, min(self.width, most) + 1):
                for rows in range(1, min(self.height, most // columns) + 1):
                    yield vectors, rows, columns

    def _most_pixels(self, vectors: int) -> int:
        """Of a tile with so many vectors, whose sums fit the registers."""
        held = vectors + 1 if self.held_vectors is None else min(vectors, self.held_vectors)
        return max(1, (self.registers - held) // (vectors + self.pixel_registers))

    def _widths(self, vectors: int) -> tuple[int, ...]:
        return vector_widths(min(self.channels, vectors * self.lanes), self.lanes)

    # ---- the estimate, for one step along the reduction dimension ----

    def _cost(self, vectors: int, rows: int, columns: int) -> float:
        """Of all tiles of the busiest thread."""
        tiles, rest = divmod(self.channels, vectors * self.lanes)
        tail = len(vector_widths(rest, self.lanes))

        def bands(vectors: int) -> tuple[float, float]:
            """Of the busiest thread, and of a single one."""
            if not vectors:
                return 0.0, 0.0
            parts = self._bands(rows, columns, vectors)
            return largest_share(*parts, self.threads), largest_share(*parts, 1)

        awaited = self._awaited(rows * columns, vectors)
        (shared, alone), (shared_tail, alone_tail) = bands(vectors), bands(tail)
        cost = tiles * (shared + awaited) + shared_tail
        if self.threads > 1:
            by_channels = largest_share(tiles, alone + awaited, alone_tail, self.threads)
            cost = min(cost, by_channels + self.shared_input)
        return cost

    def _awaited(self, pixels: int, vectors: int) -> float:
        """What the first tile of some channels waits for weights, where they stay in the L2 cache from then on."""
        if vectors > self.most_kept_vectors or math.isinf(self.most_kept_vectors):
            return 0.0
        return vectors * max(0.0, STREAMED_CYCLES - pixels)

    def _bands(self, rows: int, columns: int, vectors: int) -> tuple[int, float, float]:
        """The whole bands of the grid, of one of them, and of the last one, if it has fewer pixels."""
        if self.flat:
            whole, rest = divmod(self.width, columns)
            return whole, self._tile(columns, vectors), self._tile(rest, vectors) if rest else 0
        whole, rest = divmod(self.height, rows)
        return whole, self._band(rows, columns, vectors), self._band(rest, columns, vectors) if rest else 0

    def _band(self, rows: int, columns: int, vectors: int) -> float:
        whole, rest = divmod(self.width, columns)
        if rest and self.whole_tiles:
            whole, rest = whole + 1, 0
        return whole * self._tile(rows * columns, vectors) + (self._tile(rows * rest, vectors) if rest else 0)

    def _tile(self, pixels: int, vectors: int) -> float:
        busy = max(pixels * vectors, vectors + pixels * self.units / 2, self.latency * self.units)
        busy = max(busy, self.fetching(vectors))
        if pixels > self._most_pixels(vectors):
            busy *= SPILLED
        if vectors > self.most_kept_vectors:
            busy = max(busy, vectors * STREAMED_CYCLES)
        if vectors > self.most_near_vectors:
            busy *= FAR_WEIGHTS
        return busy + self.pixel_cost * pixels + self.vector_cost * vectors + LOOP_OVERHEAD


def decided_tile(group: Group, tiling: Tiling) -> Tile:
    """The best tile, unless another one was chosen for the group."""
    best = tiling.best().setting
    return Tile.of(group.choose("tile", best, lambda: list(dict.fromkeys((best, *tiling.promising())))))


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
