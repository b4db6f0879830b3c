"""Custom operators of TFLite files: how a rule sees one, and how it is registered.

    @custom_operator("Scaled")
    def scaled(call: CustomCall) -> Value:
        (x,) = call.operands
        factor = call.builder.scalar(call.number("factor"), x.type.dtype)
        return call.emit("mul", x, factor)

A rule makes the results of netc's operators. It runs when a network is compiled; until then the operator stays in the
graph as `opaque`, so that it can be written to a file again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import InternalError, NetcError
from ..graph.builder import GraphBuilder
from ..graph.ir import Array, Attribute, Operation, Value
from ..text import shortened
from ..types import DType, TensorType, parse_type
from .expressions import Formula
from .opaque import Running, computes


@dataclass(frozen=True, slots=True)
class CustomCall:
    """One use of a custom operator, and the builder that takes the operations it is made of."""

    builder: GraphBuilder
    operation: Operation
    operands: tuple[Value, ...]
    states: list[Value] = field(default_factory=list[Value])
    """What `state` has made."""

    @property
    def name(self) -> str:
        """Name of the operator."""
        return str(self.operation.attributes["operator"])

    @property
    def version(self) -> int:
        """Version of the operator that the file asks for."""
        return int(self.operation.attributes["version"])

    @property
    def results(self) -> tuple[TensorType, ...]:
        """Types of the results as the file declares them; a shape that it leaves out is that of a scalar."""
        return tuple(parse_type(text) for text in self.operation.attributes["results"])

    @property
    def data(self) -> bytes:
        """The operator's options, as they stand in the file."""
        data = self.operation.attributes["options"]
        return b"" if data is None else bytes(data.tobytes())

    @property
    def options(self) -> Mapping[str, Any]:
        """The options as a map of a flexbuffer; empty if there are none. Raises `NetcError` if they are no map."""
        if not self.data:
            return {}
        from flatbuffers import flexbuffers  # for files that have custom operators

        try:
            options = flexbuffers.Loads(self.data)
        except Exception as error:  # whatever damaged bytes lead to
            raise NetcError(f"its options can't be read: {error}") from None
        if not isinstance(options, dict):
            raise NetcError("its options are no map")
        return options

    def number(self, name: str, default: float | None = None) -> float:
        """An option that is a number. Raises `NetcError` if it is none, or missing and without a default."""
        value = self.options.get(name, default)
        if value is None:
            raise NetcError(f"it has no option `{name}`")
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise NetcError(f"its option `{name}` is no number")
        return value

    def integers(self, count: int) -> tuple[int, ...]:
        """The first numbers of options that are a struct of 32-bit integers. Raises `NetcError` if they are fewer."""
        if len(self.data) < 4 * count:
            raise NetcError(f"its options have {len(self.data)} bytes, not {4 * count} or more")
        return tuple(int(n) for n in np.frombuffer(self.data, "<i4", count))

    def constant(self, place: int) -> Array:
        """What operand number `place` holds. Raises `NetcError` unless that is known."""
        wanted = self._operand(place)
        for op in self.builder.operations:
            if op.results == (wanted,) and op.name == "constant":
                return np.asarray(op.attributes["value"])
        raise NetcError(f"operand {place} is not a constant")

    def state(self, initial: Array) -> Value:
        """A value that the first run finds as given here, and each further one as the run before left it (`keep`)."""
        array = np.asarray(initial)
        name = f"{self.name}.{self.operation.attributes['number']}"
        made = self.builder.state(f"{name}.{len(self.states)}" if self.states else name, array)
        self.states.append(made)
        self.keep(made, made)
        return made

    def keep(self, state: Value, value: Value) -> None:
        """Say what the next run finds in a state. Raises `NetcError` unless it is one, and the value has its type."""
        if not isinstance(state, Value) or state not in self.states:
            raise NetcError("it keeps a value in what `call.state` didn't make")
        if not isinstance(value, Value) or value.type != state.type:
            kind = value.type if isinstance(value, Value) else shortened(repr(value))
            raise NetcError(f"its state is {state.type}, and can't become {kind}")
        if isinstance(self.builder, Running):
            self.builder.kept[state.name or ""] = value

    def check(self, *ranks: int, results: int = 1) -> None:
        """Raise `NetcError` unless the operands are f32 of these ranks, and the number of results is right."""
        types = [v.type for v in self.operands]
        if [t.rank for t in types] != list(ranks) or any(t.dtype is not DType.F32 for t in types):
            raise NetcError(f"its form for {', '.join(map(str, types)) or 'no operands'} is not supported")
        if len(self.operation.results) != results:
            raise NetcError(f"it has {results} results, not {len(self.operation.results)}")

    def emit(self, operator: str, *operands: Value, **attributes: Attribute) -> Value:
        """Add an operation of netc's and return its only result."""
        wrong = next((v for v in operands if not isinstance(v, Value)), None)
        if wrong is not None:
            raise NetcError(f"{operator} takes values of the graph, not {shortened(repr(wrong))}")
        return self.builder.emit(operator, *operands, **attributes)

    def formula(self, place: int) -> Formula:
        """Operand number `place`, for arithmetic."""
        return Formula(self.builder, self._operand(place))

    def _operand(self, place: int) -> Value:
        if not 0 <= place < len(self.operands):
            raise NetcError(f"it has no operand {place}, only {len(self.operands)}")
        return self.operands[place]


Rule = Callable[[CustomCall], Value | Formula | tuple[Value | Formula, ...]]
"""What a custom operator computes, made of netc's operators; raises `NetcError` for forms that it doesn't take."""


def custom_operator(name: str) -> Callable[[Rule], Rule]:
    """Decorator: a function says what the custom operator of this name computes, in all files that are read.

    It takes the place of an earlier one. What it gives must have the types that the file declares. What it raises, and
    what it gives that is no value of the graph, becomes a `NetcError` that names the operator.
    """
    if not isinstance(name, str) or not name:
        raise NetcError(
            f"a custom operator has a name, not {shortened(repr(name))}", hint='@netc.tflite.custom_operator("Name")'
        )

    def add(rule: Rule) -> Rule:
        if not callable(rule):
            raise NetcError(f"the custom operator {name} takes a function, not {shortened(repr(rule))}")

        def results(b: GraphBuilder, op: Operation, operands: tuple[Value, ...]) -> tuple[Value, ...]:
            call = CustomCall(b, op, operands)
            try:
                given = rule(call)
            except (NetcError, InternalError):
                raise
            except Exception as error:  # a rule may be anybody's
                said = f": {error}" if str(error) else ""
                raise NetcError(f"its rule raised {type(error).__name__}{said}") from error
            return _checked(call, given)

        computes(results, name)
        return rule

    return add


def _checked(call: CustomCall, given: object) -> tuple[Value, ...]:
    """What a rule gave, if it is as many values of the graph as the operator has results."""
    several = given if isinstance(given, tuple) else (given,)
    results = tuple(v.value if isinstance(v, Formula) else v for v in several)
    there = {*call.operands, *(v for op in call.builder.operations for v in op.results)}
    wrong = next((v for v in results if not isinstance(v, Value) or v not in there), None)
    if wrong is not None or None in results:
        hint = "it has to give values that `call.emit` made, or operands"
        raise NetcError(f"its rule gave {shortened(repr(wrong))}: {hint}")
    wanted = len(call.operation.results)
    if len(results) != wanted:
        raise NetcError(f"its rule gave {len(results)} results, not {wanted}")
    return results
