"""widen-sums: sums of many halves are added up in single precision, and rounded once."""

from __future__ import annotations

from dataclasses import dataclass

from ..graph.analysis import macs_of
from ..graph.builder import Rewriter, rewritten
from ..graph.ir import Graph, Operation, Value
from ..ops.pictures.weighted import Weighted
from ..ops.reductions.cumulative import CumulativeSum
from ..ops.reductions.reduction import ReduceMean, ReduceSum
from ..ops.windows.pooling import AvgPool
from ..types import DType
from .base import Pass

_SUMS = (ReduceSum, ReduceMean, AvgPool, CumulativeSum, Weighted)


@dataclass(frozen=True)
class WidenSums(Pass):
    """Compute products of matrices, convolutions, means and sums of f16 in f32, as `evaluate` does in NumPy.

    Before::

        %0 = matmul(%x, %y) : f16[2,3]

    After::

        %0 = cast(%x) {dtype = "f32"} : f32[2,4]
        %1 = cast(%y) {dtype = "f32"} : f32[4,3]
        %2 = matmul(%0, %1) : f32[2,3]
        %3 = cast(%2) {dtype = "f16"} : f16[2,3]
    """

    name = "widen-sums"

    def run(self, graph: Graph) -> Graph:
        return rewritten(graph, _wide) if any(map(_is_narrow, graph.operations)) else graph


def _is_narrow(op: Operation) -> bool:
    """True for a sum of halves; operations with graphs of their own are none."""
    if len(op.results) != 1 or op.result.type.dtype is not DType.F16 or op.body is not None:
        return False
    return isinstance(op.operator, _SUMS) or macs_of(op) > 0


def _wide(b: Rewriter, op: Operation) -> Value | None:
    if not _is_narrow(op):
        return None
    operands = [
        b.emit("cast", b[v], dtype="f32", location=op.location) if v.type.dtype is DType.F16 else b[v]
        for v in op.operands
    ]
    y = b.operation(op.operator, operands, op.attributes, location=op.location).result
    return b.emit("cast", y, dtype="f16", location=op.location, name=op.result.name)


widen_sums = WidenSums()
