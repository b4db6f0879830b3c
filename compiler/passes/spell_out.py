"""Operators that a consumer has no rule for, made of others that it has rules for."""

from __future__ import annotations

from typing import Any

from ..graph.builder import Rewriter, rewritten
from ..graph.ir import Graph, Operation, Results
from ..ops.facets import Facet
from ..ops.moves.axes import inverse
from ..ops.reductions.reduction import LogSoftmax, Softmax, normalize_axis

LAST_AXIS = (Softmax, LogSoftmax)
"""Operators whose rules know the last axis only; along others they stand between transposes."""


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
            return _along_last(b, op) if isinstance(op.operator, LAST_AXIS) else None
        start = len(b.operations)
        result = b.expand(op, op.operator.expand)
        if all(has_rule(part) or part.name == "constant" for part in b.operations[start:]):
            return result
        del b.operations[start:]
        return None

    return rewritten(graph, made_of_others)


def _along_last(b: Rewriter, op: Operation) -> Results | None:
    """An operation along another axis than the last one: transposed, along the last one, and back."""
    (x,) = op.operands
    rank = x.type.rank
    axis = normalize_axis(op.name, op.attributes["axis"], rank)
    if axis == rank - 1 or x.type.dtype != op.result.type.dtype or op.result.type.quantization is not None:
        return None
    turn = (*(d for d in range(rank) if d != axis), axis)
    turned = b.emit("transpose", b[x], permutation=turn, location=op.location)
    result = b.operation(op.operator, (turned,), {**op.attributes, "axis": rank - 1}, location=op.location).result
    return b.emit("transpose", result, permutation=inverse(turn), location=op.location, name=op.result.name)
