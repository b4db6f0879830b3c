"""channels-last-ends: inputs and outputs take the order of dimensions in which the network computes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..graph.builder import Rewriter
from ..graph.ir import Graph, Operation, Value
from ..ops.moves.axes import Permutation, inverse
from ..ops.moves.shape import Transpose
from .axis_orders import transposed
from .base import Pass
from .dce import dce


@dataclass(frozen=True)
class ChannelsLastEnds(Pass):
    """Take inputs channels-last that are transposed to this order, and give outputs so that are transposed from it.

    The meaning changes: who calls the network gives and gets other orders. An input that is read in its old order, too,
    is transposed back for it.

    Before::

        graph @g(%x: f32[1,3,8,8]) {
          %0 = transpose(%x) {permutation = [0,2,3,1]}

    After::

        graph @g(%x: f32[1,8,8,3]) {
    """

    name = "channels-last-ends"

    def run(self, graph: Graph) -> Graph:
        rewriter = Rewriter(graph)
        turned = [_is_turned(graph, value) for value in graph.inputs]
        outputs = [_source(graph, value) for value in graph.outputs]
        if not any(turned) and outputs == list(graph.outputs):
            return graph
        for place, old in enumerate(graph.inputs):
            if turned[place]:
                order = _to_last(old.type.rank)
                new = Value(transposed(old.type, order), old.name)
                rewriter.inputs[place] = new
                reads = old in graph.outputs or not all(_is_transpose(op, order) for op in graph.users[old])
                rewriter.replace(old, rewriter.emit("transpose", new, permutation=inverse(order)) if reads else new)
        inputs = dict(zip(graph.inputs, rewriter.inputs, strict=True))
        for op in graph.operations:
            source = op.operands[0] if op.operands else None
            if source in inputs and inputs[source] is not source and _is_transpose(op, _to_last(source.type.rank)):
                rewriter.replace(op.result, inputs[source])
            else:
                rewriter.copy(op)
        return dce(replace(rewriter.close(), outputs=tuple(rewriter[v] for v in outputs)))


def _to_last(rank: int) -> Permutation:
    return (0, *range(2, rank), 1)


def _is_transpose(op: Operation | None, permutation: Permutation) -> bool:
    return op is not None and isinstance(op.operator, Transpose) and op.attributes["permutation"] == permutation


def _is_turned(graph: Graph, value: Value) -> bool:
    rank = value.type.rank
    return rank > 2 and any(_is_transpose(op, _to_last(rank)) for op in graph.users[value])


def _source(graph: Graph, output: Value) -> Value:
    """An output before it is transposed from channels-last."""
    rank, op = output.type.rank, graph.producers.get(output)
    is_turned = rank > 2 and _is_transpose(op, inverse(_to_last(rank)))
    return op.operands[0] if op is not None and is_turned else output


channels_last_ends = ChannelsLastEnds()
