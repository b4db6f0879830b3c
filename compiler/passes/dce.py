"""dce: dead code elimination."""

from __future__ import annotations

from dataclasses import dataclass, replace
from weakref import WeakSet

from ..graph.ir import Graph, Operation
from .base import Pass

_CLEAN: WeakSet[Graph] = WeakSet()
"""Graphs without dead operations: many passes begin with this one, which most of them then find as they left it."""


@dataclass(frozen=True)
class Dce(Pass):
    """Drop operations whose results nothing uses, parameters included; inputs and the parameters that are updated stay.

    Before::

        %0 = relu(%x)
        %1 = exp(%x)
        return %1

    After::

        %0 = exp(%x)
        return %0
    """

    name = "dce"

    def run(self, graph: Graph) -> Graph:
        if graph in _CLEAN:
            return graph
        needed = {*graph.outputs, *(op.result for op in graph.states)}
        alive: list[Operation] = []
        for op in reversed(graph.operations):
            if not needed.isdisjoint(op.results):
                alive.append(op)
                needed.update(op.operands)
        clean = graph
        if len(alive) < len(graph.operations):
            clean = replace(graph, operations=tuple(reversed(alive)))
        _CLEAN.add(clean)
        return clean


dce = Dce()
