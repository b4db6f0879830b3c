"""Bodies of fused operations: groups that are alike share one, so that all that looks at bodies can do so once."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from ..graph.ir import Graph, Operation, Value


class Bodies:
    """Makes the bodies of a graph's groups."""

    def __init__(self, graph: Graph) -> None:
        self._producers = graph.producers
        self._made: dict[Hashable, Graph] = {}
        """By what decides how they look, by identities: the graph keeps all that they are of."""

    def of(self, members: Sequence[Operation]) -> tuple[Sequence[Value], Graph]:
        """The values that a group takes from outside, and its body: that of any group that differs in values alone."""
        outside, key = self._seen(members)
        if key not in self._made:
            self._made[key] = self._body(members, outside)
        return outside, self._made[key]

    def _seen(self, members: Sequence[Operation]) -> tuple[Sequence[Value], Hashable]:
        """The values from outside, and what a body has of its members: what they read and do, where they stand."""
        places: dict[Value, int] = {}
        outside: list[Value] = []
        key: list[Hashable] = []
        for op in members:
            for value in op.operands:
                place = places.get(value)
                if place is None:
                    place = places[value] = len(places)
                    number = self._number(value)
                    if number is None:
                        outside.append(value)
                    key.append((id(value.type), None if number is None else id(number)))
                key.append(place)
            places[op.result] = len(places)
            key += (op.operator, id(op.attributes), id(op.location), id(op.result.type))
        return outside, tuple(key)

    def _number(self, value: Value) -> Operation | None:
        """The constant of one element that a value is; bodies have their own."""
        producer = self._producers.get(value)
        return producer if producer is not None and producer.name == "constant" and value.type.size == 1 else None

    def _body(self, members: Sequence[Operation], outside: Sequence[Value]) -> Graph:
        inner: dict[Value, Value] = {}
        inputs: list[Value] = []
        constants: list[Operation] = []
        names: set[str] = set()
        made = {op.result for op in members}
        for op in members:
            for place, value in enumerate(op.operands):
                if value in made or value in inner:
                    continue
                number = self._number(value)
                if number is not None:
                    constants.append(_copied(number, {}))
                    inner[value] = constants[-1].result
                else:
                    inner[value] = Value(value.type, _input_name(op, place, names))
                    inputs.append(inner[value])
        operations = list(constants)
        for op in members:
            operations.append(_copied(op, inner))
            inner[op.result] = operations[-1].result
        return Graph("fused", tuple(inputs), tuple(operations), (inner[members[-1].result],))


def _copied(op: Operation, values: dict[Value, Value]) -> Operation:
    operands = tuple(values[v] for v in op.operands)
    return Operation(op.operator, operands, op.attributes, (Value(op.result.type),), op.location)


def _input_name(op: Operation, place: int, taken: set[str]) -> str:
    """A name for an input of a body, after the operand it is first used as."""
    declared = op.operator.operands[min(place, len(op.operator.operands) - 1)].strip("*?")
    name, number = declared, 1
    while name in taken:
        number += 1
        name = f"{declared}{number}"
    taken.add(name)
    return name
