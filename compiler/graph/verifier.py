"""Checks that a graph is sound: definitions before uses, unique names, legal operands and attributes, true types.

A graph that fails was broken by netc itself, so the error is an `InternalError` that shows the graph with the
operation marked. Text from people is checked by the parser, with errors of its own kind.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from itertools import chain

from ..errors import InternalError, NetcError
from ..types import Quantization
from .alike import likeness
from .ir import Graph, Operation, Value
from .printer import format_attribute, print_graph
from .registry import operators


@dataclass(frozen=True, slots=True)
class Sound:
    """Operations that passed before. They never change, so one of these serves a whole pipeline."""

    operations: set[Operation] = field(default_factory=set[Operation])
    alike: dict[Hashable, Operation] = field(default_factory=dict[Hashable, Operation])
    """By all that a check looks at: of the many operations of a deep network, few differ in that."""
    likenesses: dict[Hashable, Operation] = field(default_factory=dict[Hashable, Operation])
    """By identities alone, which take less time to compare."""

    def check(self, op: Operation) -> None:
        """Check an operation, unless it has passed, or one that a check can't tell from it."""
        if op in self.operations:
            return
        near = likeness(op), op.results[0].name is None
        if near not in self.likenesses:
            key = _seen(op)
            if key not in self.alike:
                _blame(op, self._check)
                self.alike[key] = op
            self.likenesses[near] = op
        self.operations.add(op)

    def _check(self, op: Operation) -> None:
        _check_operation(op, self)


def _seen(op: Operation) -> Hashable:
    """What `_check_operation` looks at; what has no hash by identity, which lasts as long as the operation does."""
    types = tuple(v.type for v in op.operands), tuple(r.type for r in op.results)
    try:
        attributes: Hashable = tuple((name, type(value), value) for name, value in op.attributes.items())
        hash(attributes)
    except TypeError:
        attributes = id(op.attributes)
    return op.operator, attributes, types, id(op.body), op.algorithm, op.results[0].name is None


def verify(graph: Graph, *, sound: Sound | None = None) -> None:
    """Raise `InternalError` if the graph breaks an invariant.

    What concerns an operation alone is not checked again for those that are `sound`, and the others are added.
    """
    sound = sound or Sound()
    try:
        _check_scope(graph)
        _check_top(graph)
        for op in graph.operations:
            if op not in sound.operations:  # a call for each one would take longer than all else here
                sound.check(op)
    except _BrokenError as broken:
        raise InternalError(_report(graph, broken)) from None


class _BrokenError(Exception):
    """A broken invariant, and the operation that breaks it (None: the graph itself)."""

    def __init__(self, message: str, op: Operation | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.op = op


def _report(graph: Graph, broken: _BrokenError) -> str:
    if broken.op is None:
        return f"graph @{graph.name} is not sound: {broken.message}\n{print_graph(graph)}"
    text = print_graph(graph, marks={broken.op: broken.message})
    return f"graph @{graph.name} is not sound: {broken.op.name}: {broken.message}\n{text}"


def _blame(op: Operation, check: Callable[[Operation], None]) -> None:
    """Run a check; whatever it raises becomes a broken invariant of `op`."""
    try:
        check(op)
    except _BrokenError as broken:
        raise _BrokenError(broken.message, broken.op or op) from None
    except NetcError as error:
        raise _BrokenError("; ".join(d.message for d in error.diagnostics), op) from error
    except Exception as error:
        raise _BrokenError(f"the check failed with {type(error).__name__}: {error}", op) from error


def _check_scope(graph: Graph) -> None:
    """Every value is defined once, under a name of its own, before it is used."""
    defined = set(graph.inputs)
    for op in graph.operations:
        if not defined.issuperset(op.operands):
            place = next(place for place, operand in enumerate(op.operands) if operand not in defined)
            raise _BrokenError(f"operand {place} is not defined before its use", op)
        defined.update(op.results)
    for place, output in enumerate(graph.outputs):
        if output not in defined:
            raise _BrokenError(f"output {place} is not defined")
    values = [*graph.inputs, *chain.from_iterable(op.results for op in graph.operations)]
    names = [value.name for value in values if value.name is not None]
    if len(defined) < len(values) or len(set(names)) < len(names):
        _blame_twice(graph)


def _blame_twice(graph: Graph) -> None:
    """Say what defines a value, or a name, that was defined before."""
    defined: set[Value] = set()
    names: set[str] = set()
    for values, op in ((graph.inputs, None), *((op.results, op) for op in graph.operations)):
        for value in values:
            if value in defined:
                raise _BrokenError(f"a value of type {value.type} is defined twice", op)
            defined.add(value)
            if value.name is not None and value.name in names:
                raise _BrokenError(f"the name `{value.name}` is given twice", op)
            names.update(() if value.name is None else (value.name,))


def _check_top(graph: Graph, *, dense: bool = True) -> None:
    """What holds for a network but not for the body of a fused operation."""
    for what, values in (("input", graph.inputs), ("output", graph.outputs)):
        for place, value in enumerate(values):
            if dense and value.type.layout is not None:
                raise _BrokenError(f"{what} {place} must be dense, but is {value.type}")
    if any(v.name is None for v in graph.inputs):
        raise _BrokenError("an input has no name")


def _check_operation(op: Operation, sound: Sound) -> None:
    """What can be said about an operation by itself."""
    if operators().get(op.name) is not op.operator:
        raise _BrokenError("this operator is not registered")
    _check_attributes(op, sound)
    op.operator.check_arity(len(op.operands))
    if (op.body is not None) != (op.name == "fused"):
        raise _BrokenError("a fused operation, and no other, has a body")
    if op.name == "param" and op.result.name is None:
        raise _BrokenError("a parameter needs a name")
    if op.body is not None:
        if op.algorithm is not None:
            raise _BrokenError("an algorithm belongs to an operation of the body, not to the whole")
        _check_body(op, op.body, sound)
        return
    inferred = op.operator.result_types(tuple(v.type for v in op.operands), op.attributes)
    given = tuple(r.type for r in op.results)
    if tuple(t.dense() for t in inferred) != tuple(t.dense() for t in given):
        raise _BrokenError(f"the type should be {_types(inferred)}, but is {_types(given)}")
    problem = op.algorithm.problem(given[0]) if op.algorithm is not None else None
    if problem is not None:
        raise _BrokenError(problem)


def _check_attributes(op: Operation, sound: Sound) -> None:
    complete = op.operator.complete(op.attributes)
    if complete.keys() != op.attributes.keys():
        missing = ", ".join(complete.keys() - op.attributes.keys())
        raise _BrokenError(f"attributes are missing: {missing}")
    if any(isinstance(v, list) for v in op.attributes.values()):
        raise _BrokenError("lists among the attributes must be tuples")
    for value in op.attributes.values():
        if isinstance(value, Graph):
            _check_nested(value, sound, dense=not op.operator.keeps_layouts)
    if op.name != "constant":  # that has a text, and so has any quantization, but a long one
        format_attribute({name: v for name, v in op.attributes.items() if not isinstance(v, Quantization)})


def _check_nested(graph: Graph, sound: Sound, *, dense: bool) -> None:
    """A graph that is an attribute is sound by itself."""
    _check_scope(graph)
    _check_top(graph, dense=dense)
    for op in graph.operations:
        sound.check(op)


def _check_body(op: Operation, body: Graph, sound: Sound) -> None:
    """The body is sound and fits the operation, layouts included."""
    operands, inputs = tuple(v.type for v in op.operands), tuple(v.type for v in body.inputs)
    if operands != inputs:
        raise _BrokenError(f"the body takes {_types(inputs)}, but the operands are {_types(operands)}")
    results, outputs = tuple(r.type for r in op.results), tuple(v.type for v in body.outputs)
    if results != outputs:
        raise _BrokenError(f"the body gives {_types(outputs)}, but the results are {_types(results)}")
    if body.attributes:
        raise _BrokenError("a body has no attributes")
    for inner in body.operations:
        if inner.name in ("param", "fused"):
            raise _BrokenError(f"a body can't hold {inner.name}", inner)
        sound.check(inner)
    _check_scope(body)


def _types(types: Iterable[object]) -> str:
    return f"({', '.join(map(str, types))})"
