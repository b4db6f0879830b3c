"""fold-batch-norm: move batch normalisation into the weights of the convolution or dense layer before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..graph.builder import Rewriter
from ..graph.ir import Graph, Operation, Value
from .base import Pass
from .dce import dce
from .normalization import Numbers, scale_of, shift_of


@dataclass(frozen=True)
class FoldBatchNorm(Pass):
    """Fold a batch_norm into the contraction before it, if that has no other use.

    New weights are written as operations on the parameters; these depend on parameters only, so they are evaluated
    once, when weights are loaded.

    Before::

        %0 = conv2d(%x, %weight)
        %1 = batch_norm(%0, %gamma, %beta, %mean, %variance)

    After::

        %0 = sqrt(add(%variance, eps))
        %1 = div(%gamma, %0)
        %2 = mul(%weight, %1)
        %3 = sub(%beta, mul(%mean, %1))
        %4 = conv2d(%x, %2, %3)
    """

    name = "fold-batch-norm"

    def run(self, graph: Graph) -> Graph:
        return folded(graph)


def folded(graph: Graph, wanted: Callable[[Operation], bool] = lambda contraction: True) -> Graph:
    """The graph with each batch_norm behind a contraction that is `wanted` folded into it."""
    graph = dce(graph)  # Uses by dead operations don't count.
    outputs = frozenset(graph.outputs)
    rewriter = Rewriter(graph)
    numbers: Numbers = {}
    changed = False
    for op in graph.operations:
        source = _foldable(graph, op, outputs)
        if source is None or not wanted(source):
            rewriter.copy(op)
        else:
            _fold(rewriter, source, op, numbers)
            changed = True
    return dce(rewriter.close()) if changed else graph


def _foldable(graph: Graph, op: Operation, outputs: frozenset[Value]) -> Operation | None:
    """The contraction that a batch_norm can be folded into."""
    if op.name != "batch_norm":
        return None
    source = graph.producers.get(op.operands[0])
    if source is None or not source.operator.contraction:
        return None
    alone = len(graph.users[source.result]) == 1 and op.operands.count(source.result) == 1
    return source if alone and source.result not in outputs else None


def _fold(b: Rewriter, source: Operation, op: Operation, numbers: Numbers) -> None:
    x, weight, *bias = (b[v] for v in source.operands)
    scale = scale_of(b, op, numbers)
    # The filters are the last dimension of every weight, so the scale broadcasts to it.
    scaled = b.emit("mul", weight, scale, location=op.location)
    shift = shift_of(b, op, scale, bias[0] if bias else None)
    operands = (x, scaled, shift)
    replacement = b.operation(
        source.operator, operands, source.attributes, location=source.location, name=op.result.name
    )
    b.replace(op.result, replacement.result)


fold_batch_norm = FoldBatchNorm()
