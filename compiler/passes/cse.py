"""cse: common subexpression elimination."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from ..graph.builder import Rewriter
from ..graph.ir import Graph, Operation, Value
from ..graph.keys import attributes_key
from ..graph.printer import print_graph
from .base import Pass


@dataclass(frozen=True)
class Cse(Pass):
    """Compute equal expressions once. The operands of commutative operators may stand in either order.

    Parameters are never merged: each has a name and a value of its own.

    Before::

        %0 = add(%x, %y)
        %1 = add(%y, %x)
        %2 = mul(%0, %1)

    After::

        %0 = add(%x, %y)
        %1 = mul(%0, %0)
    """

    name = "cse"

    def run(self, graph: Graph) -> Graph:
        rewriter = Rewriter(graph)
        numbers: dict[Value, int] = {}
        seen: dict[Hashable, Operation] = {}
        for op in graph.operations:
            operands = tuple(numbers.setdefault(rewriter[v], len(numbers)) for v in op.operands)
            key = _key(op, operands)
            first = seen.get(key) if key is not None else None
            if first is None:
                copied = rewriter.copy(op)
                if key is not None:
                    seen[key] = copied
                continue
            for old, new in zip(op.results, first.results, strict=True):
                rewriter.replace(old, new)
        return rewriter.close() if len(rewriter.operations) < len(graph.operations) else graph


def _key(op: Operation, operands: tuple[int, ...]) -> Hashable:
    """Equal for operations that compute the same; None for those that stay apart."""
    if op.name == "param":
        return None
    if op.operator.commutative:
        operands = tuple(sorted(operands))
    types = tuple(r.type for r in op.results)
    body = print_graph(op.body, locations=False) if op.body is not None else None
    return op.name, operands, types, attributes_key(op.attributes), body


cse = Cse()
