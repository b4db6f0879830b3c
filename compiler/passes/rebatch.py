"""Rebatching: a network that was written down for one sample, for many at once.

`rebatch(graph, count)` takes a number that no pipeline has, so it is a function.
"""

from __future__ import annotations

from ..errors import NetcError
from ..graph.builder import Rewriter
from ..graph.ir import Graph, Operation, Value
from ..types import TensorType
from .samples import Samples


def rebatch(graph: Graph, count: int) -> Graph:
    """The network for `count` samples along the first dimension of each input and output, which has 1.

    It is followed in which dimension the samples of each value are numbered. An operation stays as it is, or gets other
    sizes in its attributes; each sample must have results of its own. Raises `NetcError` that names the first operation
    of which this isn't known, and for inputs and outputs that have no dimension of size 1 in front.

    Before::

        %0 = reshape(%x) {shape = [1,16]} : f32[1,16]

    After, for 4 samples::

        %0 = reshape(%x) {shape = [4,16]} : f32[4,16]
    """
    if graph.states:
        problem = f"{graph.name} keeps a state, which is that of one sample"
        raise NetcError(problem, hint="make a program for each sequence of samples, or give it the state as an input")
    for value in graph.inputs:
        if value.type.shape[:1] != (1,):
            raise NetcError(f"input `{value.name}` is {value.type}, which isn't one sample of several")
    return _Rebatching(graph, count).run()


class _Rebatching:
    def __init__(self, graph: Graph, count: int) -> None:
        self.graph = graph
        self.count = count
        self.samples = Samples(1, count)
        self.axes = self.samples.axes

    def run(self) -> Graph:
        """The graph for all samples."""
        b = Rewriter(self.graph)
        b.inputs = []
        for value in self.graph.inputs:
            shape = (self.count, *value.type.shape[1:])
            b.replace(
                value, b.input(value.name or "", TensorType(value.type.dtype, shape, None, value.type.quantization))
            )
            self.axes[value] = 0
        for op in self.graph.operations:
            if any(v in self.axes for v in op.operands):
                self._operation(b, op)
            else:
                b.copy(op)
        for place, value in enumerate(self.graph.outputs):
            if self.axes.get(value) != 0:
                raise NetcError(f"output {place}, {value.type}, isn't one sample of several")
        return b.close()

    def _operation(self, b: Rewriter, op: Operation) -> None:
        found = self.samples.rule_of(op)
        if found is None:
            raise NetcError(f"{op.name} may depend on the samples together: {op.operands[0].type}")
        axis = found.axis
        operands = [_repeated(b, v, axis, self.count) if v in found.repeated else b[v] for v in op.operands]
        made = b.operation(op.operator, operands, found.attributes, location=op.location, name=op.results[0].name)
        for old, new in zip(op.results, made.results, strict=True):
            if new.type.shape != self.samples.resized_type(old.type, axis).shape:
                raise NetcError(f"{op.name} doesn't give as many results as there are samples: {new.type}")
            self.axes[old] = axis
        b.replace_results(op, made.results)


def _repeated(b: Rewriter, value: Value, axis: int, count: int) -> Value:
    shape = value.type.shape
    return b.emit("broadcast_to", b[value], shape=(*shape[:axis], count, *shape[axis + 1 :]))
