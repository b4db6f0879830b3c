"""Facts about graphs: what is known when weights are loaded, dominance, parameters and arithmetic of each layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import Location
from .ir import Graph, Operation, Value, walk


def static_values(graph: Graph) -> frozenset[Value]:
    """The values that depend on parameters and constants only: they are computed once, when weights are loaded.

    Parameters that the graph itself changes (its attribute `updates` names them) are not static, nor are the results of
    conditions and loops, whose kernels the program has.
    """
    changing = frozenset(graph.attributes.get("updates", ()))
    static: set[Value] = set()
    for op in graph.operations:
        changes = op.operator.regions or (op.name == "param" and op.result.name in changing)
        if static.issuperset(op.operands) and not changes:
            static.update(op.results)
    return frozenset(static)


def post_dominators(graph: Graph, among: Sequence[Operation] | None = None) -> Mapping[Operation, Operation | None]:
    """For each operation the first one that all its results must pass through on the way to the outputs.

    None where there is none: an output leaves the graph there, or nothing uses the results. With `among`, in order,
    only for these operations, which are all that use their results.
    """
    operations = graph.operations if among is None else among
    position = {op: i for i, op in enumerate(operations)}
    outputs = frozenset(graph.outputs)
    dominators: dict[Operation, Operation | None] = {}

    def meet(a: Operation | None, b: Operation | None) -> Operation | None:
        while a is not b:
            if a is None or b is None:
                return None
            if position[a] < position[b]:
                a = dominators[a]
            else:
                b = dominators[b]
        return a

    for op in reversed(operations):
        users = [user for result in op.results for user in graph.users[result]]
        if not users or any(r in outputs for r in op.results):
            dominators[op] = None
            continue
        common: Operation | None = users[0]
        for user in users[1:]:
            common = meet(common, user)
        dominators[op] = common
    return dominators


def operations_between(graph: Graph, first: Operation, last: Operation) -> list[Operation]:
    """The operations on paths from `first` to its post-dominator `last`, both left out, in no particular order."""
    found: dict[Operation, None] = {}
    waiting = [first]
    while waiting:
        op = waiting.pop()
        for user in (u for result in op.results for u in graph.users[result]):
            if user is not last and user not in found:
                found[user] = None
                waiting.append(user)
    return list(found)


def macs_of(op: Operation) -> int:
    """Multiply-accumulate operations of one execution, those of a fused body included."""
    if op.body is not None:
        return sum(map(macs_of, op.body.operations))
    return op.operator.macs(tuple(v.type for v in op.operands), tuple(r.type for r in op.results), op.attributes)


@dataclass(frozen=True, slots=True)
class Totals:
    """Sizes of a whole network; parameters are counted in elements."""

    parameters: int
    """Trainable ones."""
    non_trainable: int
    macs: int


def totals(graph: Graph) -> Totals:
    """Add up the parameters and the arithmetic of a graph."""
    trainable = sum(p.result.type.size for p in graph.parameters if p.attributes["trainable"])
    fixed = sum(p.result.type.size for p in graph.parameters if not p.attributes["trainable"])
    static = static_values(graph)
    macs = sum(macs_of(op) for op in graph.operations if not _is_static(op, static))
    return Totals(trainable, fixed, macs)


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One line of the table of layers: an operation that runs for every input, with the parameters it uses first."""

    name: str
    """Path of its parameters ("layer1.0.conv1"), else its operator."""
    operator: str
    """For a fused operation those of its body: "conv2d+relu"."""
    shape: tuple[int, ...]
    parameters: int
    non_trainable: int
    macs: int
    location: Location | None


def layer_table(graph: Graph) -> list[LayerRow]:
    """The layers of a graph in order; a shared parameter is counted where it is used first."""
    static = static_values(graph)
    counted: set[Operation] = set()
    return [_row(graph, op, static, counted) for op in graph.operations if not _is_static(op, static)]


def _row(graph: Graph, op: Operation, static: frozenset[Value], counted: set[Operation]) -> LayerRow:
    used = _parameters_behind(graph, op, static)
    new = [p for p in used if p not in counted]
    counted.update(new)
    names = [member.name for member in walk(op.body) if member.name != "constant"] if op.body else [op.name]
    prefix = (used[0].result.name or "").rpartition(".")[0] if used else ""
    return LayerRow(
        prefix or op.name,
        "+".join(names),
        op.results[0].type.shape,
        sum(p.result.type.size for p in new if p.attributes["trainable"]),
        sum(p.result.type.size for p in new if not p.attributes["trainable"]),
        macs_of(op),
        op.location,
    )


def _parameters_behind(graph: Graph, op: Operation, static: frozenset[Value]) -> list[Operation]:
    """The `param` operations that the static operands of an operation are made of, nearest operand first."""
    found: dict[Operation, None] = {}
    waiting = [v for v in reversed(op.operands) if v in static]
    while waiting:
        producer = graph.producers[waiting.pop()]
        if producer.name == "param":
            found[producer] = None
        waiting.extend(reversed(producer.operands))
    return list(found)


def _is_static(op: Operation, static: frozenset[Value]) -> bool:
    return all(r in static for r in op.results)
