"""cse: common subexpression elimination."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from ..graph.builder import Rewriter, rewritten
from ..graph.ir import Graph, Operation, Results, Value
from ..graph.keys import computation_key, glance
from ..graph.registry import lookup
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
        seen = _Seen()

        def earlier(b: Rewriter, op: Operation) -> Results | None:
            if op.operator is param:
                return None
            first = seen.equal(op, tuple([b[v] for v in op.operands]))
            return tuple([b[r] for r in first.results]) if first is not None else None

        param = lookup("param")
        return rewritten(graph, earlier)


@dataclass(frozen=True, slots=True)
class _Seen:
    """The operations so far, the first of those that compute the same."""

    alone: dict[Hashable, Operation | None] = field(default_factory=dict[Hashable, Operation | None])
    """By what is seen at once; None where a second one came. Most stay alone, and no key, which takes long, is made."""
    keyed: dict[Hashable, Operation] = field(default_factory=dict[Hashable, Operation])

    def equal(self, op: Operation, operands: tuple[Value, ...]) -> Operation | None:
        """The first operation that computes what this one does, of these operands; None if this is it."""
        ordered = tuple(sorted(operands, key=id)) if op.operator.commutative else operands
        near = op.operator, ordered or glance(op.attributes)
        if near not in self.alone:
            self.alone[near] = op
            return None
        other, self.alone[near] = self.alone[near], None
        if other is not None:
            self.keyed[near, computation_key(other)] = other
        first = self.keyed.setdefault((near, computation_key(op)), op)
        return None if first is op else first


cse = Cse()
