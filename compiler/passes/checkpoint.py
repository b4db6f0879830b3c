"""checkpoint: keep activations at a few places only, and run the layers between them again in the backward part."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from ..graph.ir import Graph, Operation, Value
from .base import Pass
from .rematerialize import TrainingGraph, cheapest_to_keep, is_cheap, rematerialize

SMALL = 64
"""A value this many times smaller than what it is made of, or than what lives beside it, costs nothing to keep."""


@dataclass(frozen=True)
class Checkpoint(Pass):
    """Keep activations between segments of layers only; run each segment again before its backward part.

    A segment ends at a waist: a place where all that flows on is one tensor, such as the result of a residual block.
    Between two waists is at least one contraction. `every` says how many of these blocks make a segment; 0 chooses
    segments, short where activations are large, so that the estimated peak is lowest. What follows the last segment
    is kept, and so are results as small as statistics. Inside segments, cheap values are made again at each use, as
    by `recompute`; don't run both. Results are the same bit for bit.

    cse undoes it: run it after the last one.

    Source: Chen, Xu, Zhang, Guestrin, "Training Deep Nets with Sublinear Memory Cost", 2016.

    Before::

        %0 = relu(...)
        %1 = conv2d(%0, %w1)
        %2 = conv2d(%1, %w2)
        ...
        return %loss, ...
        %9 = conv2d_weight_gradient(%1, %8)

    After::

        %0 = relu(...)
        %1 = conv2d(%0, %w1)
        %2 = conv2d(%1, %w2)
        ...
        %9 = conv2d(%0, %w1)
        %10 = conv2d_weight_gradient(%9, %8)
    """

    name = "checkpoint"
    every: int = 0
    bytes_per_operation: float = 0.25

    def run(self, graph: Graph) -> Graph:
        training = TrainingGraph.of(graph)
        flow = _Flow(training)
        ends = flow.every(self.every) if self.every > 0 else flow.lowest_peak()
        again = rematerialize(training, flow.kept(ends))
        checkpoints = {flow.waists[end].value for end in ends}
        return rematerialize(again, cheapest_to_keep(again, self.bytes_per_operation, checkpoints)).graph


checkpoint = Checkpoint()


@dataclass(frozen=True, eq=False)
class _Waist:
    """A value that all later parts of the net depend on through it alone, and where in the order it is made."""

    value: Value
    position: int


class _Flow:
    """The forward part as a chain of blocks between waists."""

    def __init__(self, training: TrainingGraph) -> None:
        self.training = training
        self.free = training.free_values()
        self.operations = [op for op in training.graph.operations if op in training.forward]
        self.waists = self._waists()
        """The places where segments may end."""
        self.needed = self._needed()

    def every(self, count: int) -> list[int]:
        """The numbers of the waists that end segments of `count` blocks."""
        return list(range(count - 1, len(self.waists), count))

    def lowest_peak(self) -> list[int]:
        """The numbers of the waists that end segments so that the estimated peak is lowest.

        The estimate: the checkpoints before a segment and all that its own backward part needs live at once.
        """
        low, high = 0, sum(self.needed)
        best: list[int] = []
        while low < high:
            peak = (low + high) // 2
            ends = self._within(peak)
            if ends is None:
                low = peak + 1
            else:
                best, high = ends, peak
        return best

    def kept(self, ends: Sequence[int]) -> frozenset[Value]:
        """The values to keep: those at the ends, all behind the last end, and small ones."""
        start = self.waists[ends[-1]].position if ends else -1
        values = {r for op in self.operations[start + 1 :] for r in op.results}
        values.update(self.waists[end].value for end in ends)
        values.update(r for op in self.operations if _shrinks(op) for r in op.results)
        return self.free | values

    def _within(self, peak: int) -> list[int] | None:
        """Ends of segments with the smallest sum of checkpoints that keep the estimate to `peak`; None if none do."""
        before = [0, *accumulate(self.needed)]
        # For each block, the bytes of all checkpoints up to the one that ends it, and the end before that one.
        reached: dict[int, tuple[int, int]] = {-1: (0, -1)}
        for end in range(len(self.needed)):
            size = self.waists[end].value.type.bytes if end < len(self.waists) else 0
            choices = [
                (kept + size, start)
                for start, (kept, _) in reached.items()
                if kept + before[end + 1] - before[start + 1] <= peak
            ]
            if choices:
                reached[end] = min(choices)
        ends = [len(self.needed) - 1]
        if ends[0] not in reached:
            return None
        while ends[-1] >= 0:
            ends.append(reached[ends[-1]][1])
        return ends[-2:0:-1]

    def _needed(self) -> list[int]:
        """Bytes of each block that the backward part needs; the last one ends with the loss."""
        saved = cheapest_to_keep(self.training, 0) - self.free
        edges = [-1, *(waist.position for waist in self.waists), len(self.operations) - 1]
        return [
            sum(r.type.bytes for op in self.operations[start + 1 : end + 1] for r in op.results if r in saved)
            for start, end in pairwise(edges)
        ]

    def _waists(self) -> list[_Waist]:
        """The smallest waist after each contraction, if there is one before the next."""
        last_use = self._last_uses()
        live: set[Value] = set()
        waists: list[_Waist] = []
        fresh = False
        for position, op in enumerate(self.operations):
            live = {v for v in (*live, *op.results) if last_use.get(v, -1) > position}
            fresh = fresh or op.operator.contraction
            value = _only_large(live)
            if value is None:
                continue
            if fresh:
                waists.append(_Waist(value, position))
            elif waists and value.type.bytes <= waists[-1].value.type.bytes:
                waists[-1] = _Waist(value, position)
            fresh = False
        # Behind the last contraction there is nothing to save: its backward part comes at once.
        return waists if fresh else waists[:-1]

    def _last_uses(self) -> dict[Value, int]:
        """Where the forward part reads each value that takes memory last."""
        return {v: i for i, op in enumerate(self.operations) for v in op.operands if v not in self.free}


def _only_large(values: Collection[Value]) -> Value | None:
    """The one value beside which all others are small."""
    largest = max(values, key=lambda v: v.type.bytes, default=None)
    if largest is None or any(v.type.bytes * SMALL > largest.type.bytes for v in values if v is not largest):
        return None
    return largest


def _shrinks(op: Operation) -> bool:
    """True if the results are small beside what they are made of by expensive means, such as statistics."""
    largest = max((v.type.bytes for v in op.operands), default=0)
    return not is_cheap(op) and sum(r.type.bytes for r in op.results) * SMALL <= largest
