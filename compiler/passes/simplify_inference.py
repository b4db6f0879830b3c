"""simplify-inference: replace what only training needs."""

from __future__ import annotations

from dataclasses import dataclass

from ..graph.builder import Rewriter
from ..graph.ir import Graph
from ..ops.reductions.normalization import BatchNorm, Dropout
from .base import Pass
from .normalization import scale_of, shift_of


@dataclass(frozen=True)
class SimplifyInference(Pass):
    """Drop dropout, and turn batch_norm into a product and a sum for each channel.

    Factor and summand are operations on parameters, evaluated once, when weights are loaded. Run fold-batch-norm
    first: it leaves nothing of a batch_norm that follows a convolution.

    Before::

        %0 = dropout(%x) {rate = 0.5}
        %1 = batch_norm(%0, %gamma, %beta, %mean, %variance)

    After::

        %0 = div(%gamma, sqrt(add(%variance, eps)))
        %1 = sub(%beta, mul(%mean, %0))
        %2 = add(mul(%x, %0), %1)
    """

    name = "simplify-inference"

    def run(self, graph: Graph) -> Graph:
        if not any(isinstance(op.operator, BatchNorm | Dropout) for op in graph.operations):
            return graph
        b = Rewriter(graph)
        for op in graph.operations:
            if isinstance(op.operator, Dropout):
                b.replace(op.result, b[op.operands[0]])
            elif isinstance(op.operator, BatchNorm):
                scale = scale_of(b, op)
                shift = shift_of(b, op, scale)
                scaled = b.emit("mul", b[op.operands[0]], scale, location=op.location)
                b.replace(op.result, b.emit("add", scaled, shift, location=op.location, name=op.result.name))
            else:
                b.copy(op)
        return b.close()


simplify_inference = SimplifyInference()
