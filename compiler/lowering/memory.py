"""Static memory planning: every intermediate tensor gets a fixed place in one arena.

Tensors whose lifetimes overlap never share bytes. Places are given by size, largest first, each at the lowest offset
that is free during its whole lifetime ("greedy by size"; Pisarchyk and Lee, "Efficient Memory Management for Deep
Neural Net Inference", 2020).
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..graph.ir import Value

ALIGNMENT = 64


def align(size: int) -> int:
    """Round up to the alignment of all buffers."""
    return -(-size // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True, slots=True)
class Lifetime:
    """A buffer that is live from call `first` to call `last`, both included."""

    value: Value
    bytes: int
    first: int
    last: int


def plan_arena(lifetimes: Sequence[Lifetime]) -> tuple[Mapping[Value, int], int]:
    """Byte offset of each value, and the size of the arena."""
    placed: list[tuple[int, int, Lifetime]] = []
    for lifetime in sorted(lifetimes, key=lambda t: (-t.bytes, t.first)):
        size = align(lifetime.bytes)
        offset = 0
        for start, end, other in placed:
            if other.last < lifetime.first or lifetime.last < other.first:
                continue
            if offset + size <= start:
                break
            offset = max(offset, end)
        insort(placed, (offset, offset + size, lifetime), key=lambda p: p[:2])
    return {t.value: start for start, _, t in placed}, max((end for _, end, _ in placed), default=0)
