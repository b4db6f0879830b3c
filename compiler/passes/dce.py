"""dce: dead code elimination."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..graph.ir import Graph, Operation
from .base import Pass


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
        needed = {*graph.outputs, *(op.result for op in graph.states)}
        alive: list[Operation] = []
        for op in reversed(graph.operations):
            if not needed.isdisjoint(op.results):
                alive.append(op)
                needed.update(op.operands)
        if len(alive) == len(graph.operations):
            return graph
        return replace(graph, operations=tuple(reversed(alive)))


dce = Dce()
