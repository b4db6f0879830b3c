"""The bytes that are live while a graph is computed in one order or another.

Counted are results that need memory of their own: no views, no outputs, nothing that is known when weights are
loaded. An operation that may overwrite an operand, element by element, takes none where the operand isn't read later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .analysis import static_values
from .in_place import reads_in_place
from .ir import Graph, Operation, Value


@dataclass(frozen=True, slots=True)
class _Node:
    """An operation: bits of those that it waits for, bytes of its results, and what it may overwrite."""

    waits: int
    values: tuple[int, ...]
    """Numbers of the values whose memory is new."""
    reads: tuple[int, ...]
    overwrites: tuple[int, ...]


class LiveBytes:
    """The operations of a graph by their numbers, a set of them as the bits of an integer."""

    def __init__(self, graph: Graph) -> None:
        static = static_values(graph)
        self.operations = [op for op in graph.operations if op.results[0] not in static]
        self.fixed = [op for op in graph.operations if op.results[0] in static]
        """What is no step of a run."""
        self._roots: dict[Value, Value] = {}
        self._number: dict[Value, int] = {}
        self.sizes: list[int] = []
        self._makers = {r: i for i, op in enumerate(self.operations) for r in op.results}
        self._kept = frozenset(graph.outputs)
        self.nodes = [self._node(op) for op in self.operations]
        self.users = [0] * len(self.sizes)
        """Of each value, the operations that read it or a view of it."""
        for i, node in enumerate(self.nodes):
            for value in node.reads:
                self.users[value] |= 1 << i
        self.all = (1 << len(self.nodes)) - 1

    def _node(self, op: Operation) -> _Node:
        waits = 0
        for operand in op.operands:
            if operand in self._makers:
                waits |= 1 << self._makers[operand]
        is_view = op.operator.view and op.operands[0].type.layout is None and op.result.type.layout is None
        values = list[int]()
        if is_view:
            self._roots[op.result] = self._roots.get(op.operands[0], op.operands[0])
        elif op.name != "param":
            for result in op.results:
                if result not in self._kept:
                    self._number[result] = len(self.sizes)
                    values.append(len(self.sizes))
                    self.sizes.append(result.type.bytes)
        reads = [n for v in op.operands if (n := self._number.get(self._roots.get(v, v))) is not None]
        return _Node(waits, tuple(values), tuple(dict.fromkeys(reads)), self._overwrites(op, values))

    def _overwrites(self, op: Operation, values: Sequence[int]) -> tuple[int, ...]:
        if len(op.results) != 1 or not values or op.operator.regions:
            return ()
        like = [v for v in dict.fromkeys(op.operands) if v.type == op.result.type and v in self._number]
        return tuple(self._number[v] for v in like if reads_in_place(op, v))

    def step(self, done: int, live: int, number: int) -> tuple[int, int]:
        """What is live while an operation is computed after others that are done, and what is so afterwards."""
        node = self.nodes[number]
        done |= 1 << number
        new = sum(self.sizes[v] for v in node.values)
        dead = [v for v in node.reads if not self.users[v] & ~done]
        unread = sum(self.sizes[v] for v in node.values if not self.users[v])
        during = live + (0 if any(v in dead for v in node.overwrites) else new)
        return during, live + new - unread - sum(self.sizes[v] for v in dead)

    def ready(self, done: int, among: Sequence[int]) -> list[int]:
        """Those of some operations that can come next."""
        return [i for i in among if not done >> i & 1 and not self.nodes[i].waits & ~done]

    def peak(self, order: Sequence[int]) -> int:
        """The most that is live at once."""
        done = live = most = 0
        for number in order:
            during, live = self.step(done, live, number)
            done |= 1 << number
            most = max(most, during)
        return most
