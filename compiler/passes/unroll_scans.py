"""unroll-scans: write out the steps of loops over sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..graph.builder import Rewriter, rewritten
from ..graph.ir import Graph, Operation, Results, Value
from .base import Pass


@dataclass(frozen=True)
class UnrollScans(Pass):
    """Replace each scan by the operations of its body, once for each step.

    What differentiates, quantizes or writes a network has rules for those, but not for a loop. With `macs`, scans whose
    steps make fewer multiplications stay loops; and with `steps`, those of more steps do.

    Before::

        %1 = scan(%state, %x) {body = graph @step(...), states = 1, sequences = 1, steps = 2}

    After::

        %0 = slice(%x) {begin = [0,0,0], size = [1,8,64]}
        %1 = ...
        %2 = slice(%x) {begin = [1,0,0], size = [1,8,64]}
        %3 = ...
    """

    name = "unroll-scans"
    macs: int = 0
    steps: int = 0

    def run(self, graph: Graph) -> Graph:
        if not any(op.name == "scan" for op in graph.operations):
            return graph
        return rewritten(graph, self._unrolled)

    def _unrolled(self, b: Rewriter, op: Operation) -> Results | None:
        if op.name != "scan" or not op.attributes["steps"]:
            return None
        steps: int = op.attributes["steps"]
        macs = op.operator.macs(tuple(v.type for v in op.operands), tuple(v.type for v in op.results), op.attributes)
        if macs // steps < self.macs or (self.steps and steps > self.steps):
            return None
        return _written_out(b, op, steps)


def _written_out(b: Rewriter, op: Operation, steps: int) -> tuple[Value, ...]:
    """The results of all steps, one after the other."""
    body: Graph = op.attributes["body"]
    count: int = op.attributes["states"]
    first: int = count + op.attributes["sequences"]
    given = [b[v] for v in op.operands]
    states: Sequence[Value] = given[:count]
    found: dict[int, Sequence[Value]] = {}
    for t in reversed(range(steps)) if op.attributes["reverse"] else range(steps):
        slices = [_step_of(b, v, t) for v in given[count:first]]
        results = b.inline(body, (*states, *slices, *given[first:]))
        states, found[t] = results[:count], results[count:]
    stacked = []
    for i, result in enumerate(body.outputs[count:]):
        shape = (1, *result.type.shape)
        rows = [b.emit("reshape", found[t][i], shape=shape, location=op.location) for t in range(steps)]
        stacked.append(b.emit("concat", *rows, axis=0, location=op.location))
    return (*states, *stacked)


def _step_of(b: Rewriter, x: Value, t: int) -> Value:
    """Element number t of a sequence."""
    shape = x.type.shape
    part = b.emit("slice", x, begin=(t, *(0 for _ in shape[1:])), size=(1, *shape[1:]))
    return b.emit("reshape", part, shape=shape[1:])


unroll_scans = UnrollScans()
