"""Making graphs: `GraphBuilder` from nothing, `Rewriter` from an older graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from ..errors import Location
from ..types import DType, Quantization, TensorType
from .inference import completed, inferred, shared
from .ir import Array, Attribute, Attributes, Graph, Operation, Operator, Results, Value
from .registry import lookup

Expansion = Callable[["GraphBuilder", tuple[Value, ...], Attributes], Results | None]
"""Emits what stands for an operation of these operands and attributes, such as `Operator.decompose`."""


class GraphBuilder:
    """Makes a graph one operation at a time; result types are inferred by each operator's shape rule."""

    def __init__(self, name: str, attributes: Attributes | None = None) -> None:
        self.name = name
        self.attributes: dict[str, Attribute] = dict(attributes or {})
        self.inputs: list[Value] = []
        self.operations: list[Operation] = []

    def input(self, name: str, type: TensorType) -> Value:  # noqa: A002 (the field's own word)
        """Declare a graph input."""
        value = Value(shared(type), name)
        self.inputs.append(value)
        return value

    def append(self, operation: Operation) -> Operation:
        """Add an operation as it is."""
        self.operations.append(operation)
        return operation

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
        """Add an operation; attributes are completed and checked, result types inferred (`ShapeError` if unfit)."""
        if body is not None:
            complete = completed(operator, attributes or {})
            types = tuple([v.type for v in body.outputs])
        else:
            complete, types = inferred(operator, tuple([v.type for v in operands]), attributes or {})
        results = (Value(types[0], name),) if len(types) == 1 else tuple(map(Value, types))
        return self.append(Operation(operator, tuple(operands), complete, results, location, body))

    def emit(
        self,
        operator: str,
        *operands: Value,
        location: Location | None = None,
        name: str | None = None,
        **attributes: Attribute,
    ) -> Value:
        """Add an operation by operator name and return its only result."""
        return self.operation(lookup(operator), operands, attributes, location=location, name=name).result

    def constant(
        self,
        value: Array,
        location: Location | None = None,
        *,
        quantization: Quantization | None = None,
        name: str | None = None,
    ) -> Value:
        """Add a constant."""
        return self.emit("constant", value=value, quantization=quantization, location=location, name=name)

    def state(self, name: str, value: Array, *, quantization: Quantization | None = None) -> Value:
        """Add a parameter that begins with a value; the attribute `updates` must name it when the graph is finished."""
        shape, dtype = value.shape, str(DType.of(value.dtype))
        return self.emit(
            "param", name=name, shape=shape, dtype=dtype, quantization=quantization, value=value, trainable=False
        )

    def scalar(self, value: float, dtype: DType, location: Location | None = None) -> Value:
        """Add a constant of rank 0."""
        array = np.array(value, dtype.numpy)
        array.flags.writeable = False  # so that equal ones are shared
        return self.operation(lookup("constant"), (), {"value": array}, location=location).result

    def inline(self, graph: Graph, arguments: Sequence[Value]) -> tuple[Value, ...]:
        """Add the operations of another graph, its inputs standing for `arguments`, and return its outputs.

        Of the names, only those of parameters are kept.
        """
        values = dict(zip(graph.inputs, arguments, strict=True))
        for op in graph.operations:
            operands = [values[v] for v in op.operands]
            name = op.result.name if op.name == "param" else None
            new = self.operation(op.operator, operands, op.attributes, location=op.location, name=name, body=op.body)
            values.update(zip(op.results, new.results, strict=True))
        return tuple(values[v] for v in graph.outputs)

    def finish(self, outputs: Iterable[Value]) -> Graph:
        """Close the graph."""
        return Graph(
            self.name,
            tuple(self.inputs),
            tuple(self.operations),
            tuple(outputs),
            MappingProxyType(dict(self.attributes)),
        )


class Rewriter(GraphBuilder):
    """Rebuilds a graph operation by operation; passes drive it.

    Before -> after, for a pass that removes identities::

        rewriter = Rewriter(graph)
        for op in graph.operations:
            if op.name == "identity":
                rewriter.replace(op.result, rewriter[op.operands[0]])
            else:
                rewriter.copy(op)
        return rewriter.close()
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph.name, graph.attributes)
        self.graph = graph
        self.inputs = list(graph.inputs)
        self._new: dict[Value, Value] = {}
        """What stands for a value, where it isn't the value itself."""

    def __getitem__(self, old: Value) -> Value:
        """The value that stands for `old` in the new graph."""
        return self._new.get(old, old)

    def replace(self, old: Value, new: Value) -> None:
        """From now on `new` stands for `old`."""
        if new is not old:
            self._new[old] = new
        else:
            self._new.pop(old, None)

    def replace_results(self, op: Operation, results: Results) -> None:
        """From now on these stand for the results of an operation."""
        new = results if isinstance(results, tuple) else (results,)
        for value, stands in zip(op.results, new, strict=True):
            self.replace(value, stands)

    def copy(self, op: Operation) -> Operation:
        """Carry an operation over, its operands replaced; result types are inferred anew if operand types changed."""
        if self._new.keys().isdisjoint(op.operands):
            self.operations.append(op)
            return op
        operands = tuple([self._new.get(v, v) for v in op.operands])
        if op.body is not None or [v.type for v in operands] == [v.type for v in op.operands]:
            results = tuple(Value(r.type, r.name) for r in op.results)
            copied = self.append(
                Operation(op.operator, operands, op.attributes, results, op.location, op.body, op.algorithm)
            )
        else:
            name = op.results[0].name if len(op.results) == 1 else None
            copied = self.operation(op.operator, operands, op.attributes, location=op.location, name=name)
        self.replace_results(op, copied.results)
        return copied

    def expand(self, op: Operation, rule: Expansion) -> Results | None:
        """What a rule makes of an operation, at its place and under its name; None where the rule does nothing."""
        start = len(self.operations)
        result = rule(self, tuple([self[v] for v in op.operands]), op.attributes)
        if result is None and len(self.operations) == start:
            return None
        new = [replace(o, location=o.location or op.location) for o in self.operations[start:]]
        if isinstance(result, Value) and new and op.result.name and new[-1].results == (result,):
            result = Value(result.type, op.result.name)
            new[-1] = replace(new[-1], results=(result,))
        self.operations[start:] = new
        return result

    def close(self) -> Graph:
        """Finish the graph with the outputs of the old one."""
        return self.finish(self[v] for v in self.graph.outputs)


class TrackingRewriter(Rewriter):
    """A rewriter that knows for which values something stands already: `value in rewriter`."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self._there: set[Value] = set(graph.inputs)

    def __contains__(self, old: Value) -> bool:
        return old in self._there

    def replace(self, old: Value, new: Value) -> None:
        """From now on `new` stands for `old`."""
        self._there.add(old)
        super().replace(old, new)

    def copy(self, op: Operation) -> Operation:
        """Carry an operation over."""
        self._there.update(op.results)
        return super().copy(op)


def rewritten(graph: Graph, rule: Callable[[Rewriter, Operation], Results | None]) -> Graph:
    """The graph with what a rule emits for an operation in its place; the very graph if it never emits anything.

    A rule gives the values that stand for the operation's results, or None where the operation stays.
    """
    rewriter = Rewriter(graph)
    begun = changed = False
    for place, op in enumerate(graph.operations):
        result = rule(rewriter, op)
        if result is None and not begun and not rewriter.operations:
            continue  # what stands before all that changes is copied at once
        if not begun:
            rewriter.operations[:0] = graph.operations[:place]
            begun = True
        if result is None:
            rewriter.copy(op)
        else:
            rewriter.replace_results(op, result)
            changed = True
    return rewriter.close() if changed else graph
