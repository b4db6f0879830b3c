"""Reverse accumulation, shared by differentiate and jvp: carrying cotangents backward through operations.

Only operations between the sources and the seeds are visited. Fan-out is handled here, once: the cotangents that a
value's readers give it are added.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..errors import InternalError, Location, NetcError
from ..graph.builder import GraphBuilder
from ..graph.ir import Attributes, Graph, Operation, Operator, Value
from ..types import TensorType
from .dce import dce


class Continuation(GraphBuilder):
    """Adds operations behind those of a graph; they get the current location."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph.name, {k: v for k, v in graph.attributes.items() if k != "signature"})
        self.given = graph.operations
        self.inputs = list(graph.inputs)
        self.operations = list(graph.operations)
        self.location: Location | None = None

    def operation(
        self,
        operator: Operator,
        operands: Sequence[Value],
        attributes: Attributes | None = None,
        *,
        location: Location | None = None,
        name: str | None = None,
        body: Graph | None = None,
    ) -> Operation:
        """Add an operation; see `GraphBuilder`."""
        location = location or self.location
        return super().operation(operator, operands, attributes, location=location, name=name, body=body)

    def close(self, outputs: Iterable[Value]) -> Graph:
        """Finish the graph, without those of the added operations that the outputs don't need."""
        graph = self.finish(outputs)
        kept = {*self.given, *dce(graph).operations}
        return replace(graph, operations=tuple(op for op in graph.operations if op in kept))

    def filled(self, number: float, type_: TensorType) -> Value:
        """A constant tensor with the same number everywhere; takes no memory to speak of."""
        return self.constant(np.broadcast_to(np.array(number, type_.dtype.numpy), type_.shape))


def pull_back(
    b: Continuation, operations: Sequence[Operation], seeds: Mapping[Value, Value], sources: Collection[Value]
) -> dict[Value, Value]:
    """Emit the cotangents of `sources`, given those of some results; what gets none has a zero gradient.

    Raises `NetcError`, located at the operation, where a path from a source to a seed can't be differentiated.
    """
    varied = _varied(operations, sources)
    useful = _useful(operations, seeds)
    cotangents = {value: seed for value, seed in seeds.items() if value in varied}
    for op in reversed(operations):
        if op.operator.piecewise_constant or varied.isdisjoint(_differentiated(op)) or useful.isdisjoint(op.results):
            continue
        _check_differentiable(op)
        if any(r in cotangents for r in op.results):
            b.location = op.location
            _accumulate(b, op, cotangents, varied)
    b.location = None
    return {v: cotangents[v] for v in sources if v in cotangents}


def _varied(operations: Iterable[Operation], sources: Iterable[Value]) -> set[Value]:
    """The values that change with the sources."""
    varied = set(sources)
    for op in operations:
        if not op.operator.piecewise_constant and not varied.isdisjoint(_differentiated(op)):
            varied.update(op.results)
    return varied


def _useful(operations: Sequence[Operation], seeds: Iterable[Value]) -> set[Value]:
    """The values that the seeded ones are made of."""
    useful = set(seeds)
    for op in reversed(operations):
        if not useful.isdisjoint(op.results):
            useful.update(_differentiated(op))
    return useful


def _differentiated(op: Operation) -> tuple[Value, ...]:
    """The operands that a gradient may go to."""
    return op.operands[op.operator.passive_operands :]


def _check_differentiable(op: Operation) -> None:
    reason = op.operator.non_differentiable
    if not reason and not any(r.type.dtype.is_float for r in op.results):
        reason = f"its result is {op.results[0].type.dtype}, and only floating-point numbers have gradients"
    if reason:
        hint = "give a block around it a `gradient` of its own, or put stop_gradient before it where that is zero"
        raise NetcError(f"{op.name} can't be differentiated: {reason}", location=op.location, hint=hint)


def _accumulate(b: Continuation, op: Operation, cotangents: dict[Value, Value], varied: set[Value]) -> None:
    """Apply the gradient rule of an operation, and add what it gives to the cotangents of the operands."""
    given = tuple(cotangents[r] if r in cotangents else b.filled(0, r.type.dense()) for r in op.results)
    taken = op.operator.gradient(b, op, given)
    for operand, cotangent in zip(op.operands, taken, strict=True):
        if cotangent is None or operand not in varied:
            continue
        if cotangent.type != operand.type.dense():
            raise InternalError(f"the gradient rule of {op.name} gives {cotangent.type} for {operand.type}")
        sum_ = cotangents.get(operand)
        cotangents[operand] = cotangent if sum_ is None else b.emit("add", sum_, cotangent)
