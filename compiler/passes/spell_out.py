"""Operators that a consumer has no rule for, made of others that it has rules for."""

from __future__ import annotations

from typing import Any

from ..graph.builder import Rewriter, rewritten
from ..graph.ir import Graph, Operation, Results
from ..ops.facets import Facet


def spelled_out(graph: Graph, *facets: Facet[Any]) -> Graph:
    """The graph with operators that none of the facets has a rule for made of others, where all of these have one.

    Before, for `TFLITE`::

        %1 = hard_sigmoid(%0)

    After::

        %1 = mul(relu6(add(%0, 3)), 0.16666667)
    """

    def has_rule(op: Operation) -> bool:
        return any(facet.of(op.operator) is not None for facet in facets)

    def made_of_others(b: Rewriter, op: Operation) -> Results | None:
        if has_rule(op):
            return None
        start = len(b.operations)
        result = b.expand(op, op.operator.expand)
        if all(has_rule(part) or part.name == "constant" for part in b.operations[start:]):
            return result
        del b.operations[start:]
        return None

    return rewritten(graph, made_of_others)
