"""In whose memory a result may be written: in that of what an operation reads for the last time, element by element."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from .ir import Graph, Operation, Value


def overwritable(op: Operation, graph: Graph, static: Collection[Value]) -> Iterator[Value]:
    """Earlier results in whose place the only result of an operation may be written, margins aside.

    `static` are values that are known when weights are loaded: these are made once, and stay.
    """
    if len(op.results) != 1 or op.operator.regions:
        return
    for old in dict.fromkeys(op.operands):
        made = old in graph.producers and old not in static and old not in graph.outputs
        same = old.type.dtype is op.result.type.dtype and old.type.shape == op.result.type.shape
        last = made and same and all(not other.operator.view for other in (graph.producers[old], *graph.users[old]))
        if last and graph.users[old][-1] is op and reads_in_place(op, old):
            yield old


def reads_in_place(op: Operation, operand: Value) -> bool:
    """True if each element of an operand is needed only for the result element at the same place."""
    if op.body is None:
        return op.operator.elementwise or operand not in op.operands
    producers = op.body.producers
    waiting = [v for member in op.body.operations if not member.operator.elementwise for v in member.operands]
    seen = set[Value]()
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            waiting += producers[current].operands if current in producers else ()
    return all(inner not in seen for inner, v in zip(op.body.inputs, op.operands, strict=True) if v is operand)
