"""The weights region: what is known when weights are loaded, packed for the kernels that read it."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

from ..graph.analysis import static_values
from ..graph.builder import GraphBuilder
from ..graph.ir import Array, Graph, Operation, Value
from ..graph.regions import all_graphs
from .kernel import Argument, Packed, PackingStep
from .memory import ALIGNMENT, align


class WeightRegion:
    """Gives weights their places, and collects the operations that make them in a set-up graph."""

    def __init__(self, graph: Graph, alignment: int = ALIGNMENT) -> None:
        graphs = list(all_graphs(graph))
        self.graph = graph
        self.producers = {value: op for each in graphs for value, op in each.producers.items()}
        """What makes each value of the graph and of those inside it."""
        self.static = frozenset(value for each in graphs for value in static_values(each))
        self.offsets: list[int] = []
        self.bytes = 0
        self._alignment = alignment
        self._builder = GraphBuilder(f"{graph.name}.setup")
        self._carried: set[Value] = set()
        self._places: dict[Hashable, int] = {}
        self._packed: dict[Hashable, Value] = {}
        self._numbers: dict[tuple[PackingStep, ...], int] = {}
        self._steps: dict[int, tuple[int, tuple[PackingStep, ...]]] = {}
        """Numbers of ways of packing by their identity, and what has it."""
        self._outputs: list[Value] = []

    @property
    def setup(self) -> Graph:
        """The graph whose outputs go to `offsets`."""
        return self._builder.finish(self._outputs)

    def place(self, argument: Argument) -> int:
        """Byte offset of a weight, which gets a place if it has none yet."""
        key = self._key(argument)
        place = self._places.get(key)
        if place is None:
            value = self._made(argument, key)
            place = self._places[key] = self.bytes
            self._outputs.append(value)
            self.offsets.append(self.bytes)
            self.bytes += align(value.type.bytes, self._alignment)
        return place

    def _key(self, argument: Argument) -> Hashable:
        """Equal for equal arguments; how a weight is packed takes long to hash, and is one object for many weights."""
        if not isinstance(argument, Packed):
            return argument
        known = self._steps.get(id(argument.steps))
        if known is None:
            number = self._numbers.setdefault(argument.steps, len(self._numbers))
            known = self._steps[id(argument.steps)] = number, argument.steps
        return argument.value, known[0], tuple([self._key(each) for each in argument.beside])

    def _made(self, argument: Argument, key: Hashable) -> Value:
        """The value of an argument with this key in the set-up graph."""
        if not isinstance(argument, Packed):
            return self._carry(argument)
        if key not in self._packed:
            value, last = self._carry(argument.value), len(argument.steps) - 1
            for number, step in enumerate(argument.steps):
                beside = [self._made(each, self._key(each)) for each in argument.beside] if number == last else ()
                value = self._builder.emit(step.operator, value, *beside, **dict(step.attributes))
            self._packed[key] = value
        return self._packed[key]

    def constant(self, array: Array) -> Packed:
        """A weight that is known."""
        builder = GraphBuilder("constant")
        value = builder.constant(array)
        self.producers[value] = builder.operations[0]
        return Packed(value, ())

    def layer(self, op: Operation) -> str:
        """The path of the parameters that an operation reads, `layer1.0.conv1`; empty if it reads none."""
        for operand in op.operands:
            param = self._first_param(operand)
            if param is not None:
                return param.rpartition(".")[0]
        return ""

    def _first_param(self, value: Value) -> str | None:
        """Name of the parameter that a weight is made of (the first of several)."""
        op = self.producers.get(value)
        if op is not None and op.name == "param":
            return value.name
        if op is None or value not in self.static:
            return None
        names = (self._first_param(v) for v in op.operands)
        return next((n for n in names if n is not None), None)

    def _carry(self, value: Value) -> Value:
        """Take the operations that make a value over to the set-up graph."""
        if value not in self._carried:
            op = self.producers[value]
            for operand in op.operands:
                self._carry(operand)
            self._builder.append(op if op.algorithm is None else replace(op, algorithm=None))
            self._carried.update(op.results)
        return value
