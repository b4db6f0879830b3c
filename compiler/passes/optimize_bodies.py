"""optimize-bodies: bring the graphs that a scan runs into the form that is lowered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from ..graph.builder import Rewriter
from ..graph.ir import Graph, Operation, Value
from ..graph.registry import lookup
from .base import Pass
from .canonicalize import canonicalize
from .cse import cse
from .dce import dce
from .decompose import decompose
from .fuse import fuse


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
    body, constants = _without_constant_work(b, body, first, given)
    new = b.operation(
        lookup("scan"), (*given[:first], *constants), {**op.attributes, "body": fuse(body)}, location=op.location
    )
    for old, result in zip(op.results, new.results, strict=True):
        b.replace(old, result)


def _without_constant_work(
    b: Rewriter, body: Graph, first: int, given: tuple[Value, ...]
) -> tuple[Graph, tuple[Value, ...]]:
    """The body without what is the same in every step, and the constants that it takes, made before the scan."""
    outside: dict[Value, Value] = dict(zip(body.inputs[first:], given[first:], strict=True))
    inside: list[Operation] = []
    for op in body.operations:
        is_number = op.name == "constant" and op.result.type.size == 1
        if is_number or not all(v in outside for v in op.operands):
            inside.append(op)
            continue
        new = b.operation(op.operator, tuple(outside[v] for v in op.operands), op.attributes, location=op.location)
        outside.update(zip(op.results, new.results, strict=True))
    made = {r for op in inside for r in op.results}
    needed = dict.fromkeys(v for v in (*(v for op in inside for v in op.operands), *body.outputs) if v not in made)
    taken = [v for v in needed if v in outside]
    inputs = (*body.inputs[:first], *(Value(v.type, f"c{i}") for i, v in enumerate(taken)))
    renamed: Mapping[Value, Value] = MappingProxyType(dict(zip(taken, inputs[first:], strict=True)))
    operations = tuple(replace(op, operands=tuple(renamed.get(v, v) for v in op.operands)) for op in inside)
    outputs = tuple(renamed.get(v, v) for v in body.outputs)
    return Graph(body.name, inputs, operations, outputs, body.attributes), tuple(outside[v] for v in taken)


optimize_bodies = OptimizeBodies()
