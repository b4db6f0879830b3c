"""fuse-updates: let one pass over memory compute an update and what is derived from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..graph.builder import Rewriter
from ..graph.ir import Graph, Operation, Value
from ..graph.registry import lookup
from .base import Pass


@dataclass(frozen=True)
class FuseUpdates(Pass):
    """Merge elementwise groups of one shape where one gives the other a value that is also an output of the graph.

    That is what optimisers look like: the new momentum is an output, and the new weight is made of it. The merged
    operation has a result for each. Run it after `fuse`.

    Before::

        %0 = fused(%m, %gradient) { ... return %1 }
        %1 = fused(%w, %0) { ... return %1 }
        return %loss, %1, %0

    After::

        %0, %1 = fused(%m, %gradient, %w) { ... return %1, %3 }
        return %loss, %1, %0
    """

    name = "fuse-updates"

    def run(self, graph: Graph) -> Graph:
        merges = _Merges(graph)
        if not merges.joined:
            return graph
        rewriter = Rewriter(graph)
        for op in graph.operations:
            parts = merges.parts(op)
            if op in merges.joined:
                continue
            if len(parts) == 1:
                rewriter.copy(op)
            else:
                emit_joined(rewriter, parts)
        return rewriter.close()


class _Merges:
    """Which operations join a later one."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.outputs = frozenset(graph.outputs)
        self.joined: dict[Operation, Operation] = {}
        """Operation -> the later one that carries it out too."""
        for op in graph.operations:
            if _is_elementwise(op):
                for operand in dict.fromkeys(op.operands):
                    self._try(operand, op)

    def _try(self, value: Value, user: Operation) -> None:
        maker = self.graph.producers.get(value)
        if maker is None or maker in self.joined or not _is_elementwise(maker) or value not in self.outputs:
            return
        if maker.results[0].type.shape != user.results[0].type.shape:
            return
        if all(set(self.graph.users[result]) <= {user} for result in maker.results):
            self.joined[maker] = user

    def parts(self, op: Operation) -> list[Operation]:
        """The operations that `op` carries out, itself last."""
        return [part for maker, user in self.joined.items() if user is op for part in self.parts(maker)] + [op]


def _is_elementwise(op: Operation) -> bool:
    members = op.body.operations if op.body is not None else (op,)
    return bool(op.operands) and all(m.operator.elementwise or m.name == "constant" for m in members)


def emit_joined(rewriter: Rewriter, parts: Sequence[Operation]) -> None:
    """Add one fused operation with the results of all parts."""
    results = [r for part in parts for r in part.results]
    outside = [v for v in dict.fromkeys(v for part in parts for v in part.operands) if v not in results]
    inner: dict[Value, Value] = {v: Value(v.type, f"x{i}") for i, v in enumerate(outside)}
    inputs = tuple(inner.values())
    operations: list[Operation] = []
    for part in parts:
        operations += _inlined(part, inner)
    body = Graph("fused", inputs, tuple(operations), tuple(inner[r] for r in results))
    operands = [rewriter[v] for v in outside]
    operation = rewriter.operation(lookup("fused"), operands, location=parts[-1].location, body=body)
    for old, new in zip(results, operation.results, strict=True):
        rewriter.replace(old, new)


def _inlined(part: Operation, values: dict[Value, Value]) -> list[Operation]:
    """A part's operations over the values of the new body; its results are added to `values`."""
    if part.body is None:
        copied = _copied(part, values)
        values.update(zip(part.results, copied.results, strict=True))
        return [copied]
    local = dict(zip(part.body.inputs, (values[v] for v in part.operands), strict=True))
    operations = []
    for op in part.body.operations:
        copied = _copied(op, local)
        local.update(zip(op.results, copied.results, strict=True))
        operations.append(copied)
    values.update((r, local[v]) for r, v in zip(part.results, part.body.outputs, strict=True))
    return operations


def _copied(op: Operation, values: Mapping[Value, Value]) -> Operation:
    results = tuple(Value(r.type) for r in op.results)
    return Operation(op.operator, tuple(values[v] for v in op.operands), op.attributes, results, op.location)


fuse_updates = FuseUpdates()
