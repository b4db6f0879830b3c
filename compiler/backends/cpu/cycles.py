"""What Winograd's filtering costs beside direct convolution: cycles of a core, measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...ops.windows.winograd import F23, POINTS, S23, S43, TAPS, Filtering, tiles_of
from ...types import DType

INTEGERS = 1.25
"""By so much bringing products back to results takes longer in integers, which are multiplied and shifted last."""
FOUR_TILES = 204
"""Of a vector of filters and a channel: 36 products with each of four tiles, and bringing it to the points in rows, by
24 products and 36 sums."""
FOUR_TILES_HALFWAY = 270
"""The same with filters that were packed half the way to their points (Zen 4 without AVX-512), memory included."""
BFLOAT16_BYTES = 2
GAIN = 0.9
"""Part of the direct time that must not be exceeded."""
PHASES: Mapping[int, int] = {S43.tile: 550, S23.tile: 160}
"""With a stride of 2, by results along each side of a tile: of a tile's inputs, for one vector of channels, and of its
results, for one of filters, in the time of a product (Zen 5)."""
PHASE_BYTES = 2.7
"""Of weights at their points that come in that time, while products are made."""
DIRECT_BYTES = 20
"""Of weights as they are, for which few pixels wait (7 x 7 x 512: 1.01 ms, not 0.88)."""
PAIR_FACTORS = 28
"""Of a vector of either half of the channels and a pair of pixels: making Strassen's left factors (Zen 4)."""
PAIR_RESULTS = 28
"""Of a vector of either half of the filters and a pair of pixels: making results of the products."""
GAIN_BY_STRASSEN = 0.95
"""As `GAIN`, of what gains an eighth at best."""


@dataclass(frozen=True, slots=True)
class PairCycles:
    """Of F(2x2, 3x3) with products of pairs of bfloat16 beside direct ones; times are those of products of vectors."""

    lanes: int
    transform: int
    """Of a tile's inputs, for one vector of channels, and of its results, for one of filters."""
    bytes: float
    """Of weights from memory, in the time of a product."""

    def is_faster(self, images: int, output: Sequence[int], channels: int, filters: int) -> bool:
        """As `Cycles.is_faster`."""
        height, width = output
        pairs = channels * -(-filters // self.lanes) / 2
        direct = images * height * width * TAPS**2 * pairs + TAPS**2 * self._weights(channels, filters)
        return self._tiled(images, output, channels, filters) < GAIN * direct

    def is_faster_than(self, floats: Cycles, images: int, output: Sequence[int], channels: int, filters: int) -> bool:
        """Is it faster than F(4x4, 3x3) of f32, on a core that multiplies as many vectors of these in a cycle?"""
        sizes = images, output, channels, filters
        return self._tiled(*sizes) < GAIN * floats.tiled(*sizes)

    def _tiled(self, images: int, output: Sequence[int], channels: int, filters: int) -> float:
        height, width = output
        inputs, results = -(-channels // self.lanes), -(-filters // self.lanes)
        tile = F23.products * channels * results / 2 + self.transform * (inputs + results)
        tiles = images * F23.tiles_of(height) * F23.tiles_of(width)
        return tiles * tile + F23.products * self._weights(channels, filters)

    def _weights(self, channels: int, filters: int) -> float:
        """At one point."""
        return channels * filters * BFLOAT16_BYTES / self.bytes


@dataclass(frozen=True, slots=True)
class Cycles:
    """Of a core whose vectors have `lanes` elements: they weigh transforms and memory against multiplications."""

    lanes: int
    transform: int
    """Of a tile's inputs, for one vector of channels."""
    result: int
    """Of a tile's results, for one vector of filters, stores of the products included."""
    sum: int
    """Of a vector of a partial sum, from its first value to the end."""
    bytes: float
    """Of weights from memory, in one cycle."""

    def is_faster(
        self, images: int, output: Sequence[int], channels: int, filters: int, *, products_at_once: int = 1
    ) -> bool:
        """True if the products that a convolution saves outweigh the transforms and the larger weights.

        Without Winograd's filtering, an instruction does `products_at_once` for each sum, and weights are so much
        smaller.
        """
        weights = TAPS**2 * channels * filters * DType.F32.itemsize / self.bytes
        direct = self._direct(images, output, channels, filters) + weights
        return self.tiled(images, output, channels, filters) < GAIN * direct / products_at_once

    def tiled(self, images: int, output: Sequence[int], channels: int, filters: int) -> float:
        """Cycles by tiles, with filters that were packed at their points."""
        height, width = output
        vectors, weights = self._vectors(filters), channels * filters * DType.F32.itemsize / self.bytes
        products = POINTS**2 * channels * vectors
        transforms = self.transform * self._vectors(channels) + self.result * vectors
        return images * tiles_of(height) * tiles_of(width) * (products + transforms) + POINTS**2 * weights

    def is_faster_in_registers(
        self, images: int, output: Sequence[int], channels: int, filters: int, *, products_at_once: int = 1
    ) -> bool:
        """As `is_faster`, where filters come to their points in registers, anew for each four tiles."""
        weights = TAPS**2 * channels * filters * DType.F32.itemsize / self.bytes
        direct = self._direct(images, output, channels, filters) + weights
        tiled = self._four_at_a_time(FOUR_TILES, images, output, channels, filters) + weights
        return tiled < GAIN * direct / products_at_once

    def is_faster_halfway(
        self, images: int, output: Sequence[int], channels: int, filters: int, *, products_at_once: int = 1
    ) -> bool:
        """As `is_faster`, where filters come to their points in registers from half the way."""
        direct = self._direct(images, output, channels, filters)
        tiled = self._four_at_a_time(FOUR_TILES_HALFWAY, images, output, channels, filters)
        return tiled < GAIN * direct / products_at_once

    def _direct(self, images: int, output: Sequence[int], channels: int, filters: int) -> int:
        height, width = output
        return images * height * width * TAPS**2 * channels * self._vectors(filters)

    def _four_at_a_time(self, four_tiles: int, images: int, output: Sequence[int], channels: int, filters: int) -> int:
        """Products at `four_tiles` for each four tiles, and transforms."""
        height, width = output
        tiles, vectors = images * tiles_of(height) * tiles_of(width), self._vectors(filters)
        transforms = self.transform * self._vectors(channels) + self.result * vectors
        return -(-tiles // 4) * four_tiles * channels * vectors + tiles * transforms

    def is_faster_by_strassen(self, pixels: int, channels: int, filters: int) -> bool:
        """As `is_faster`, for an image of a 1x1 convolution or a dense layer: seven products instead of eight."""
        pairs, inputs, results = -(-pixels // 2), self._vectors(channels // 2), self._vectors(-(-filters // 2))
        cycles = pairs * (7 * channels // 2 * results + PAIR_FACTORS * inputs + PAIR_RESULTS * results)
        return cycles < GAIN_BY_STRASSEN * pixels * channels * self._vectors(filters)

    def is_faster_in_words(
        self,
        images: int,
        output: Sequence[int],
        channels: int,
        filters: int,
        parts: int,
        products_at_once: int,
        multiplied: float = 1.0,
    ) -> bool:
        """As `is_faster`, for a convolution of bytes, where an instruction does two products of words for each sum.

        The channels are summed up in so many `parts`. Otherwise only a part of the products is `multiplied`.
        """
        height, width = output
        vectors, weights = self._vectors(filters), channels * filters
        direct = multiplied * images * height * width * TAPS**2 * channels / products_at_once * vectors
        direct += TAPS**2 * weights / self.bytes
        products = POINTS**2 * channels / 2 * vectors
        transforms = self.transform * self._vectors(channels) / 2 + INTEGERS * self.result * vectors * parts
        tiles = images * tiles_of(height) * tiles_of(width)
        tiled = tiles * (products + transforms) + POINTS**2 * weights / self.bytes
        return tiled < GAIN * direct

    def is_gradient_faster(
        self, images: int, output: Sequence[int], channels: int, filters: int, partial_sums: int
    ) -> bool:
        """As `is_faster`, for the gradient of the filters, made of `partial_sums` sums over parts of the tiles."""
        height, width = output
        inputs, vectors = self._vectors(channels), self._vectors(filters)
        direct = images * height * width * TAPS**2 * channels * vectors
        products = POINTS**2 * channels * vectors
        tiles = images * tiles_of(height) * tiles_of(width)
        tiled = tiles * (products + self.transform * (inputs + vectors)) + partial_sums * products * self.sum
        return tiled < GAIN * direct

    def _vectors(self, elements: int) -> int:
        return -(-elements // self.lanes)


MEASURED: Mapping[int, Cycles] = {16: Cycles(16, transform=330, result=480, sum=8, bytes=6)}
"""By lanes."""
MEASURED_WITH_PAIRS = Cycles(16, transform=330, result=480, sum=8, bytes=14)
"""Of a core that multiplies pairs of bfloat16 (Zen 4): its caches and its memory serve weights faster."""

MEASURED_OF_PAIRS: Mapping[int, PairCycles] = {
    2: PairCycles(16, transform=73, bytes=7),
    1: PairCycles(16, transform=100, bytes=14),
}
"""By vectors of pairs that a core multiplies in a cycle. Those of two (Zen 5) were measured. Those of one (Zen 4) were
only measured with Zen 4's code on Zen 5. By published tables (InstLatx64: Genoa, Granite Ridge) Zen 4 has half of Zen
5's rate in sums, products, loads and stores of 512 bits, and 0.64 of it in rounding to bfloat16, so that a transform
takes no more products there; a third is added all the same."""

MEASURED_QUICK_WORDS = Cycles(16, transform=330, result=170, sum=16, bytes=14)
"""Of integers on a core that multiplies two vectors in a cycle and adds four (Zen 5), in multiplications. Weights at
their points are asked for early."""

MEASURED_CHANGING: Mapping[int, Cycles] = {
    16: Cycles(16, transform=660, result=960, sum=16, bytes=0.5),
    8: Cycles(16, transform=660, result=960, sum=16, bytes=2.5),
}
"""Of cores that multiply two vectors in a cycle (Emerald Rapids, Zen 3), by their lanes, in multiplications of 16
elements, where weights change with each run: they are brought to their points, written and read from beyond the L2
cache."""

CHANGING_IN_PARTS = Cycles(16, transform=660, result=960, sum=16, bytes=5)
"""The same where they come to their points part by part, in the L2 cache (Zen 3)."""


def form_by_phases(
    lanes: int, images: int, output: Sequence[int], channels: int, filters: int
) -> tuple[Filtering, bool]:
    """The best tiles for a convolution of stride 2, and whether they are faster than none."""
    height, width = output
    inputs, results = -(-channels // lanes), -(-filters // lanes)
    weights = channels * filters * DType.F32.itemsize

    def tiled(form: Filtering) -> float:
        tile = form.products * channels * results + PHASES[form.tile] * (inputs + results)
        products = images * form.tiles_of(height) * form.tiles_of(width) * tile
        return max(products, form.filter_points**2 * weights / PHASE_BYTES)

    best = min((S43, S23), key=tiled)
    direct = images * height * width * TAPS**2 * channels * results + TAPS**2 * weights / DIRECT_BYTES
    return best, tiled(best) < GAIN * direct


def cycles_of(lanes: int, *, pairs: bool = False, changing: bool = False) -> Cycles:
    """The cycles of a core with vectors of so many f32; where nobody measured, those of one with 16.

    `changing`: for weights that change with each run, on a core that multiplies two vectors in a cycle.
    """
    if changing:
        return MEASURED_CHANGING.get(lanes, MEASURED_CHANGING[16])
    return MEASURED_WITH_PAIRS if pairs else MEASURED.get(lanes, MEASURED[16])
