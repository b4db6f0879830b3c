"""duplicate: compute cheap values in each kernel that reads them instead of writing them to memory."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ..graph.analysis import static_values
from ..graph.builder import Rewriter
from ..graph.ir import Graph, Operation, Value
from .base import Pass
from .dce import dce

SMALL = 64
"""An operand this many times smaller than the result stays in the cache."""


@dataclass(frozen=True)
class Duplicate(Pass):
    """Give each reader its own copy of a cheap elementwise operation, so that fusion can take it into the reader.

    It must have several readers, all of them elementwise or reductions, and one operand of its own shape, of no more
    bytes than the result; all other operands are small. Then each reader reads that operand instead of the result: no
    more memory than before, and nothing has to be written. Slow operators such as exp are computed once.

    cse undoes it: run it after the last one, before fuse.

    Before::

        %0 = sub(%x, %mean)
        %1 = mul(%0, %a)
        %2 = mul(%0, %b)

    After::

        %0 = sub(%x, %mean)
        %1 = mul(%0, %a)
        %2 = sub(%x, %mean)
        %3 = mul(%2, %b)
    """

    name = "duplicate"

    def run(self, graph: Graph) -> Graph:
        graph = dce(graph)
        copied = _copied(graph)
        if not copied:
            return graph
        rewriter = Rewriter(graph)
        for op in graph.operations:
            if op in copied:
                continue
            fresh: set[Operation] = set()
            for operand in op.operands:
                _provide(rewriter, graph, copied, operand, fresh)
            rewriter.copy(op)
        return rewriter.close()


duplicate = Duplicate()


def _provide(
    rewriter: Rewriter, graph: Graph, copied: Collection[Operation], value: Value, fresh: set[Operation]
) -> None:
    """Emit a copy of what makes a value, and of what that is made of, for the one reader that `fresh` belongs to."""
    op = graph.producers.get(value)
    if op is None or op not in copied or op in fresh:
        return
    fresh.add(op)
    for operand in op.operands:
        _provide(rewriter, graph, copied, operand, fresh)
    operands = tuple(rewriter[v] for v in op.operands)
    copy = rewriter.append(Operation(op.operator, operands, op.attributes, (Value(value.type),), op.location))
    rewriter.replace(value, copy.result)


def _copied(graph: Graph) -> set[Operation]:
    """The operations that each reader gets for itself."""
    fixed = static_values(graph) | {*graph.outputs}
    copied: set[Operation] = set()
    for op in reversed(graph.operations):
        if not _is_cheap(op) or op.result in fixed:
            continue
        users = graph.users[op.result]
        several = len(users) > 1 or any(user in copied for user in users)
        if several and all(user.operator.elementwise or user.operator.reads_once for user in users):
            copied.add(op)
    return copied


def _is_cheap(op: Operation) -> bool:
    """True for quick elementwise operations that read one large operand."""
    if not op.operator.elementwise or op.operator.work > 1 or len(op.results) != 1 or op.body is not None:
        return False
    result = op.result.type
    large = [v for v in dict.fromkeys(op.operands) if v.type.size * SMALL > result.size]
    return len(large) == 1 and large[0].type.shape == result.shape and large[0].type.bytes <= result.bytes
