"""fold-constants: evaluate what depends on constants alone."""

from __future__ import annotations

from dataclasses import dataclass

from ..graph.analysis import macs_of
from ..graph.builder import Rewriter
from ..graph.interpreter import evaluate
from ..graph.ir import Graph, Operation, Value
from .base import Pass
from .dce import dce


@dataclass(frozen=True)
class FoldConstants(Pass):
    """Replace operations on constants by their results, up to `limit` elements (or multiplications) each.

    Parameters are no constants: what depends on them is computed when weights are loaded.

    Before::

        %0 = constant {value = dense<2.0>} : f32[]
        %1 = exp(%0) : f32[]
        %2 = mul(%x, %1) : f32[4]

    After::

        %0 = constant {value = dense<7.389056>} : f32[]
        %1 = mul(%x, %0) : f32[4]
    """

    name = "fold-constants"
    limit: int = 1 << 16

    def run(self, graph: Graph) -> Graph:
        rewriter = Rewriter(graph)
        constants: dict[Value, Operation] = {}
        folded = False
        for op in graph.operations:
            operands = [constants.get(rewriter[v]) for v in op.operands]
            sources = [o for o in operands if o is not None]
            if op.operands and len(sources) == len(operands) and self._is_small(op):
                self._fold(rewriter, op, sources, constants)
                folded = True
                continue
            copied = rewriter.copy(op)
            if op.name == "constant":
                constants[copied.result] = copied
        return dce(rewriter.close()) if folded else graph

    def _is_small(self, op: Operation) -> bool:
        if op.body is not None or op.operator.regions:
            return False
        return macs_of(op) <= self.limit and all(r.type.size <= self.limit for r in op.results)

    def _fold(
        self, rewriter: Rewriter, op: Operation, sources: list[Operation], constants: dict[Value, Operation]
    ) -> None:
        unique = tuple(dict.fromkeys(sources))
        operation = Operation(op.operator, tuple(s.result for s in sources), op.attributes, op.results)
        for old, array in zip(op.results, evaluate(Graph("fold", (), (*unique, operation), op.results)), strict=True):
            value = rewriter.constant(array, op.location, quantization=old.type.quantization)
            constants[value] = rewriter.operations[-1]
            rewriter.replace(old, value)


fold_constants = FoldConstants()
