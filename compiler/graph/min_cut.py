"""Minimum cuts of directed networks with capacities, by Dinic's algorithm.

Source: Dinic, "Algorithm for solution of a problem of maximum flow in networks with power estimation", 1970.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Node = TypeVar("Node", bound=Hashable)

UNLIMITED = 1 << 62
"""Capacity of an edge that no cut takes."""


@dataclass(slots=True)
class _Edge:
    start: int
    end: int
    capacity: int
    """What is left of it."""


@dataclass(slots=True)
class FlowNetwork(Generic[Node]):
    """A directed network. Nodes are whatever `edge` is given."""

    _numbers: dict[Node, int] = field(default_factory=dict)
    _edges: list[_Edge] = field(default_factory=list)
    """Each with its reverse behind it."""
    _leaving: list[list[int]] = field(default_factory=list)
    """Numbers of the edges that leave each node."""

    def edge(self, start: Node, end: Node, capacity: int = UNLIMITED) -> None:
        """Add an edge; several between the same nodes add up."""
        a, b = self._number(start), self._number(end)
        for edge in (_Edge(a, b, capacity), _Edge(b, a, 0)):
            self._leaving[edge.start].append(len(self._edges))
            self._edges.append(edge)

    def sink_side(self, source: Node, sink: Node) -> frozenset[Node]:
        """The nodes behind the minimum cut between `source` and `sink`; of several cuts, the one nearest to `sink`.

        The sum of the capacities must stay finite: some path of limited edges only separates the two. Consumes the
        network.
        """
        first, last = self._number(source), self._number(sink)
        while (levels := self._levels(first))[last] >= 0:
            self._block(first, last, levels)
        reached = self._reached(last, lambda edge: (edge ^ 1, self._edges[edge].end))
        return frozenset(node for node, number in self._numbers.items() if reached[number] >= 0)

    def _number(self, node: Node) -> int:
        if node not in self._numbers:
            self._numbers[node] = len(self._leaving)
            self._leaving.append([])
        return self._numbers[node]

    def _levels(self, first: int) -> list[int]:
        """Distance of each node from `first` along edges with something left; -1 where there is no way."""
        return self._reached(first, lambda edge: (edge, self._edges[edge].end))

    def _reached(self, first: int, step: Callable[[int], tuple[int, int]]) -> list[int]:
        """Breadth-first search; `step` says which edge must have something left, and where it leads."""
        levels = [-1] * len(self._leaving)
        levels[first] = 0
        waiting = deque([first])
        while waiting:
            node = waiting.popleft()
            for number in self._leaving[node]:
                used, end = step(number)
                if self._edges[used].capacity > 0 and levels[end] < 0:
                    levels[end] = levels[node] + 1
                    waiting.append(end)
        return levels

    def _block(self, first: int, last: int, levels: list[int]) -> None:
        """Send flow along shortest paths until none is left."""
        untried = [iter(edges) for edges in self._leaving]
        path: list[int] = []
        while True:
            node = self._edges[path[-1]].end if path else first
            if node == last:
                path = self._send(path)
                continue
            if (number := self._next(untried[node], levels)) is not None:
                path.append(number)
            elif path:
                path.pop()
            else:
                return

    def _next(self, candidates: Iterable[int], levels: list[int]) -> int | None:
        """An edge with something left that leads one level further."""
        for number in candidates:
            edge = self._edges[number]
            if edge.capacity > 0 and levels[edge.end] == levels[edge.start] + 1:
                return number
        return None

    def _send(self, path: list[int]) -> list[int]:
        """Fill a path; the part of it that goes on being usable, up to the first full edge."""
        flow = min(self._edges[number].capacity for number in path)
        for number in path:
            self._edges[number].capacity -= flow
            self._edges[number ^ 1].capacity += flow
        full = next(i for i, number in enumerate(path) if self._edges[number].capacity == 0)
        return path[:full]
