"""Static memory planning: every intermediate tensor gets a fixed place in one arena.

Tensors whose lifetimes overlap never share bytes. Places are given by size, largest first, each at the lowest offset
that is free during its whole lifetime ("greedy by size"; Pisarchyk and Lee, "Efficient Memory Management for Deep
Neural Net Inference", 2020). Where memory is scarce, `arrangement` looks for a better plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..graph.ir import Value
from ..modules.module import Turns

ALIGNMENT = 64


def align(size: int, alignment: int = ALIGNMENT) -> int:
    """Round up to the alignment of all buffers."""
    return -(-size // alignment) * alignment


@dataclass(frozen=True, slots=True)
class Lifetime:
    """A buffer that is live from call `first` to call `last`, both included."""

    value: Value
    bytes: int
    first: int
    last: int


class Lives:
    """How long values are live: from the first call that touches one to the last, or around the turns that do.

    Turns have values to themselves that nothing before them touches.
    """

    def __init__(self, turns: Sequence[Turns]) -> None:
        self.first: dict[Value, int] = {}
        self.last: dict[Value, int] = {}
        self.own: dict[Turns, dict[Value, Lifetime]] = {each: {} for each in turns}
        """Of turns: what each share has to itself."""
        self._around = {call: each for each in turns for call in range(each.first, each.end)}

    def touch(self, call: int, value: Value, *, apart: bool) -> None:
        """A call touches a value; one that lies `apart` from what is around turns may be theirs."""
        turns = self._around.get(call)
        if turns is not None and apart and value not in self.first:
            own = self.own[turns]
            begin = own[value].first if value in own else call
            own[value] = Lifetime(value, value.type.bytes, begin, call)
            return
        self.first.setdefault(value, turns.first if turns is not None else call)
        self.last[value] = turns.end - 1 if turns is not None else call

    def lifetimes(self) -> list[Lifetime]:
        """Of all values but those that turns have to themselves."""
        return [Lifetime(v, v.type.bytes, self.first[v], self.last[v]) for v in self.first]


@dataclass(frozen=True, slots=True)
class Plan:
    """Byte offset of each value, and the size of the arena."""

    offsets: Mapping[Value, int]
    size: int


def plan_arena(lifetimes: Sequence[Lifetime], alignment: int = ALIGNMENT) -> Plan:
    """The places of all values."""
    return placed(by_size(lifetimes), alignment)


def by_size(lifetimes: Sequence[Lifetime]) -> list[Lifetime]:
    """The largest first."""
    return sorted(lifetimes, key=lambda t: (-t.bytes, t.first))


def placed(order: Sequence[Lifetime], alignment: int) -> Plan:
    """Each value at the lowest offset that is free, one after the other."""
    first, last = (np.array([getattr(t, end) for t in order], np.int64) for end in ("first", "last"))
    starts, ends = (np.zeros(len(order), np.int64) for _ in range(2))
    for i, lifetime in enumerate(order):
        size = align(lifetime.bytes, alignment)
        (beside,) = np.nonzero((first[:i] <= lifetime.last) & (last[:i] >= lifetime.first))
        beside = beside[np.argsort(starts[beside], kind="stable")]
        # The lowest free offset before each of those, and behind all of them.
        free = np.maximum.accumulate(np.append(0, ends[beside]))
        (fits,) = np.nonzero(free[:-1] + size <= starts[beside])
        starts[i] = free[fits[0] if fits.size else -1]
        ends[i] = starts[i] + size
    offsets = {t.value: int(start) for t, start in zip(order, starts, strict=True)}
    return Plan(offsets, int(ends.max(initial=0)))
