"""Whether two graphs are the same but for names, and which tensor of one stands for which of the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...compiler.graph.ir import Attribute, Graph, Operation, Value
from ...compiler.graph.keys import attributes_key

KNOWN = ("param", "constant")


class DifferentError(Exception):
    """The graphs differ; says where."""


class _Side:
    """The operations of a graph, and of the graphs of its conditions and loops as far as they have been met."""

    def __init__(self, producers: Mapping[Value, Operation]) -> None:
        self.producers = producers
        self.inner: dict[Value, Operation] = {}
        self.outer: dict[Value, Value] = {}
        """What inputs of inner graphs stand for outside."""
        self.turns: dict[Value, tuple[Operation, int]] = {}
        """Inputs of loops that change from turn to turn: the loop, and which of its results they become."""
        self.entered: set[Operation] = set()

    def producer(self, value: Value) -> Operation | None:
        """What makes a value."""
        return self.producers.get(value) or self.inner.get(value)

    def resolved(self, value: Value) -> Value:
        """The value outside that one inside stands for, or one behind a condition or a loop that doesn't change it."""
        while True:
            op = self.producer(value)
            if op is not None and op.operator.regions and op.operator.name != "scan":
                self.enter(op)
            after = self.outer.get(value)
            if after is None:
                return value
            value = after

    def enter(self, op: Operation) -> None:
        """Get to know the graphs of a condition or a loop."""
        if op in self.entered:
            return
        self.entered.add(op)
        is_loop = op.name == "while"
        values = op.operands if is_loop else op.operands[1:]
        graphs: list[Graph] = [op.attributes[name] for name in op.operator.regions]
        changing = [is_loop and g.outputs[i] is not g.inputs[i] for g in graphs[1:] for i in range(len(op.results))]
        for graph in graphs:
            self.inner.update(graph.producers)
            for i, (value, operand) in enumerate(zip(graph.inputs, values, strict=True)):
                if i < len(changing) and changing[i]:
                    self.turns[value] = op, i
                else:
                    self.outer[value] = operand
        for i, result in enumerate(op.results):
            if is_loop and not changing[i]:
                self.outer[result] = op.operands[i]
            elif not is_loop:
                one, other = (self.resolved(graph.outputs[i]) for graph in graphs)
                if one is other:
                    self.outer[result] = one


def _inside(one: Operation, i: int, other: Operation, j: int) -> list[tuple[Value, Value]]:
    """What must stand for each other where result i of a condition or a loop stands for result j of another one."""
    regions = [(one.attributes[name], other.attributes[name]) for name in one.operator.regions]
    if one.name == "if":
        return [(one.operands[0], other.operands[0]), *((a.outputs[i], b.outputs[j]) for a, b in regions)]
    (asked, other_asked), (body, other_body) = regions
    return [
        (asked.outputs[0], other_asked.outputs[0]),
        (one.operands[i], other.operands[j]),
        (body.outputs[i], other_body.outputs[j]),
        *((a.inputs[i], b.inputs[j]) for a, b in regions),
    ]


def matched(
    new: Mapping[Value, Operation],
    old: Mapping[Value, Operation],
    pairs: list[tuple[Value, Value]],
    known: dict[Value, Value],
    is_same: Callable[[Operation, Operation], bool],
) -> dict[Value, Value]:
    """Which value of the old graph each value of the new one stands for, from pairs of results backward.

    `known` are pairs to begin with, such as inputs; `is_same` compares parameters and constants. Raises
    `DifferentError`.
    """
    found = dict(known)
    work = list(pairs)
    sides = _Side(new), _Side(old)
    while work:
        a, b = (side.resolved(value) for side, value in zip(sides, work.pop(), strict=True))
        if a in found:
            if found[a] is not b:
                raise DifferentError(f"{_title(sides[0], a)} stands for two tensors")
            continue
        found[a] = b
        turn, other_turn = sides[0].turns.get(a), sides[1].turns.get(b)
        if turn is not None and other_turn is not None:
            work.append((turn[0].results[turn[1]], other_turn[0].results[other_turn[1]]))
            continue
        one, other = sides[0].producer(a), sides[1].producer(b)
        if one is None or other is None:
            raise DifferentError(f"{_title(sides[0], a)} stands where {_title(sides[1], b)} was")
        if one.name in KNOWN and other.name in KNOWN:
            if a.type != b.type or not is_same(one, other):
                raise DifferentError(f"{_title(sides[0], a)} isn't {_title(sides[1], b)}")
            continue
        places = one.results.index(a), other.results.index(b)
        if one.name == other.name and one in sides[0].entered and other in sides[1].entered:
            work += _inside(one, places[0], other, places[1])
            continue
        if (
            one.name != other.name
            or len(one.operands) != len(other.operands)
            or places[0] != places[1]
            or any(r.type != s.type for r, s in zip(one.results, other.results, strict=True))
            or not same_attributes(one, other)
        ):
            raise DifferentError(f"{_title(sides[0], a)} isn't {_title(sides[1], b)}")
        work.extend(zip(one.operands, other.operands, strict=True))
    return found


def same_attributes(one: Operation, other: Operation) -> bool:
    """Whether attributes say the same, however axes are counted."""
    if attributes_key(one.attributes) == attributes_key(other.attributes):
        return True
    return attributes_key(_counted(one)) == attributes_key(_counted(other))


def _counted(op: Operation) -> dict[str, Attribute]:
    """The attributes, with axes counted from the front."""
    attributes = dict(op.attributes)
    rank = op.operands[0].type.rank if op.operands else 0
    if rank and isinstance(axis := attributes.get("axis"), int):
        attributes["axis"] = axis % rank
    if rank and isinstance(axes := attributes.get("axes"), tuple):
        attributes["axes"] = tuple(sorted(axis % rank for axis in axes))
    return attributes


def _title(side: _Side, value: Value) -> str:
    op = side.producer(value)
    name = f" `{value.name}`" if value.name else ""
    return f"the {op.name if op else 'input'}{name} of {value.type}"


def correspondence(new: Graph, old: Graph) -> dict[Value, Value]:
    """The parameters of the new graph and what they stand for in the old one: parameters, or constants.

    Raises `DifferentError` unless the graphs have the same operations, attributes and types, whatever the names.
    """
    if [v.type for v in new.inputs] != [v.type for v in old.inputs] or len(new.outputs) != len(old.outputs):
        raise DifferentError("inputs or outputs differ")
    found = matched(
        new.producers,
        old.producers,
        list(zip(new.outputs, old.outputs, strict=True)),
        dict(zip(new.inputs, old.inputs, strict=True)),
        same_tensor,
    )
    tensors = {a: b for a, b in found.items() if a in new.producers and new.producers[a].name == "param"}
    if len(set(tensors.values())) != len(tensors):
        raise DifferentError("two parameters stand for one tensor")
    return tensors


def same_tensor(one: Operation, other: Operation) -> bool:
    """Whether a parameter or constant of the text may be one of the graph."""
    if one.name == "param":
        return other.name == "constant" or _settings(one) == _settings(other)
    if other.name != "constant":
        return False
    a, b = one.attributes["value"], other.attributes["value"]
    return bool(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())


def _settings(op: Operation) -> object:
    return attributes_key(op.attributes)


def producers_within(graph: Graph) -> dict[Value, Operation]:
    """What makes each value of a graph, and of the graphs of its conditions and loops."""
    found = dict(graph.producers)
    for op in graph.operations:
        for name in op.operator.regions:
            found.update(producers_within(op.attributes[name]))
    return found
