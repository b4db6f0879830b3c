"""From operations to calls: each becomes a layer (see `fitting`), an infix sign, or a call of the operator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...compiler.graph.ir import Graph, Operation, Value
from ...compiler.ops.layer import layers
from ...compiler.types import DType
from ..quantized import default as said_by_operands
from ..quantized import range_of
from .fitting import Fit, fitting, is_path, slots_of
from .items import Body, Call, Choice, Item, Loop, Slot, Var, split_label
from .literals import SMALL, UnsayableError, constant_call, nested, plain, sayable
from .matching import KNOWN

SIGNS = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "div": "/",
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
    "equal": "==",
    "not_equal": "!=",
    "floor_mod": "%",
    "pow": "**",
}
"""Operators that have a sign in the language."""


@dataclass(eq=False)
class Raising:
    """The operations of a graph as calls; with `is_named` the names of parameters stay what they are."""

    graph: Graph
    is_named: bool
    vars: dict[Value, Var] = field(default_factory=dict)
    covered: set[Operation] = field(default_factory=set)
    fits: dict[Operation, Fit] = field(default_factory=dict)
    shown: dict[Value, int] = field(default_factory=dict)
    """Parameters that stand on their own, and their numbers."""
    states: int = 0
    updated: list[Value] = field(default_factory=list[Value])
    """States in the order in which they get their next values."""
    outside: list[Item] | None = None
    """Where parameters are made, if this is the graph of a condition or of a loop."""

    def body(self) -> Body:
        """All of the graph, in its order."""
        for op in reversed(self.graph.operations):
            if op not in self.covered and op.name not in KNOWN:
                fit = fitting(self.graph, op, self.covered, self.is_named)
                if fit is not None:
                    self.fits[op] = fit
                    self.covered |= fit.covered
        params = tuple(self.var(v) for v in self.graph.inputs)
        items: list[Item] = []
        coming = dict(self.graph.updates)
        for op in self.graph.operations:
            if op in self.fits:
                items.append(self._layer(op, self.fits[op], items))
            elif op.operator.regions:
                items.append(self._control(op, items))
            elif op not in self.covered and op.name not in KNOWN:
                items.append(self._operator(op, items))
            for state in [state for state, value in coming.items() if value in op.results and value in self.vars]:
                items.append(self._next(state, coming.pop(state), items))
        for state, value in coming.items():
            items.append(self._next(state, value, items))
        outs = tuple(self._operand(v, items) for v in self.graph.results)
        return Body(params, tuple(items), outs)

    def _next(self, state: Value, value: Value, items: list[Item]) -> Call:
        """`next(state) = value`."""
        self.updated.append(state)
        return Call("next", (self._operand(value, items), self._operand(state, items)), ())

    def var(self, value: Value) -> Var:
        """The tensor that stands for a value."""
        if value not in self.vars:
            self.vars[value] = Var(value.type)
        return self.vars[value]

    # ---- layers

    def _layer(self, op: Operation, fit: Fit, items: list[Item]) -> Call:
        operands = tuple(self._operand(v, items) for v in fit.proposal.operands)
        label = split_label(fit.label) if fit.label is not None else () if fit.has_parameters else None
        slots = tuple(slots_of(fit.proposal))
        return Call(fit.proposal.layer, operands, (self.var(op.result),), slots, label)

    # ---- conditions and loops

    def _control(self, op: Operation, items: list[Item]) -> Item:
        """A condition or a loop, whose graphs read the tensors around them."""
        is_loop = op.name == "while"
        if not is_loop and op.name != "if":
            raise UnsayableError(f"the language has no call of the operator {op.name}")
        values = op.operands if is_loop else op.operands[1:]
        graphs: list[Graph] = [op.attributes[name] for name in op.operator.regions]
        count = len(op.results) if is_loop else 0
        carried = tuple(Var(v.type) for v in op.results[:count])
        first = tuple(self._operand(v, items) for v in (values[:count] if is_loop else op.operands[:1]))
        bodies = [self._inner(graph, carried, values, items) for graph in graphs]
        captured = tuple(v for v in dict.fromkeys(v for body in bodies for v in _free(body)) if v not in carried)
        results = tuple(self.var(r) for r in op.results)
        if not is_loop:
            return Call(Choice(*bodies), (*first, *captured), results)
        asked, turn = bodies
        if len(set(turn.outs)) != len(turn.outs):
            raise UnsayableError("the language has no loop in which two tensors become the same one")
        return Loop(replace(turn, params=(*carried, *captured)), (*first, *captured), results, (), 1, asked)

    def _inner(self, graph: Graph, carried: Sequence[Var], values: Sequence[Value], items: list[Item]) -> Body:
        """A graph that a condition or a loop runs on these values, of which the first ones are carried."""
        used = {v for inner in graph.operations for v in inner.operands} | {*graph.outputs}
        outside = items if self.outside is None else self.outside
        inner = Raising(graph, self.is_named, shown=self.shown, outside=outside)
        inner.vars.update(zip(graph.inputs, carried, strict=False))
        for value, given in list(zip(graph.inputs, values, strict=True))[len(carried) :]:
            if value in used:
                inner.vars[value] = self._operand(given, items)
        body = inner.body()
        return replace(body, params=tuple(dict.fromkeys(_free(body))))

    # ---- operators

    def _operator(self, op: Operation, items: list[Item]) -> Call:
        results = tuple(self.var(r) for r in op.results)
        if op.operator.internal:
            raise UnsayableError(f"the language has no call of the operator {op.name}")
        if op.name in SIGNS and len(op.operands) == 2:
            return self._infix(op, results, items)
        name = WITH_TENSORS.get(op.name, op.name)
        if name == op.name and op.name in layers():
            given = f"the layer {op.name} that gives what stands in the graph: {_shown(op)}"
            raise UnsayableError(f"the language has no call of {given}")
        operands = tuple(self._operand(v, items) for v in op.operands)
        slots = []
        implied = range_of(op.operator, op.operands, op.attributes)
        for key, value in op.attributes.items():
            if key in implied and implied[key] == value:
                continue
            spec = op.operator.attributes[key]
            default = spec.default
            if spec.is_quantization and (said := said_by_operands(op.operator, op.operands, key, spec)) is not None:
                default = said
            if spec.is_quantization and value is not None and value == default:
                continue
            if spec.is_quantization and key in (name.strip("?") for name in op.operator.operands):
                problem = f"the language takes what `{key}` of {op.name} stands for from its type, which isn't {value}"
                raise UnsayableError(problem)
            slots.append(Slot(key, sayable(op, key, value), sayable(op, key, default, strict=False)))
        return Call(name, operands, results, tuple(slots))

    def _infix(self, op: Operation, results: tuple[Var, ...], items: list[Item]) -> Call:
        """`a + b`; a constant of rank 0 is a number."""
        sign = SIGNS[op.name]
        numbers = [self._number(op, place) for place in (0, 1)]
        if numbers[1] is not None and not (op.name == "pow" and not _stays_pow(numbers[1], op)):
            return Call(
                sign, (self._operand(op.operands[0], items),), results, (Slot("right", numbers[1]),), None, True
            )
        if numbers[0] is not None and numbers[1] is None:
            return Call(sign, (self._operand(op.operands[1], items),), results, (Slot("left", numbers[0]),), None, True)
        operands = tuple(self._operand(v, items) for v in op.operands)
        return Call(sign if op.name != "pow" else "pow", operands, results, (), None, op.name != "pow")

    def _number(self, op: Operation, place: int) -> Any:
        """An operand as a number in the text; None if it is none."""
        value = op.operands[place]
        producer = self.graph.producers.get(value)
        if producer is None or producer.name != "constant" or value.type.shape or value.type.quantization:
            return None
        return plain(producer.attributes["value"][()], value.type.dtype)

    def _operand(self, value: Value, items: list[Item]) -> Var:
        """A tensor; a parameter or constant gets a call of its own where it is first used."""
        op = self.graph.producers.get(value)
        if op is None or op.name not in KNOWN or value in self.vars:
            return self.var(value)
        is_plain = op.name == "constant" and value.type.quantization is None
        call = constant_call(op, self.var(value)) if is_plain else None
        if call is None and value in self.graph.updates:
            call = self._state(op)
        if call is None:
            items = items if self.outside is None else self.outside
            call = self._parameter(op)
        items.append(call)
        return self.var(value)

    def _parameter(self, op: Operation) -> Call:
        """`param(...)`: of the graph, or the place of a constant that is too large for the text."""
        attributes, value = op.attributes, op.result
        dtype = Slot("dtype", str(value.type.dtype), "f32")
        number = len(self.shown)
        self.shown[value] = number
        if op.name == "constant":
            given = value.name if self.is_named and value.name and is_path(value.name) else f"constant_{number}"
            settings = [Slot("trainable", value.type.dtype.is_float, value.type.dtype.is_float)]
        else:
            given = value.name if self.is_named and value.name else f"parameter_{number}"
            settings = [
                Slot("init", attributes["init"], "zeros"),
                Slot("trainable", attributes["trainable"], value.type.dtype.is_float),
                Slot("checkpoint", attributes["checkpoint"], None),
            ]
        axis = value.type.quantization.axis if value.type.quantization is not None else None
        if axis is not None and axis != value.type.rank - 1:
            settings.append(Slot("axis", axis, -1))
        slots = (Slot("shape", value.type.shape, named=False), *settings, dtype)
        return Call("param", (), (self.var(value),), slots, split_label(given))

    def _state(self, op: Operation) -> Call:
        """`state(...)`, which begins with a number, or with few of them."""
        value, array = op.result, op.attributes["value"]
        if array is None:
            raise UnsayableError(f"the language has no state that begins with weights, such as `{value.name}`")
        kind = f"{value.type.dtype}{value.type.quantization or ''}"
        is_bool = value.type.dtype is DType.BOOL
        is_same = array.size and array.tobytes() == array.reshape(-1)[:1].tobytes() * array.size
        if array.size > SMALL and not is_same:
            raise UnsayableError(f"the language has no state that begins with many numbers, such as `{value.name}`")
        shown = array.reshape(-1)[:1] if is_same else array.reshape(-1)
        numbers = [bool(n) if is_bool else plain(n, value.type.dtype) for n in shown]
        if any(n is None for n in numbers):
            raise UnsayableError(f"the language has no state that begins with NaN or infinity, such as `{value.name}`")
        first = numbers[0] if is_same else nested(iter(numbers), array.shape)
        shape = Slot("shape", value.type.shape, named=False)
        named = value.name if self.is_named and value.name and is_path(value.name) else None
        label = split_label(named or f"state_{self.count_of_states()}")
        return Call(
            "state", (), (self.var(value),), (shape, Slot("value", first, 0), Slot("dtype", kind, "f32")), label
        )

    def count_of_states(self) -> int:
        """How many states have got a call so far."""
        self.states += 1
        return self.states - 1


def _free(body: Body) -> Iterator[Var]:
    """What a body reads from around it, in the order of use."""
    made = {v for item in body.items for v in item.results}
    yield from (v for v in (*(v for item in body.items for v in item.operands), *body.outs) if v not in made)


WITH_TENSORS = {"dense": "linear", "batch_norm": "batch_normalize", "prelu": "parametric_relu"}
"""Layers that take the place of operators whose name another layer has: parameters are tensors like any other."""


def _stays_pow(number: Any, op: Operation) -> bool:
    """Whether `x ** number` is the operator pow."""
    return not (isinstance(number, int) and 1 <= number <= 16) and number != 0.5


def _shown(op: Operation) -> str:
    operands = ", ".join(str(v.type) for v in op.operands)
    settings = "".join(f", {k} = {v}" for k, v in op.attributes.items())
    return f"{op.name}({operands}{settings})"
