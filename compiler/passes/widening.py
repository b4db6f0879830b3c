"""Bytes as floats: where several elementwise operations read these, each makes them of the bytes for itself."""

from __future__ import annotations

from functools import partial

from ..graph.builder import Rewriter, rewritten
from ..graph.ir import Graph, Operation, Value
from ..ops.quantized.base import BYTES
from ..ops.quantized.conversion import Dequantize
from .dce import dce


def with_own_widening(graph: Graph) -> Graph:
    """The graph in which each operation that reads bytes as floats has its own operation for that.

    So all that read them read bytes, a quarter of the memory. Where something else than elementwise operations reads
    the floats, they stay.

    Before::

        %0 = dequantize(%x)
        %1 = relu(%0)
        %2 = tanh(%0)

    After::

        %0 = dequantize(%x)
        %1 = relu(%0)
        %2 = dequantize(%x)
        %3 = tanh(%2)
    """
    found = rewritten(graph, partial(_with_own, graph))
    return graph if found is graph else dce(found)


def is_widening(op: Operation) -> bool:
    """True for what makes floats of bytes."""
    return isinstance(op.operator, Dequantize) and op.operands[0].type.dtype in BYTES


def takes_in(user: Operation, op: Operation) -> bool:
    """True if an operation can be carried out with the elementwise one that reads its result."""
    return user.operator.elementwise and user.body is None and user.result.type.shape == op.result.type.shape


def _with_own(graph: Graph, b: Rewriter, op: Operation) -> Value | None:
    """An operation with widening of its own; None where others read what it does, or nobody else."""
    makers = {v: maker for v in op.operands if (maker := graph.producers.get(v)) is not None and is_widening(maker)}
    shared = [v for v, maker in makers.items() if _is_shared(graph, maker) and graph.users[v][0] is not op]
    if not shared:
        return None
    own = {
        v: b.operation(maker.operator, (b[maker.operands[0]],), maker.attributes, location=maker.location).result
        for v, maker in makers.items()
        if v in shared
    }
    operands = [own[v] if v in own else b[v] for v in op.operands]
    return b.operation(op.operator, operands, op.attributes, location=op.location, name=op.result.name).result


def _is_shared(graph: Graph, op: Operation) -> bool:
    """True if several operations can take an operation in, and nothing else reads its result."""
    users = graph.users[op.result]
    return len(users) > 1 and op.result not in graph.outputs and all(takes_in(user, op) for user in users)
