"""fuse-sums: let one pass over a tensor add up for each channel all that is summed up there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from ..graph.builder import Rewriter
from ..graph.ir import Graph, Operation, Value
from ..ops.reductions.reduction import ReduceSum
from .base import Pass
from .fuse_updates import emit_joined

MOST = 2
"""Sums of one operation: each needs registers of its own."""


@dataclass(frozen=True)
class FuseSums(Pass):
    """Merge groups that sum up floats for each channel, over the pixels of one tensor that both read.

    That is what gradients of batch normalisation look like: of its summand, and of its factor. The merged operation
    has a result for each, and stands where the first of them stood. Run it after `fuse`.

    Before::

        %0 = reduce_sum(%dy) {axes = [0, 1, 2]}
        %1 = fused(%dy, %x) { %0 = mul(%dy, %x) %1 = reduce_sum(%0) {axes = [0, 1, 2]} return %1 }

    After::

        %0, %1 = fused(%dy, %x) { ... return %0, %2 }
    """

    name = "fuse-sums"

    def run(self, graph: Graph) -> Graph:
        joined = _joined(graph)
        if not joined:
            return graph
        rewriter = Rewriter(graph)
        later = {op for others in joined.values() for op in others}
        for op in graph.operations:
            if op in joined:
                emit_joined(rewriter, (op, *joined[op]))
            elif op not in later:
                rewriter.copy(op)
        return rewriter.close()


def _joined(graph: Graph) -> dict[Operation, list[Operation]]:
    """Operation -> the later ones that it carries out too."""
    places = {r: i for i, op in enumerate(graph.operations) for r in op.results}
    firsts: dict[Value, list[Operation]] = defaultdict(list)
    joined: dict[Operation, list[Operation]] = {}
    for op in graph.operations:
        tensors = _summed(op)
        first = next((f for t in tensors for f in firsts[t] if _joins(op, f, places)), None)
        if first is None:
            for tensor in tensors:
                firsts[tensor].append(op)
            continue
        joined.setdefault(first, []).append(op)
        if len(joined[first]) + 1 == MOST:
            for tensor in _summed(first):
                firsts[tensor].remove(first)
    return joined


def _joins(op: Operation, first: Operation, places: Mapping[Value, int]) -> bool:
    """Whether all that `op` reads is there when `first` runs, whose result is like its own."""
    there = all(places.get(v, -1) < places[first.result] for v in op.operands)
    return there and op.result.type == first.result.type


def _summed(op: Operation) -> tuple[Value, ...]:
    """The tensors whose pixels a group sums up to one float for each channel; none if that is not what it does."""
    members = op.body.operations if op.name == "fused" and op.body is not None else (op,)
    sums = [m for m in members if not m.operator.elementwise and m.name != "constant"]
    if len(sums) != 1 or not isinstance(sums[0].operator, ReduceSum) or len(op.results) != 1:
        return ()
    (x,) = (v.type for v in sums[0].operands)
    result, axes = sums[0].result.type, sums[0].operator.axes(x.rank, sums[0].attributes)
    if x.rank < 3 or axes != tuple(range(x.rank - 1)) or not result.dtype.is_float or result.shape != x.shape[-1:]:
        return ()
    if op.result.type != result:
        return ()
    return tuple(v for v in dict.fromkeys(op.operands) if v.type.shape == x.shape)


fuse_sums = FuseSums()
