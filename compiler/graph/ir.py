"""The graph IR: SSA dataflow over tensors with static shapes.

A `Graph` is a tuple of `Operation`s in topological order. Values, operations and graphs are never changed once made;
a pass builds a new graph (see `builder`) that shares every operation it did not touch. All of them can be copied and
pickled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ..errors import Location
from .printer import print_graph
from .types import TensorType

if TYPE_CHECKING:
    from ..ops.base import Operator

Array = NDArray[Any]
Attribute = Any
"""bool, int, float, str, None, ndarray, Graph, or a tuple or mapping of attributes; each operator declares its own."""
Attributes = Mapping[str, Attribute]


@dataclass(frozen=True, eq=False, slots=True)
class Value:
    """One tensor in a graph. `name` is set where it means something to people: inputs, parameters."""

    type: TensorType
    name: str | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Operation:
    """One use of an operator. `body` holds the group of a `fused` operation."""

    operator: Operator
    operands: tuple[Value, ...]
    attributes: Attributes
    results: tuple[Value, ...]
    location: Location | None = None
    body: Graph | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        attributes = _plain(self.attributes)
        return _operation, (self.operator, self.operands, attributes, self.results, self.location, self.body)

    @property
    def name(self) -> str:
        """The operator's name."""
        return self.operator.name

    @property
    def result(self) -> Value:
        """The only result."""
        (result,) = self.results
        return result


@dataclass(frozen=True, eq=False)
class Graph:
    """A network: typed inputs, operations in topological order, outputs, and attributes such as `preprocess`."""

    name: str
    inputs: tuple[Value, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[Value, ...]
    attributes: Attributes = field(default_factory=lambda: MappingProxyType({}))

    def __reduce__(self) -> tuple[Any, ...]:
        return _graph, (self.name, self.inputs, self.operations, self.outputs, _plain(self.attributes))

    @cached_property
    def producers(self) -> Mapping[Value, Operation]:
        """The operation that defines each value (graph inputs have none)."""
        return {result: op for op in self.operations for result in op.results}

    @cached_property
    def users(self) -> Mapping[Value, Sequence[Operation]]:
        """The operations that read each value, in order; a value that nothing reads has an empty list."""
        users: dict[Value, list[Operation]] = {v: [] for v in self.inputs}
        for op in self.operations:
            for operand in dict.fromkeys(op.operands):
                users[operand].append(op)
            for result in op.results:
                users[result] = []
        return users

    @property
    def parameters(self) -> tuple[Operation, ...]:
        """The `param` operations, in order."""
        return tuple(op for op in self.operations if op.name == "param")

    def __str__(self) -> str:
        return print_graph(self)


def _plain(attribute: Attribute) -> Attribute:
    """An attribute with dictionaries for mappings, which can be pickled."""
    if isinstance(attribute, Mapping):
        return {key: _plain(value) for key, value in attribute.items()}
    return tuple(map(_plain, attribute)) if type(attribute) is tuple else attribute


def _operation(operator: Operator, operands: tuple[Value, ...], attributes: dict[str, Any], *rest: Any) -> Operation:
    return Operation(operator, operands, MappingProxyType(attributes), *rest)


def _graph(
    name: str,
    inputs: tuple[Value, ...],
    operations: tuple[Operation, ...],
    outputs: tuple[Value, ...],
    attributes: dict[str, Any],
) -> Graph:
    return Graph(name, inputs, operations, outputs, MappingProxyType(attributes))


def walk(graph: Graph) -> Iterator[Operation]:
    """All operations of a graph, those inside fused bodies too, in order."""
    for op in graph.operations:
        yield op
        if op.body is not None:
            yield from walk(op.body)
