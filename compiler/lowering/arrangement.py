"""A thorough plan of memory, for machines that have little of it.

A value that a call reads for the last time may reach into what the call writes, as far as its loops allow
(`modules.overlaps`). Values get places one after the other, each where all of them together reach least far; the order
is improved step by step, by the same steps on every run.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..graph.ir import Value
from ..modules.overlaps import Distances
from .memory import Lifetime, Plan, align, by_size, placed

MOST_ORDERED = 100
"""Values of a plan whose order is improved."""
EFFORT = 400_000
"""Pairs of values that are looked at, about: a second or two."""

Overlaps = Mapping[tuple[Value, Value], Distances]
"""By a value that a call reads last and one that it writes first: how they may lie to each other."""


def arrange(lifetimes: Sequence[Lifetime], alignment: int, overlaps: Overlaps) -> Plan:
    """The places of all values. Above `MOST_ORDERED` of them, only those of two orders are compared."""
    order = by_size(lifetimes)
    plain = placed(order, alignment)
    work = _Arrangement(order, alignment, overlaps)
    best = work.improved()
    return plain if plain.size <= best.size else best


@dataclass(frozen=True, slots=True)
class _Beside:
    """A value that is live at the same time as another one: where the other may not begin, from its own beginning."""

    index: int
    low: int
    high: int
    """The other doesn't begin between these two."""
    pitch: int = 0
    pitched_low: int = 0
    pitched_high: int = 0
    """A multiple of the pitch away it doesn't begin between these."""


class _Arrangement:
    """Values that are placed in this order or that."""

    def __init__(self, lifetimes: Sequence[Lifetime], alignment: int, overlaps: Overlaps) -> None:
        self.lifetimes = lifetimes
        self.alignment = alignment
        self.overlaps = overlaps
        self.sizes = [align(t.bytes, alignment) for t in lifetimes]
        self.beside = [list(self._beside(i)) for i in range(len(lifetimes))]

    def improved(self) -> Plan:
        """The best plan that is found: the smallest, and of those one in which few values reach into others."""
        count = len(self.lifetimes)
        order = list(range(count))
        best, live = self.starts(order), self.live()
        least = max((bytes_ - spared for bytes_, spared in live.values()), default=0)
        pairs = sum(map(len, self.beside)) + count
        trials = EFFORT // pairs if 1 < count <= MOST_ORDERED else 0
        draw = random.Random(0)
        for trial in range(trials):
            _, size, reaching = best
            if size <= least and reaching <= sum(bytes_ > size for bytes_, _ in live.values()):
                break
            other = [*order]
            moved = other.pop(trial if trial < count else draw.randrange(count))
            other.insert(0 if trial < count else draw.randrange(count), moved)
            found = self.starts(other)
            if found[1:] <= best[1:]:
                best, order = found, other
        starts, size, _ = best
        return Plan({t.value: start for t, start in zip(self.lifetimes, starts, strict=True)}, size)

    def live(self) -> Mapping[int, tuple[int, int]]:
        """By call, the bytes that are live, and how many of these at most may lie where others do."""
        spared: dict[int, int] = {}
        sizes = {t.value: (size, t) for t, size in zip(self.lifetimes, self.sizes, strict=True)}
        for (x, y), distances in self.overlaps.items():
            (inner, _), (outer, written) = sizes[x], sizes[y]
            both = inner + outer - _extent(inner, outer, distances)
            spared[written.first] = spared.get(written.first, 0) + both
        lifetimes = list(zip(self.lifetimes, self.sizes, strict=True))
        return {
            call: (sum(size for t, size in lifetimes if t.first <= call <= t.last), spared.get(call, 0))
            for call in {t.first for t in self.lifetimes}
        }

    def _beside(self, i: int) -> Iterator[_Beside]:
        """What may not lie where value number i does."""
        mine = self.lifetimes[i]
        for j, other in enumerate(self.lifetimes):
            if i == j or mine.last < other.first or other.last < mine.first:
                continue
            if (d := self.overlaps.get((mine.value, other.value))) is not None:
                yield _Beside(j, d.most, d.least, self._pitch(d), d.pitched_most, d.pitched_least)
            elif (d := self.overlaps.get((other.value, mine.value))) is not None:
                yield _Beside(j, -d.least, -d.most, self._pitch(d), -d.pitched_least, -d.pitched_most)
            else:
                yield _Beside(j, -self.sizes[i], self.sizes[j])

    def _pitch(self, distances: Distances) -> int:
        return math.lcm(distances.pitch, self.alignment)

    def starts(self, order: Sequence[int]) -> tuple[list[int], int, int]:
        """The place of each value, the size of all of them together, and how many reach into others."""
        starts: list[int | None] = [None] * len(order)
        low = high = reaching = 0
        for i in order:
            size = self.sizes[i]
            there = [(b, at) for b in self.beside[i] if (at := starts[b.index]) is not None]
            _, reaches, start = min(
                (max(high, s + size) - min(low, s), self._reaches(i, s, there), s)
                for s in self._candidates(there, low)
                if all(_is_free(s - at, b) for b, at in there)
            )
            starts[i] = start
            low, high, reaching = min(low, start), max(high, start + size), reaching + reaches
        return [s - low for s in starts if s is not None], high - low, reaching

    def _reaches(self, i: int, start: int, there: Sequence[tuple[_Beside, int]]) -> int:
        """Into how many others a value would reach: code is as fast or faster where it doesn't."""
        return sum(at - self.sizes[i] < start < at + self.sizes[b.index] for b, at in there)

    def _candidates(self, there: Sequence[tuple[_Beside, int]], low: int) -> Iterator[int]:
        """Places worth looking at: the lowest, and those that touch what is there already."""
        yield low
        unit = self.alignment
        for b, at in there:
            yield at + b.high + -b.high % unit
            yield at + b.low - b.low % unit
            yield at + self.sizes[b.index]
            if b.pitch:
                yield at + b.pitched_high + -b.pitched_high % b.pitch
                yield at + b.pitched_low - b.pitched_low % b.pitch


def _is_free(distance: int, b: _Beside) -> bool:
    """True if a value may begin so many bytes behind the beginning of what is beside it."""
    if distance <= b.low or distance >= b.high:
        return True
    return b.pitch > 0 and distance % b.pitch == 0 and not b.pitched_low < distance < b.pitched_high


def _extent(inner: int, outer: int, distances: Distances) -> int:
    """The least that an input and an output of a call take together."""
    ends = [distances.least, distances.most]
    ends += [distances.pitched_least, distances.pitched_most] if distances.pitch else []
    within = max(0, outer - inner), min(0, outer - inner)
    found = [max(ends[i], within[1]) if i % 2 == 0 else min(ends[i], within[0]) for i in range(len(ends))]
    return min(max(outer, d + inner) - min(0, d) for d in found)
