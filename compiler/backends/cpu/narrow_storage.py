"""Which values a graph with products of bfloat16 stores as bfloat16, and of which a kernel rounds a copy."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ...graph.ir import Graph, Operation, Value
from ...lowering.group import Group, group_of
from ...types import DType

WORTH_A_COPY = 64
"""Products for each element of an input that is rounded by a kernel of its own, at least."""


def moves(op: Operation) -> bool:
    """True if an operation moves bits as well as numbers; padding of zeros is the same for both."""
    return op.operator.moves and op.body is None and op.attributes.get("value", 0.0) == 0


class NarrowStorage:
    """The decisions for a graph; `contractions` and `depthwise` are groups that take their first operand so."""

    def __init__(
        self,
        graph: Graph,
        static: Collection[Value],
        contractions: Mapping[Operation, Group],
        depthwise: Mapping[Operation, Group],
    ) -> None:
        self.graph, self.static = graph, static
        self.contractions, self.depthwise = contractions, depthwise
        self.stored: set[Value] = set()
        """Values that the group which makes them stores as bfloat16."""
        self.copied: set[Value] = set()
        """Values of which a kernel rounds a copy."""
        self._possible = self._find_possible()
        for group in depthwise.values():
            if (value := group.outer[group.anchor.operands[0]]) in self._possible:
                self._store(value)
        for group in contractions.values():
            self._choose_input(group.outer[group.anchor.operands[0]])
        self._choose_branches()

    def _find_possible(self) -> set[Value]:
        """Values that can be stored so: all that read them take them, and what moves elements moves bits."""
        found = {v for op in self.graph.operations for v in op.results if self._is_made_of_bits(op, v)}
        while refused := {v for v in found if not self._is_read_as_bits(v, found)}:
            found -= refused
        return found

    def _is_made_of_bits(self, op: Operation, value: Value) -> bool:
        """True if what makes a value can round it before it is stored, or moves bits."""
        if value.type.dtype is not DType.F32 or value in self.static or value in self.graph.outputs:
            return False
        if len(op.results) != 1 or not value.type.size:
            return False
        if op.body is not None:
            return not group_of(op, self.graph.producers).normalizes_rows
        return moves(op) or op.operator.anchor or (op.operator.elementwise and not op.operator.view)

    def _is_read_as_bits(self, value: Value, possible: Collection[Value]) -> bool:
        maker, users = self.graph.producers[value], self.graph.users[value]
        if moves(maker) and not all(v in possible for v in maker.operands):
            return False
        return all(op.result in possible if moves(op) else self._takes_bits(op, value) for op in users)

    def _takes_bits(self, op: Operation, value: Value) -> bool:
        """True if all members of a group that read a value take it as it is stored."""
        if op.operator.regions or len(op.results) != 1:
            return False
        if group := self.contractions.get(op) or self.depthwise.get(op):
            return all(group.outer[v] is not value for v in group.anchor.operands[1:])
        members = op.body.operations if op.body is not None else (op,)
        return all((m.operator.elementwise and not m.operator.view) or m.operator.picks for m in members)

    def _store(self, value: Value) -> None:
        """Store a value so, with what moves its elements, and what they are picked from: rounding it adds no error."""
        if value in self.stored:
            return
        self.stored.add(value)
        maker = self.graph.producers[value]
        before = maker.operands if moves(maker) or (maker.body is None and maker.operator.picks) else ()
        after = [op.result for op in self.graph.users[value] if moves(op)]
        for other in (*before, *after):
            if other in self._possible:
                self._store(other)

    def _choose_input(self, value: Value) -> None:
        """Decide how a contraction gets what it multiplies."""
        if value in self.static or value in self.stored or value in self.copied or not value.type.size:
            return
        if value in self._possible:
            self._store(value)
            return
        users = self.graph.users[value]
        macs = sum(g.macs for op in users if (g := self.contractions.get(op)) and self._multiplies(g, value))
        if macs >= WORTH_A_COPY * value.type.size:
            self.copied.add(value)

    def _multiplies(self, group: Group, value: Value) -> bool:
        return group.outer[group.anchor.operands[0]] is value

    def _choose_branches(self) -> None:
        """Store the result of a branch so if all that reads it is the end of another one, whose sum is stored so."""
        for op in self.contractions:
            users = self.graph.users[op.result]
            if op.result in self._possible and users and all(self._ends_alike(user, op.result) for user in users):
                self._store(op.result)

    def _ends_alike(self, op: Operation, value: Value) -> bool:
        return op in self.contractions and op.result in self.stored and op.result.type.shape == value.type.shape
