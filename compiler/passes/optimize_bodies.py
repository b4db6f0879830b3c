"""optimize-bodies: bring the graphs that a scan runs into the form that is lowered."""

from __future__ import annotations

from dataclasses import dataclass

from ..graph.builder import Rewriter
from ..graph.ir import Graph, Operation
from ..graph.registry import lookup
from ..ops.regions.scan import hoisted, is_number
from .base import Pass
from .canonicalize import canonicalize
from .cse import cse
from .dce import dce
from .decompose import decompose
from .fuse import Fuse


@dataclass(frozen=True)
class OptimizeBodies(Pass):
    """Simplify and fuse the body of each scan; what is the same in every step is computed once, before the scan.

    Before::

        %1 = scan(%state, %x, %w) {body = graph @step(...) {
          %0 = transpose(%c0) {permutation = [1,0]}
          %1 = dense(%x0, %0)
          ...

    After::

        %0 = transpose(%w) {permutation = [1,0]}
        %1 = scan(%state, %x, %0) {body = graph @step(...) {
          %0 = dense(%x0, %c0)
          ...
    """

    name = "optimize-bodies"

    def run(self, graph: Graph) -> Graph:
        if not any(op.name == "scan" for op in graph.operations):
            return graph
        rewriter = Rewriter(graph)
        for op in graph.operations:
            if op.name == "scan":
                _rewrite(rewriter, op)
            else:
                rewriter.copy(op)
        return rewriter.close()


def _rewrite(b: Rewriter, op: Operation) -> None:
    """Emit a scan with a better body."""
    body: Graph = op.attributes["body"]
    for step in (canonicalize, decompose, canonicalize, cse, dce):
        body = step(body)
    first = op.attributes["states"] + op.attributes["sequences"]
    given = tuple(b[v] for v in op.operands)
    body, constants = hoisted(b, body, first, given, lambda inner: not is_number(inner))
    body = Fuse(slices=True)(body)
    new = b.operation(
        lookup("scan"), (*given[:first], *constants), {**op.attributes, "body": body}, location=op.location
    )
    for old, result in zip(op.results, new.results, strict=True):
        b.replace(old, result)


optimize_bodies = OptimizeBodies()
