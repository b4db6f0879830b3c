"""Ways to choose the range of numbers that an activation's 256 levels cover, from what was seen of it.

A range that covers all numbers wastes levels on rare ones; a narrow one saturates them. Sources: Nagel et al., "A White
Paper on Neural Network Quantization", 2021 (min-max, MSE); Migacz, "8-bit Inference with TensorRT", 2017 (entropy).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ..graph.ir import Array
from .histogram import Histogram

LEVELS = 256
MOMENTUM = 0.1
"""Share of a new batch in moving averages."""
COVERED = 0.9999
"""Share of the numbers that the percentile method covers, at either end."""
STEPS = 64
"""Candidates that searches try for each end of a range."""


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers from low to high."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.3g} to {self.high:.3g}"


@dataclass(frozen=True)
class Seen:
    """What is kept of one batch of an activation."""

    low: float
    high: float
    sums: NDArray[np.float64] | None
    """Of each channel over all places, of activations with more than one dimension."""
    places: int
    histogram: Histogram

    @staticmethod
    def of(x: Array) -> Seen | None:
        """That of a batch, of which one without elements counts as zero; None unless all numbers are finite."""
        x = x if x.size else np.zeros(1, x.dtype)
        with np.errstate(invalid="ignore"):
            low, high = float(x.min()), float(x.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            return None
        histogram = Histogram()
        histogram.add(x, (low, high))
        sums = x.sum(axis=tuple(range(x.ndim - 1)), dtype=np.float64) if x.ndim > 1 else None
        places = x.size // x.shape[-1] if x.ndim > 1 else 0
        return Seen(low, high, sums, places, histogram)


@dataclass
class Statistics:
    """What was seen of one activation."""

    low: float = np.inf
    high: float = -np.inf
    average_low: float = np.nan
    average_high: float = np.nan
    total: NDArray[np.float64] | None = None
    """The sum over all places of each channel, of activations with more than one dimension."""
    places: int = 0
    histogram: Histogram = field(default_factory=Histogram)

    def add(self, x: Array) -> None:
        """Take a batch of finite numbers into account."""
        seen = Seen.of(x)
        assert seen is not None, "numbers are finite"
        self.take(seen)

    def take(self, seen: Seen) -> None:
        """Take into account what was kept of a batch."""
        low, high = seen.low, seen.high
        self.low, self.high = min(self.low, low), max(self.high, high)
        if np.isnan(self.average_low):
            self.average_low, self.average_high = low, high
        self.average_low += MOMENTUM * (low - self.average_low)
        self.average_high += MOMENTUM * (high - self.average_high)
        self.histogram.merge(seen.histogram, low, high)
        if (sums := seen.sums) is not None:
            self.total = sums if self.total is None or self.total.shape != sums.shape else self.total + sums
            self.places += seen.places

    @property
    def means(self) -> tuple[float, ...]:
        """The mean of each channel, rounded to what a text form holds; none where nothing is known."""
        if self.total is None:
            return ()
        return tuple(float(f"{v:.6g}") for v in self.total / self.places)


def min_max(seen: Statistics) -> Range:
    """All numbers seen."""
    return Range(seen.low, seen.high)


def moving_average(seen: Statistics) -> Range:
    """Averages of each batch's smallest and largest number, the last batches counting most."""
    return Range(seen.average_low, seen.average_high)


def percentile(seen: Statistics) -> Range:
    """All numbers but the rarest: 0.01 % at either end."""
    total = np.cumsum(seen.histogram.counts)
    count = total[-1]
    edges = seen.histogram.edges
    low = edges[np.searchsorted(total, (1 - COVERED) * count, side="right")]
    high = edges[np.searchsorted(total, COVERED * count, side="left") + 1]
    return Range(max(float(low), seen.low), min(float(high), seen.high))


def mse(seen: Statistics) -> Range:
    """The range with the smallest mean squared error, of rounding and of saturation."""
    counts, centers, width = seen.histogram.counts.astype(np.float64), seen.histogram.centers, seen.histogram.width
    levels = np.empty_like(centers)

    def error(low: float, high: float) -> float:
        low, high = min(low, 0.0), max(high, 0.0)
        step = (high - low) / (LEVELS - 1)
        if step <= width:
            return float(np.inf) if high - low < seen.high - seen.low else 0.0
        zero = np.rint(-low / step)
        np.rint(np.divide(centers, step, out=levels), out=levels)
        np.minimum(np.maximum(levels, -zero, out=levels), LEVELS - 1 - zero, out=levels)
        errors = np.subtract(centers, np.multiply(levels, step, out=levels), out=levels)
        return float(np.multiply(counts, np.square(errors, out=levels), out=levels).sum())

    return _searched(seen, error)


def entropy(seen: Statistics) -> Range:
    """The range whose levels keep most of the information: the smallest Kullback-Leibler divergence."""
    counts, edges, width = _without_spikes(seen), seen.histogram.edges, seen.histogram.width

    def divergence(low: float, high: float) -> float:
        step = (high - low) / LEVELS
        first, last = np.searchsorted(edges, [low, high - width / 2], side="right") - 1
        if step <= width or last <= first:
            return float(np.inf) if high - low < seen.high - seen.low else 0.0
        inside = counts[first : last + 1]
        reference = inside.copy()
        reference[0] += counts[:first].sum()
        reference[-1] += counts[last + 1 :].sum()
        places = np.clip(((edges[first : last + 1] + width / 2 - low) / step).astype(np.int64), 0, LEVELS - 1)
        return _divergence(reference, inside, places)

    return _searched(seen, divergence)


def _without_spikes(seen: Statistics) -> NDArray[np.float64]:
    """Counts without the many numbers that are exactly 0, or where an activation ends: one level holds them all.

    Spread over the bins of a level, they would outweigh everything else.
    """
    counts = seen.histogram.counts.astype(np.float64)
    padded = np.pad(counts, 1, mode="reflect") if len(counts) > 1 else np.pad(counts, 1)
    for place in {0, len(counts) - 1, int(np.searchsorted(seen.histogram.edges, 0.0, side="right")) - 1}:
        if 0 <= place < len(counts):
            counts[place] = min(counts[place], (padded[place] + padded[place + 2]) / 2)
    return counts


def _divergence(reference: NDArray[np.float64], inside: NDArray[np.float64], places: NDArray[np.int64]) -> float:
    """KL divergence of a histogram from itself with the bins of each level made even."""
    used = reference > 0
    sums = np.bincount(places, inside, LEVELS)
    bins = np.bincount(places, used.astype(np.float64), LEVELS)
    even = (sums / np.maximum(bins, 1))[places][used]
    p = reference[used] / reference.sum()
    q = np.maximum(even / max(even.sum(), 1e-300), 1e-12)
    return float((p * np.log(p / q)).sum())


def _searched(seen: Statistics, cost: Callable[[float, float], float]) -> Range:
    """The best range: first both ends drawn in alike, then each by itself."""
    low, high = seen.low, seen.high
    shares = np.arange(STEPS, 0, -1) / STEPS
    _, low, high = min(((cost(low * s, high * s), low * s, high * s) for s in shares), key=lambda c: c[0])
    for _ in range(2):
        high = min((high, *(seen.high * s for s in shares)), key=lambda h: cost(low, h))
        if seen.low < 0:
            low = min((low, *(seen.low * s for s in shares)), key=lambda lo: cost(lo, high))
    return Range(float(low), float(high))


METHODS: Mapping[str, Callable[[Statistics], Range]] = MappingProxyType(
    {
        "minmax": min_max,
        "moving-average": moving_average,
        "percentile": percentile,
        "mse": mse,
        "entropy": entropy,
    }
)
"""All methods by name."""
