"""order-operations: the order in which least memory is live at once."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..graph.ir import Graph
from ..graph.live_bytes import LiveBytes
from .base import Pass

MOST_OPERATIONS = 1000
"""Of a graph that is put in another order: the time grows with the square of the number."""


@dataclass(frozen=True)
class OrderOperations(Pass):
    """Put operations in an order in which least memory is live at once; branches that shrink their input come early.

    Between operations that all others come before or after, the best order is searched for, the most promising
    beginning first ("Ordering chaos": Ahn et al., 2020). Where that takes too long, a number of beginnings of the same
    length is kept at a time. The order stays as it is where none is better.

    Where %x and %y are small, and what is made larger of them is large. Before::

        %0 = resize(%x)
        %1 = resize(%y)
        %2 = reduce_sum(%0)
        %3 = reduce_sum(%1)

    After::

        %0 = resize(%x)
        %2 = reduce_sum(%0)
        %1 = resize(%y)
        %3 = reduce_sum(%1)
    """

    name = "order-operations"
    states: int = 20000
    """Beginnings that the exact search looks at between two such operations; fewer where more than 50 lie there."""
    width: int = 32
    """Beginnings that are kept at a time where that doesn't suffice."""

    def run(self, graph: Graph) -> Graph:
        live = LiveBytes(graph)
        if len(live.nodes) > MOST_OPERATIONS:
            return graph
        plain = list(range(len(live.nodes)))
        order = _Search(live, self.states, self.width).order()
        if live.peak(order) >= live.peak(plain):
            return graph
        return replace(graph, operations=(*live.fixed, *(live.operations[i] for i in order)))


order_operations = OrderOperations()

_Begun = tuple[int, int, tuple[int, ...]]
"""What is done, what is live after it, and in which order it was done."""


class _Search:
    """Orders of a graph, piece by piece."""

    def __init__(self, live: LiveBytes, states: int, width: int) -> None:
        self.live = live
        self.states = states
        self.width = width

    def order(self) -> tuple[int, ...]:
        """The best order that is found."""
        begun: _Begun = (0, 0, ())
        for piece in self._pieces():
            end = begun[0]
            for number in piece:
                end |= 1 << number
            begun = self._exactly(begun, end, piece) or self._nearly(begun, end, piece)
        return begun[2]

    def _pieces(self) -> list[list[int]]:
        """Operations between those that all others come before or after, each with that at its end."""
        nodes = self.live.nodes
        before = [0] * len(nodes)
        after = [0] * len(nodes)
        for i, node in enumerate(nodes):
            for j in _bits(node.waits):
                before[i] |= before[j] | 1 << j
        for i in reversed(range(len(nodes))):
            for j in _bits(nodes[i].waits):
                after[j] |= after[i] | 1 << i
        pieces: list[list[int]] = [[]]
        for i in range(len(nodes)):
            pieces[-1].append(i)
            if before[i] | after[i] | 1 << i == self.live.all:
                pieces.append([])
        return pieces

    def _exactly(self, begun: _Begun, end: int, piece: Sequence[int]) -> _Begun | None:
        """The best order of a piece; None if it isn't found in time."""
        waiting: list[tuple[int, int, tuple[int, ...], int, int]] = [(0, -len(begun[2]), begun[2], begun[0], begun[1])]
        seen = set[int]()
        while waiting:
            peak, _, order, done, now = heapq.heappop(waiting)
            if done == end:
                return done, now, order
            if done in seen:
                continue
            seen.add(done)
            if len(seen) * max(len(piece), 50) > 50 * self.states:
                return None
            for number in self.live.ready(done, piece):
                during, after = self.live.step(done, now, number)
                next_ = done | 1 << number
                if next_ not in seen:
                    longer = (*order, number)
                    heapq.heappush(waiting, (max(peak, during), -len(longer), longer, next_, after))
        return None

    def _nearly(self, begun: _Begun, end: int, piece: Sequence[int]) -> _Begun:
        """A good order of a piece: of all beginnings of a length, the best ones are kept."""
        kept = [(0, begun[1], begun[2], begun[0])]
        while kept[0][3] != end:
            found: dict[int, tuple[int, int, tuple[int, ...], int]] = {}
            for peak, now, order, done in kept:
                for number in self.live.ready(done, piece):
                    during, after = self.live.step(done, now, number)
                    next_ = done | 1 << number
                    longer = (max(peak, during), after, (*order, number), next_)
                    found[next_] = min(found.get(next_, longer), longer)
            kept = sorted(found.values())[: self.width]
        _, now, order, done = kept[0]
        return done, now, order


def _bits(number: int) -> list[int]:
    """The positions of ones."""
    return [i for i in range(number.bit_length()) if number >> i & 1]
