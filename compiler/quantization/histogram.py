"""Histograms that grow: of numbers whose range is not known beforehand, in one pass.

Bins are a power of two wide and begin at multiples of their width, so two neighbours merge into one bin of twice the
width without any loss, and the result doesn't depend on the order of what was counted.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..graph.ir import Array

BINS = 4096
"""Most bins that a histogram has: at least half as many cover the numbers seen."""
_BLOCK = 1 << 15
"""Elements that are counted together: what is made of them on the way stays in the cache."""
_SMALLEST = -100
"""Exponent of the narrowest bins."""


class Histogram:
    """Counts of numbers in bins [(first + i) * 2^exponent, (first + i + 1) * 2^exponent)."""

    def __init__(self) -> None:
        self.exponent = _SMALLEST
        self.first = 0
        self.counts: NDArray[np.int64] = np.zeros(0, np.int64)

    def add(self, x: Array, ends: tuple[float, float] | None = None) -> None:
        """Count the elements of an array, which must be finite; `ends` are the smallest and the largest, if known."""
        if not x.size:
            return
        self._cover(*(ends or (float(x.min()), float(x.max()))))
        flat, scale = x.reshape(-1), np.float64(2.0**-self.exponent)
        for start in range(0, x.size, _BLOCK):
            scaled = np.multiply(flat[start : start + _BLOCK], scale, dtype=np.float64)
            places = np.floor(scaled, out=scaled).astype(np.int64)
            places -= self.first
            self.counts += np.bincount(places, minlength=len(self.counts))

    def merge(self, other: Histogram, low: float, high: float) -> None:
        """Count what another has counted, which lies from low to high; what results has no finer bins than either."""
        if not len(other.counts):
            return
        if not len(self.counts):
            self.exponent = other.exponent
        elif other.exponent > self.exponent:
            up = other.exponent - self.exponent
            self._regrid(other.exponent, self.first >> up, (self.first + len(self.counts) - 1) >> up)
        self._cover(low, high)
        places = ((other.first + np.arange(len(other.counts))) >> (self.exponent - other.exponent)) - self.first
        np.add.at(self.counts, places, other.counts)

    def _cover(self, low: float, high: float) -> None:
        """Make bins for numbers from low to high, coarser ones if there would be too many."""
        span = max(high - low, max(abs(low), abs(high)) * 2.0**-20)
        exponent = self.exponent if len(self.counts) else max(_SMALLEST, _exponent(span) - int(math.log2(BINS)))
        while True:
            first, last = (math.floor(v * 2.0**-exponent) for v in (low, high))
            if len(self.counts):
                up = exponent - self.exponent
                first = min(first, self.first >> up)
                last = max(last, (self.first + len(self.counts) - 1) >> up)
            if last - first < BINS:
                break
            exponent += 1
        self._regrid(exponent, first, last)

    def _regrid(self, exponent: int, first: int, last: int) -> None:
        counts = np.zeros(last - first + 1, np.int64)
        places = ((self.first + np.arange(len(self.counts))) >> (exponent - self.exponent)) - first
        np.add.at(counts, places, self.counts)
        self.exponent, self.first, self.counts = exponent, first, counts

    @property
    def width(self) -> float:
        """Width of a bin."""
        return float(2.0**self.exponent)

    @property
    def edges(self) -> NDArray[np.float64]:
        """Where bins begin, and where the last one ends."""
        return np.arange(self.first, self.first + len(self.counts) + 1, dtype=np.float64) * self.width

    @property
    def centers(self) -> NDArray[np.float64]:
        """The middle of each bin."""
        return self.edges[:-1] + self.width / 2


def _exponent(x: float) -> int:
    """The smallest e with x <= 2^e; that of the narrowest bins for 0."""
    return math.ceil(math.log2(x)) if x > 0 else _SMALLEST
