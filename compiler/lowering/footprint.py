"""How much memory a program will take, known before it is scheduled and compiled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..graph.analysis import static_values
from ..graph.ir import Graph, Operation, Value
from ..graph.regions import regions_of
from ..types import DType, TensorType
from .guards import guards_of
from .memory import Lifetime, plan_arena
from .state import order_updates, state_of


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes that a program works on."""

    arena: int
    """Intermediate results."""
    state: int
    """Parameters that the graph itself changes."""
    weights: int
    """Parameters that it only reads, as they are in a file; packed they may take more."""
    inputs: int
    outputs: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.arena + self.state + self.weights + self.inputs + self.outputs


def footprint(graph: Graph) -> Footprint:
    """Estimate from the lifetimes of values in the order of operations.

    Exact, but for buffers that schedules add, if the graph has been through fuse and assign-layouts; too much if not,
    because fusion keeps values in registers.
    """
    state = state_of(graph)
    weights = sum(op.result.type.bytes for op in graph.parameters if op.result not in state.updates)
    inputs, outputs = (sum(v.type.bytes for v in values) for values in (graph.inputs, state.results))
    arena = plan_arena(lifetimes(graph)).size
    return Footprint(arena, state.bytes, weights, inputs, outputs)


def lifetimes(graph: Graph) -> list[Lifetime]:
    """When each value lives that has no place of its own: no input, parameter, constant, output or update."""
    state = state_of(graph)
    guards = guards_of(graph, state)
    elsewhere = {*graph.inputs, *graph.outputs, *state.params, *static_values(graph)}
    roots: dict[Value, Value] = {}
    first: dict[Value, int] = {}
    last: dict[Value, int] = {}
    for position, op in enumerate(order_updates(graph, state, guards)):
        if _is_view(op):
            roots[op.result] = _root(op.operands[0], roots)
            continue
        for value in (*op.operands, *op.results):
            root = _root(value, roots)
            first.setdefault(root, position)
            last[root] = position
        for inner in regions_of(op):
            workspace = Value(TensorType(DType.U8, (plan_arena(lifetimes(inner)).size,)))
            first[workspace] = last[workspace] = position
    last |= {_root(guard, roots): len(graph.operations) for guard in guards.values()}
    return [Lifetime(v, v.type.bytes, first[v], last[v]) for v in first if v not in elsewhere]


def _root(value: Value, roots: Mapping[Value, Value]) -> Value:
    return roots.get(value, value)


def _is_view(op: Operation) -> bool:
    return op.operator.view and op.operands[0].type.layout is None and op.result.type.layout is None
