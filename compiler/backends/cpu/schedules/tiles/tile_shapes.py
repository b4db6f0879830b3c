"""Choosing how a contraction by tile registers is cut: pixels and channels of a step, and which loop goes outside.

A step multiplies tiles of up to 16 pixels by up to 16 words of their inputs, of four bytes each, with tiles of those
words' weights for 16 channels, each with each. The estimate, in cycles of a core (Emerald Rapids): a product takes one
for each pixel, but no fewer than `LEAST_PRODUCT`, however few words there are; lines of memory are loaded beside it,
each in `FIRST_CACHE` from the first cache, in `SECOND_CACHE` more from the second, in `THIRD_CACHE` more from beyond.
The longer of the two hides the shorter but for a part, `SHOWN`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, lru_cache

from .....lowering.loops import LINE, ceil_div
from ..epilogue import finished_at_once
from ..geometry import Walk
from ..tiling import Band, Grid, Tile, grid_of

ROWS = 16
"""Most pixels of a tile."""
COLUMNS = 16
"""Channels of a tile."""
WORD = 4
"""Bytes of a word."""
WORDS = 16
"""Most words of a tile's row."""
REGISTERS = 8
LEAST_PRODUCT = 9.0
FIRST_CACHE = 0.4
SECOND_CACHE = 0.9
THIRD_CACHE = 2.4
SHOWN = 0.5
OVERHEAD = 40.0
"""Until the first product of tiles is done, and the last one."""
SUMS = 20.0
"""Clearing and storing a tile of sums."""
RESULT_LINE = 4.0
"""For each pixel a line of the result, or of what its end reads, of which vectors write parts."""
GROUP = 4.0
"""For each pixel vectors that are finished together, in which few of them wait for each other."""
CONFIGURING = 300.0
"""Giving registers other shapes."""
FIRST_CACHE_SHARE = 0.6
"""Of the first cache, what the side of a product that stays there may fill."""
SECOND_CACHE_SHARE = 0.6


def parts_of(columns: int) -> tuple[int, ...]:
    """Pixels side by side as tiles that are as equal as can be."""
    count = ceil_div(columns, ROWS)
    size, more = divmod(columns, count)
    return (size + 1,) * more + (size,) * (count - more)


@dataclass(frozen=True, slots=True)
class Steps:
    """How a run of the sum that is contiguous in the input is cut: `count` steps of `words` words, a last one of
    `rest`.
    """

    words: int
    count: int
    rest: int

    @classmethod
    def of(cls, run: int) -> Steps:
        """The fewest steps that are equal, where that takes hardly more; else a shorter last one. A run has bytes."""
        words = ceil_div(run, WORD)
        fewest = ceil_div(words, WORDS)
        for count in range(fewest, fewest + fewest // 3 + 1):
            if words % count == 0:
                return cls(words // count, count, 0)
        return cls(WORDS, words // WORDS, words % WORDS)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The words of all steps of different size."""
        return (self.words, self.rest) if self.rest else (self.words,)

    @property
    def total(self) -> int:
        """Words of the run."""
        return self.words * self.count + self.rest


def registers(pixels: tuple[int, ...], channels: int, steps: Steps) -> int:
    """Tile registers that a step takes with tiles of so many pixels, and so many tiles of channels (see `held`)."""
    count = len(pixels)
    return count * channels + min(count + 1, len(set(pixels)) + channels) * len(steps.sizes)


def held(pixels: tuple[int, ...], channels: int) -> tuple[Counter[int], int]:
    """Registers for inputs, by their pixels, and for weights: those of one side are all loaded before the products."""
    if len(pixels) + 1 < len(set(pixels)) + channels:
        return Counter(pixels), 1
    return Counter(set(pixels)), channels


def share_registers(kernels: Collection[tuple[int, ...]], channels: int, steps: Steps) -> bool:
    """Whether one configuration of the registers serves micro-kernels that fit, with tiles of so many pixels each."""
    return len(kernels) < 2 or len(steps.sizes) > 1 or _fit_together(frozenset(kernels), channels)


@cache
def _fit_together(kernels: frozenset[tuple[int, ...]], channels: int) -> bool:
    total = Counter[tuple[str, int]]()
    for pixels in kernels:
        inputs, weights = held(pixels, channels)
        needed = Counter({("sums", m): n * channels for m, n in Counter(pixels).items()})
        needed.update({("inputs", m): n for m, n in inputs.items()})
        needed["weights", 0] = weights
        total |= needed
    return total.total() <= REGISTERS


def _bands(grid: Grid) -> list[tuple[Band, int]]:
    """The bands of an image, and how many there are of each."""
    last = [(grid.last, 1)] if grid.last is not None else []
    return [(grid.band, grid.full), *last] if grid.full else last


@dataclass(frozen=True, slots=True)
class Cut:
    """An image by tiles of one size."""

    tile: Tile
    grid: Grid
    kernels: Mapping[tuple[int, ...], int]
    """How many micro-kernels there are, by the pixels of each tile register."""

    @classmethod
    def of(cls, g: Walk, tile: Tile) -> Cut:
        """The cut by a tile."""
        grid, kernels = grid_of(g.height, g.width, tile, flat=g.flat), Counter[tuple[int, ...]]()
        for band, times in _bands(grid):
            for segment in band.segments:
                kernels[parts_of(segment.columns) * band.rows] += times * segment.count
        return cls(tile, grid, kernels)

    @property
    def channels(self) -> int:
        """Tiles of channels."""
        return len(self.tile.widths)


@dataclass(frozen=True)
class Shapes:
    """What tiles are chosen for."""

    g: Walk
    filters: int
    """Those that may share inputs: of one group."""
    steps: Steps
    runs: int
    gathering: float
    """Cycles, for each pixel of a micro-kernel, of gathering what it reads."""
    threads: int
    joined: int
    """Most vectors that are finished together."""
    residuals: tuple[int, ...]
    """Bytes of an element of each tensor of the result's size that its end reads."""
    itemsize: int
    """Bytes of an input element."""
    result_bytes: int
    """Of an element of the result."""
    l1_bytes: int
    l2_bytes: int
    kernels: dict[tuple[tuple[int, ...], int], tuple[float, float]] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )
    """What `_kernel` has found: most micro-kernels stand in several cuts."""

    def best(self) -> tuple[Tile, bool, float]:
        """The quickest tile, whether tiles of channels go outside with it, and the estimated cycles."""
        timed = [(cycles, not order, cut.tile) for cut, times in self.timed() for order, cycles in enumerate(times)]
        cycles, outside, tile = min(timed, key=lambda each: each[0])
        return tile, outside, cycles

    def promising(self) -> list[Tile]:
        """Tiles by their estimated time, the quickest few."""
        timed = {cut.tile: min(times) for cut, times in self.timed()}
        return sorted(timed, key=lambda tile: timed[tile])[:8]

    def cuts(self) -> Iterator[Cut]:
        """All that fit the registers; where there are groups, none whose results belong to two of them."""
        tiles = ceil_div(self.filters, COLUMNS)
        counts = [n for n in range(1, min(6, tiles) + 1) if self.g.groups == 1 or tiles % n == 0]
        for columns in range(1, min(self.g.width, 6 * ROWS) + 1):
            parts = parts_of(columns)
            for rows in range(1, min(self.g.height, 6 // len(parts)) + 1):
                cut = Cut.of(self.g, Tile(rows, columns, (COLUMNS,)))
                for channels in counts:  # the more, the more registers
                    if max([registers(pixels, channels, self.steps) for pixels in cut.kernels]) > REGISTERS:
                        break
                    yield Cut(Tile(rows, columns, (COLUMNS,) * channels), cut.grid, cut.kernels)

    def timed(self) -> list[tuple[Cut, tuple[float, float]]]:
        """All cuts, with the cycles of the busiest thread."""
        return [(cut, self._shared(cut, *times)) for cut, times in _timed_alone(replace(self, threads=1))]

    def _shared(self, cut: Cut, outside: float, inside: float) -> tuple[float, float]:
        """Of the busiest thread: panels are shared out where tiles of channels go outside, else bands."""
        panels, bands = ceil_div(ceil_div(self.filters, COLUMNS), cut.channels), cut.grid.count * self.g.images
        return outside * ceil_div(panels, self.threads) / panels, inside * ceil_div(bands, self.threads) / bands

    def cycles(self, cut: Cut) -> tuple[float, float]:
        """All products and loads: with tiles of channels outside, and with those of pixels."""
        g, grid = self.g, cut.grid
        panels, rest = divmod(ceil_div(self.filters, COLUMNS), cut.channels)
        outside = inside = 0.0
        for channels, times in ((cut.channels, panels), (rest, bool(rest))):
            if times:
                found = [(n, self._kernel(pixels, channels)) for pixels, n in cut.kernels.items()]
                outside += times * sum([n * each[0] for n, each in found])
                inside += times * sum([n * each[1] for n, each in found])
        if not share_registers(cut.kernels, cut.channels, self.steps):
            configured = CONFIGURING * grid.count * sum(s.count for s in grid.band.segments) * (panels + bool(rest))
            outside, inside = outside + configured, inside + configured
        return outside * g.images * g.groups, inside * g.images * g.groups

    def _kernel(self, pixels: tuple[int, ...], channels: int) -> tuple[float, float]:
        """Cycles of one micro-kernel in both orders of the loops."""
        found = self.kernels.get((pixels, channels))
        if found is None:
            lines = [ceil_div(channels * COLUMNS * size, LINE) for size in (self.result_bytes, *self.residuals)]
            written = sum(lines) * RESULT_LINE + GROUP * sum(1 for _ in finished_at_once(channels, self.joined))
            once = OVERHEAD + SUMS * len(pixels) * channels + (written + self.gathering) * sum(pixels)
            outside, inside = (self._tile(pixels, channels, once, order) for order in (True, False))
            found = self.kernels[pixels, channels] = outside, inside
        return found

    def _tile(self, pixels: tuple[int, ...], channels: int, total: float, channels_outside: bool) -> float:
        """Of one micro-kernel, with a total that isn't its sum's."""
        inputs, weights = self._line_costs(sum(pixels), channels, channels_outside)
        products = channels * sum([max(float(m), LEAST_PRODUCT) for m in pixels])
        for words, lines, times in self._loads:
            loads = sum(pixels) * lines * inputs + channels * words * weights
            total += self.runs * times * (max(products, loads) + SHOWN * min(products, loads))
        return total

    @cached_property
    def _loads(self) -> list[tuple[int, float, int]]:
        """The words of steps of each size, the lines that a pixel's lie in, and how many such steps there are."""
        steps = self.steps
        sizes = [(steps.words, steps.count), *([(steps.rest, 1)] if steps.rest else [])]
        return [(words, self._lines(words), times) for words, times in sizes]

    def _lines(self, words: int) -> float:
        """Lines of memory that a tile's words of a pixel lie in, on average."""
        aligned = self.g.pitch * self.g.strides[1] * self.itemsize % LINE == 0 and words * WORD == LINE
        return 1.0 if aligned else 1 + (words * WORD - 1) / LINE

    def _line_costs(self, pixels: int, channels: int, channels_outside: bool) -> tuple[float, float]:
        """Cycles of a line of inputs, and of weights."""
        g, depth = self.g, self.runs * self.steps.total * WORD
        near, room = FIRST_CACHE, FIRST_CACHE_SHARE * self.l1_bytes
        reuse = max(1.0, g.window[0] * g.window[1] / math.prod(g.strides))
        all_weights, panel, patch = depth * self.filters, depth * COLUMNS * channels, pixels * depth / reuse
        beyond = THIRD_CACHE if all_weights > SECOND_CACHE_SHARE * self.l2_bytes else SECOND_CACHE
        if channels_outside:
            inputs = g.plane_inputs * g.images * self.itemsize
            far = THIRD_CACHE if inputs > SECOND_CACHE_SHARE * self.l2_bytes else SECOND_CACHE
            return near + far / reuse, near if panel <= room else near + SECOND_CACHE
        panels = ceil_div(self.filters, COLUMNS * channels) if patch <= room else 1
        return near + SECOND_CACHE / reuse / panels, near if all_weights + patch <= room else near + beyond


@lru_cache(maxsize=128)
def _timed_alone(shapes: Shapes) -> list[tuple[Cut, tuple[float, float]]]:
    """All cuts, with the cycles of one thread: layers that differ in scales only are alike, and passes ask, too."""
    return [(cut, shapes.cycles(cut)) for cut in shapes.cuts()]
