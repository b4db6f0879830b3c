"""Reshapes that merge transposed dimensions, as late as possible: what is between works on the dimensions apart."""

from __future__ import annotations

import math

from ..graph.builder import Rewriter, rewritten
from ..graph.ir import Graph, Operation, Value
from ..ops.gradients import reshaped
from ..ops.moves.axes import groups_of, is_free
from ..ops.moves.shape import Reshape, Transpose
from ..ops.splitting import split
from .dce import dce
from .product_axes import with_one_reshape


def with_later_merges(graph: Graph) -> Graph:
    """The graph in which dimensions that a transpose has moved are merged only where an operation needs it.

    So the order of each of them can be chosen for the operations between, too. This very graph if nothing changes.

    Before::

        %0 = transpose(%x) {permutation = [1,0,2]} : f32[8,4,32]
        %1 = reshape(%0) {shape = [32,32]}
        %2 = dense(%1, %w) : f32[32,23]

    After::

        %0 = transpose(%x) {permutation = [1,0,2]} : f32[8,4,32]
        %1 = dense(%0, %w) : f32[8,4,23]
        %2 = reshape(%1) {shape = [32,23]}
    """
    found = rewritten(graph, _Walk(graph).visit)
    return graph if found is graph else dce(with_one_reshape(found))


class _Walk:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.apart: dict[Value, tuple[Value, int, tuple[int, ...]]] = {}
        """What stands for a value of the old graph with a dimension split, which one, and the sizes of its parts."""

    def visit(self, b: Rewriter, op: Operation) -> Value | None:
        """The result of an operation that works on dimensions apart, merged."""
        if any(v.type.layout is not None or v.type.quantization is not None for v in (*op.operands, *op.results)):
            return None
        first = next((v for v in op.operands if v in self.apart), None)
        if first is None:
            self._begin(b, op)
            return None
        _, axis, sizes = self.apart[first]
        types = tuple(v.type for v in op.operands)
        if len(op.results) != 1 or op.body is not None or first.type.rank != max(t.rank for t in types):
            return None
        found = split(op.operator, types, op.attributes, axis, sizes)
        if found is None:
            return None
        operands = [self._operand(b, v, shape) for v, shape in zip(op.operands, found.shapes, strict=True)]
        result = b.operation(op.operator, operands, found.attributes, location=op.location).result
        self.apart[op.result] = result, found.result, sizes
        return reshaped(b, result, op.result.type.shape)

    def _operand(self, b: Rewriter, value: Value, shape: tuple[int, ...]) -> Value:
        known = self.apart.get(value)
        return known[0] if known is not None and known[0].type.shape == shape else reshaped(b, b[value], shape)

    def _begin(self, b: Rewriter, op: Operation) -> None:
        """Note what a reshape merges of the dimensions that a transpose has moved."""
        before = self.graph.producers.get(op.operands[0]) if isinstance(op.operator, Reshape) else None
        if before is None or not isinstance(before.operator, Transpose) or not op.result.type.size:
            return
        old, new = before.result.type.shape, op.result.type.shape
        if is_free(before.operands[0].type.shape, before.attributes["permutation"]):
            return
        for merged, parts in groups_of(old, new):
            large = [d for d in parts if new[d] != 1]
            if len(merged) > 1 and len(large) == 1:
                (axis,) = large
                sizes = tuple(old[d] for d in merged)
                if math.prod(sizes) == new[axis]:
                    shape = (*new[:axis], *sizes, *new[axis + 1 :])
                    self.apart[op.result] = reshaped(b, b[op.operands[0]], shape), axis, sizes
                    return
