"""decompose: write composite operators as the simpler ones that they are made of."""

from __future__ import annotations

from dataclasses import dataclass

from ..graph.builder import Rewriter, rewritten
from ..graph.ir import Graph, Operation, Operator, Results, Value
from .base import Pass


@dataclass(frozen=True)
class Decompose(Pass):
    """Replace operators that have a `decompose` rule, such as softmax, by its result.

    Before::

        %0 = softmax(%x) {axis = -1}

    After::

        %0 = reduce_max(%x) {axes = [-1], keepdims = true}
        %1 = sub(%x, %0)
        %2 = exp(%1)
        %3 = reduce_sum(%2) {axes = [-1], keepdims = true}
        %4 = div(%2, %3)
    """

    name = "decompose"

    def run(self, graph: Graph) -> Graph:
        return rewritten(graph, _expanded)


def _expanded(b: Rewriter, op: Operation) -> Results | None:
    """What the rule makes of an operation; quantized elements that it moves, such as the largest, stay quantized."""
    if type(op.operator).decompose is Operator.decompose:
        return None
    made = b.expand(op, op.operator.decompose)
    given = op.result.type.quantization if isinstance(made, Value) else None
    if not isinstance(made, Value) or not op.operator.keeps_quantization or given is None:
        return made
    return made if made.type.quantization is not None else b.emit("reinterpret", made, y=given, location=op.location)


decompose = Decompose()
