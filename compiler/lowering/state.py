"""Programs that change their own parameters: a training step, a network with a state between its runs.

A graph with the attribute `updates`, a tuple of parameter names, has as its last outputs the new values of these
parameters. They live in the state region; where nothing reads the old value any more, the new one is written in place.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import InternalError
from ..graph.ir import Graph, Operation, Value
from ..types import TensorType
from .memory import align


@dataclass(frozen=True)
class StateRegion:
    """The parameters that a graph updates."""

    params: tuple[Value, ...]
    """In the order of the graph's `updates`."""
    results: tuple[Value, ...]
    """The outputs that are not updates."""
    updates: Mapping[Value, Value]
    """Parameter -> the value that replaces it."""
    offsets: Mapping[Value, int]
    bytes: int

    @property
    def table(self) -> tuple[tuple[str, TensorType, int], ...]:
        """Name, type and place of each parameter."""
        return tuple((p.name or "", p.type, self.offsets[p]) for p in self.params)


def state_of(graph: Graph) -> StateRegion:
    """Find the parameters that a graph updates; none for an ordinary graph."""
    params = tuple(op.result for op in graph.states)
    offsets: dict[Value, int] = {}
    size = 0
    for param in params:
        offsets[param] = size
        size += align(param.type.bytes)
    return StateRegion(params, graph.results, graph.updates, offsets, size)


def order_updates(graph: Graph, state: StateRegion, guards: Mapping[Value, Value]) -> tuple[Operation, ...]:
    """The operations in an order that updates each parameter as soon as its old value is not needed any more.

    That frees gradients early, and lets new values overwrite old ones. What guards a value comes before it.
    """
    makers = [(graph.producers[v], p) for p, v in state.updates.items() if v in graph.producers and v is not p]
    if not makers:
        return graph.operations
    position = {op: i for i, op in enumerate(graph.operations)}
    waits: dict[Operation, set[Operation]] = {
        op: {graph.producers[v] for v in op.operands if v in graph.producers} for op in graph.operations
    }
    for value, guard in guards.items():
        waits[graph.producers[value]].add(graph.producers[guard])
    for maker, param in makers:
        readers = {op for op in graph.users[param] if op is not maker}
        if not any(_depends(graph, op, maker, position) for op in readers):
            waits[maker] |= readers
    return _topological(waits, position, {maker for maker, _ in makers})


def _depends(graph: Graph, op: Operation, on: Operation, position: Mapping[Operation, int]) -> bool:
    """True if `op` needs a result of `on`, directly or not."""
    seen: set[Operation] = set()
    stack = [op]
    while stack:
        current = stack.pop()
        if current is on:
            return True
        if current in seen or position[current] < position[on]:
            continue
        seen.add(current)
        stack += [graph.producers[v] for v in current.operands if v in graph.producers]
    return False


def _topological(
    waits: Mapping[Operation, set[Operation]], position: Mapping[Operation, int], eager: set[Operation]
) -> tuple[Operation, ...]:
    """Operations in an order that respects `waits`: eager ones at once, the others by position."""
    followers: dict[Operation, list[Operation]] = {op: [] for op in waits}
    missing = {op: len(before) for op, before in waits.items()}
    for op, before in waits.items():
        for other in before:
            followers[other].append(op)
    ready = [(op not in eager, position[op], op) for op, count in missing.items() if count == 0]
    heapq.heapify(ready)
    order: list[Operation] = []
    while ready:
        _, _, op = heapq.heappop(ready)
        order.append(op)
        for follower in followers[op]:
            missing[follower] -= 1
            if missing[follower] == 0:
                heapq.heappush(ready, (follower not in eager, position[follower], follower))
    if len(order) != len(waits):
        raise InternalError("updates of parameters wait for each other")
    return tuple(order)
