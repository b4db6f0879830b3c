"""Shared by recompute and checkpoint: computing values of the forward part again where the backward part needs them.

The forward part of a training graph is what stands up to its first output, the loss. A value of it that is not kept is
computed again just before the first operation behind it that reads it, and from then on its copy stands for it; so
each is computed at most twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ..graph.analysis import static_values
from ..graph.builder import Rewriter
from ..graph.ir import Graph, Operation, Value
from ..graph.min_cut import FlowNetwork

UNIT = 1024
"""Capacity of a cut for each byte."""


@dataclass(frozen=True, eq=False)
class TrainingGraph:
    """A graph and its forward part."""

    graph: Graph
    forward: frozenset[Operation]

    @staticmethod
    def of(graph: Graph) -> TrainingGraph:
        """The forward part is what stands up to the first output."""
        loss = graph.producers.get(graph.outputs[0]) if graph.outputs else None
        end = graph.operations.index(loss) + 1 if loss is not None else 0
        return TrainingGraph(graph, frozenset(graph.operations[:end]))

    def free_values(self) -> frozenset[Value]:
        """Values that take no memory that they wouldn't take anyway: inputs, parameters, constants, outputs."""
        params = (op.result for op in self.graph.parameters)
        return static_values(self.graph) | {*self.graph.inputs, *params, *self.graph.outputs}

    def read_by_backward(self, value: Value) -> bool:
        """True if an operation behind the forward part reads the value."""
        return any(user not in self.forward for user in self.graph.users[value])


def is_cheap(op: Operation) -> bool:
    """True if making the results again costs no more than passing over memory."""
    return op.operator.elementwise or op.operator.memory_bound


def work(op: Operation) -> int:
    """Operations on single elements that a cheap operation does."""
    return sum(r.type.size for r in op.results) * op.operator.work


def cheapest_to_keep(
    training: TrainingGraph, bytes_per_operation: float, kept: Collection[Value] = ()
) -> frozenset[Value]:
    """The forward values to keep so that the others, where backward needs them, can be made again by cheap operations.

    Found as a minimum cut between what only expensive operations give and what backward reads. Keeping a value costs
    its bytes (nothing for those in `kept`), making one again `bytes_per_operation` for each operation on an element.
    Of equal choices it takes the one with the least work. The cut is an idea of AOTAutograd: Horace He, "Min-cut
    optimal(*) recomputation (i.e. activation checkpointing) with AOTAutograd", PyTorch developer forum, 2022.
    """
    network: FlowNetwork[tuple[str, Value | None]] = FlowNetwork()
    source, sink = ("source", None), ("sink", None)
    network.edge(source, sink, 0)
    free = training.free_values()
    for op in training.graph.operations:
        if op not in training.forward or all(r in free for r in op.results):
            continue
        for result in op.results:
            if is_cheap(op):
                network.edge(source, ("made", result), round(work(op) * bytes_per_operation * UNIT))
                for operand in op.operands:
                    if operand not in free:
                        network.edge(("there", operand), ("made", result))
            else:
                network.edge(source, ("made", result))
            network.edge(("made", result), ("there", result), 0 if result in kept else result.type.bytes * UNIT)
            if training.read_by_backward(result):
                network.edge(("there", result), sink)
    behind = network.sink_side(source, sink)
    made = {value for kind, value in behind if kind == "made"}
    values = (r for op in training.forward for r in op.results)
    return free | {v for v in values if v not in made}


def rematerialize(training: TrainingGraph, keep: Collection[Value]) -> TrainingGraph:
    """Make forward values that aren't kept again where backward needs them; the copies belong to the forward part."""
    return _Rematerialization(training, keep).run()


class _Rematerialization:
    def __init__(self, training: TrainingGraph, keep: Collection[Value]) -> None:
        self.graph = training.graph
        self.forward = training.forward
        self.position = {op: i for i, op in enumerate(self.graph.operations)}
        self.rewriter = Rewriter(self.graph)
        self.present: set[Value] = {*keep, *self.graph.inputs}
        """Values that backward finds: kept ones, and those that have been made again."""

    def run(self) -> TrainingGraph:
        forward: set[Operation] = set()
        for op in self.graph.operations:
            if op in self.forward:
                forward.add(self.rewriter.copy(op))
                continue
            forward.update(map(self._again, self._missing(op.operands)))
            self.rewriter.copy(op)
        return TrainingGraph(self.rewriter.close(), frozenset(forward))

    def _missing(self, values: Iterable[Value]) -> list[Operation]:
        """The forward operations that must run again for `values`, in order."""
        found: set[Operation] = set()
        waiting = list(values)
        while waiting:
            value = waiting.pop()
            producer = self.graph.producers.get(value)
            if value in self.present or producer not in self.forward or producer in found:
                continue
            found.add(producer)
            waiting.extend(producer.operands)
        return sorted(found, key=self.position.__getitem__)

    def _again(self, op: Operation) -> Operation:
        operands = tuple(self.rewriter[v] for v in op.operands)
        results = tuple(Value(r.type) for r in op.results)
        copy = self.rewriter.append(Operation(op.operator, operands, op.attributes, results, op.location, op.body))
        for old, new in zip(op.results, results, strict=True):
            self.rewriter.replace(old, new)
        self.present.update(op.results)
        return copy
