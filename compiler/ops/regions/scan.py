"""scan: a graph that is run once for each step of a sequence, and hands its state on to the next step.

Source: ONNX's Scan, jax.lax.scan. Compiled, the steps are a loop in one kernel (see `lowering/scan.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...errors import InternalError, ShapeError
from ...graph.builder import GraphBuilder
from ...graph.interpreter import evaluate_body
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Emits, Graph, Operation, Operator, Value
from ...graph.registry import lookup, register
from ...types import DType, TensorType
from ..facets import INTEGER, PERMUTED, TFLITE


@register
class Scan(Operator):
    """Run `body` for each step: states, sequences [T, ...] and constants to the last states and sequences [T, ...].

    The body takes the states, a slice of each sequence and the constants, and returns the next states and a slice of
    each result. Raises `ShapeError` where it doesn't fit, or holds parameters.
    """

    name = "scan"
    internal = True
    operands = ("*values",)
    attributes = {
        "body": AttributeSpec(Graph, "one step: states, slices, constants -> states, slices of the results"),
        "states": AttributeSpec(int, "how many of the values are states; the sequences stand behind them"),
        "sequences": AttributeSpec(int, "how many of the values are sequences; the constants stand behind them"),
        "steps": AttributeSpec(int, "T"),
        "reverse": AttributeSpec(bool, "from the last step to the first", False),
    }
    non_differentiable = "its steps are a loop; `unroll-scans` writes them out"

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        body: Graph = attributes["body"]
        states, steps = attributes["states"], attributes["steps"]
        first = states + attributes["sequences"]
        if min(states, attributes["sequences"], steps) < 0 or len(operands) < first:
            raise ShapeError(
                f"scan can't take {states} states and {attributes['sequences']} sequences of {steps} steps"
            )
        if any(not t.rank or t.shape[0] != steps for t in operands[states:first]):
            given = ", ".join(map(str, operands[states:first]))
            raise ShapeError(f"scan needs sequences of {steps} steps, not {given}")
        inside = (*operands[:states], *map(_slice, operands[states:first]), *operands[first:])
        taken, given_back = (tuple(v.type.dense() for v in values) for values in (body.inputs, body.outputs))
        if taken != tuple(t.dense() for t in inside) or given_back[:states] != taken[:states]:
            wanted = ", ".join(map(str, inside))
            raise ShapeError(f"scan: @{body.name} must take ({wanted}) and return {states} states of the same types")
        if any(op.name == "param" for op in body.operations):
            raise ShapeError(f"scan: @{body.name} can't hold parameters", hint="pass them as constants")
        return (*given_back[:states], *(_stacked(t, steps) for t in given_back[states:]))

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        body: Graph = attributes["body"]
        states, count = attributes["states"], attributes["sequences"]
        carried, sequences = operands[:states], operands[states : states + count]
        shapes = [(attributes["steps"], *v.type.shape) for v in body.outputs[states:]]
        stacked = [np.zeros(s, v.type.dtype.numpy) for s, v in zip(shapes, body.outputs[states:], strict=True)]
        order = range(attributes["steps"])
        for t in reversed(order) if attributes["reverse"] else order:
            slices = tuple(np.asarray(s[t]) for s in sequences)
            results = evaluate_body(body, (*carried, *slices, *operands[states + count :]))
            carried = results[:states]
            for whole, part in zip(stacked, results[states:], strict=True):
                whole[t] = part
        return (*(np.array(state) for state in carried), *stacked)

    def macs(self, operands: tuple[TensorType, ...], results: tuple[TensorType, ...], attributes: Attributes) -> int:
        body: Graph = attributes["body"]
        types = [(op, tuple(v.type for v in op.operands), tuple(v.type for v in op.results)) for op in body.operations]
        steps: int = attributes["steps"]
        return steps * sum(op.operator.macs(taken, given, op.attributes) for op, taken, given in types)


def _slice(sequence: TensorType) -> TensorType:
    return TensorType(sequence.dtype, sequence.shape[1:], None, sequence.quantization)


def _stacked(slice_: TensorType, steps: int) -> TensorType:
    return TensorType(slice_.dtype, (steps, *slice_.shape), None, slice_.quantization)


INTEGER.none("its body is made of integers already, or stays float", Scan)
TFLITE.none("the operators that are made of it have forms of their own", Scan)
PERMUTED.none("its results depend on each other", Scan)


Step = Callable[
    [GraphBuilder, Sequence[Value], Sequence[Value], Sequence[Value]], tuple[Sequence[Value], Sequence[Value]]
]
"""Emits one step: states, slices and constants to the next states and slices of the results."""


@dataclass(frozen=True, slots=True)
class Scanned:
    """What a scan gives."""

    states: tuple[Value, ...]
    """After the last step."""
    stacked: tuple[Value, ...]
    """The results of all steps, [T, ...] each."""


def scanned(
    b: Builder,
    step: Step,
    states: Sequence[Value],
    sequences: Sequence[Value],
    constants: Sequence[Value],
    *,
    reverse: bool = False,
) -> Scanned:
    """Add a scan over sequences [T, ...] (at least one) whose body `step` emits.

    Arrays that the body holds become constants of the scan: a loop of kernels reads them where weights lie.
    """
    inner = GraphBuilder("step")
    kinds = (("state", states), ("x", sequences), ("c", constants))
    taken = [
        [inner.input(f"{stem}{i}", _slice(v.type) if stem == "x" else v.type.dense()) for i, v in enumerate(values)]
        for stem, values in kinds
    ]
    next_states, results = step(inner, *taken)
    first = len(states) + len(sequences)
    body = inner.finish((*next_states, *results))
    body, constants = hoisted(b, body, first, (*states, *sequences, *constants), _is_array)
    return _scanned(b, body, (states, sequences, constants), reverse)


def cut_out(
    b: GraphBuilder,
    step: Callable[[Sequence[Value], Sequence[Value]], tuple[Sequence[Value], Sequence[Value]]],
    states: Sequence[Value],
    sequences: Sequence[Value],
    *,
    reverse: bool = False,
) -> Scanned:
    """Add a scan over sequences [T, ...] (at least one) whose body is what `step` adds to the graph for one step.

    What it adds that is the same in every step stays in the graph. What the body reads from there becomes constants of
    the scan, or numbers of the body. A single step stands in the graph itself.
    """
    if sequences[0].type.shape[0] == 1:
        states, results = step(states, [b.emit("reshape", v, shape=v.type.shape[1:]) for v in sequences])
        return Scanned(tuple(states), tuple(b.emit("reshape", v, shape=(1, *v.type.shape)) for v in results))
    slices = [Value(_slice(v.type), f"x{i}") for i, v in enumerate(sequences)]
    inputs = [*(Value(v.type.dense(), f"state{i}") for i, v in enumerate(states)), *slices]
    start = len(b.operations)
    next_states, results = step(inputs[: len(states)], slices)
    varying = set(inputs)
    inside: list[Operation] = []
    outside: list[Operation] = []
    for op in b.operations[start:]:
        varies = not varying.isdisjoint(op.operands)
        (inside if varies else outside).append(op)
        varying.update(op.results if varies else ())
    b.operations[start:] = outside
    outputs = (*next_states, *results)
    read = dict.fromkeys(v for op in inside for v in op.operands if v not in varying)
    numbers = [op for op in b.operations if is_number(op) and op.result in read]
    own = {op.result: Value(op.result.type) for op in numbers}
    given = [v for v in dict.fromkeys((*read, *(v for v in outputs if v not in varying))) if v not in own]
    own |= {v: Value(v.type.dense(), f"c{i}") for i, v in enumerate(given)}
    operations = [replace(op, results=(own[op.result],)) for op in numbers]
    operations += [replace(op, operands=tuple(own.get(v, v) for v in op.operands)) for op in inside]
    constants = [own[v] for v in given]
    body = Graph("step", (*inputs, *constants), tuple(operations), tuple(own.get(v, v) for v in outputs), {})
    return _scanned(b, body, (states, sequences, given), reverse)


def _scanned(
    b: Builder, body: Graph, given: tuple[Sequence[Value], Sequence[Value], Sequence[Value]], reverse: bool
) -> Scanned:
    """Add the scan of a body over states, sequences and constants."""
    states, sequences, constants = given
    attributes = {
        "body": body,
        "states": len(states),
        "sequences": len(sequences),
        "steps": sequences[0].type.shape[0],
        "reverse": reverse,
    }
    op = b.operation(lookup("scan"), (*states, *sequences, *constants), attributes)
    return Scanned(op.results[: len(states)], op.results[len(states) :])


def hoisted(
    b: Builder, body: Graph, first: int, given: Sequence[Value], moves: Callable[[Operation], bool]
) -> tuple[Graph, tuple[Value, ...]]:
    """The body of a scan of `given` values without some of what is the same in every step, and the constants it takes.

    What depends on the constants alone, from the value number `first` on, and `moves`, is emitted before the scan.
    """
    outside: dict[Value, Value] = dict(zip(body.inputs[first:], given[first:], strict=True))
    inside: list[Operation] = []
    for op in body.operations:
        if not moves(op) or not all(v in outside for v in op.operands):
            inside.append(op)
            continue
        new = b.operation(op.operator, tuple(outside[v] for v in op.operands), op.attributes, location=op.location)
        outside.update(zip(op.results, new.results, strict=True))
    made = {r for op in inside for r in op.results}
    needed = dict.fromkeys(v for v in (*(v for op in inside for v in op.operands), *body.outputs) if v not in made)
    taken = [v for v in needed if v in outside]
    inputs = (*body.inputs[:first], *(Value(v.type, f"c{i}") for i, v in enumerate(taken)))
    renamed = dict(zip(taken, inputs[first:], strict=True))
    operations = tuple(replace(op, operands=tuple(renamed.get(v, v) for v in op.operands)) for op in inside)
    outputs = tuple(renamed.get(v, v) for v in body.outputs)
    return Graph(body.name, inputs, operations, outputs, body.attributes), tuple(outside[v] for v in taken)


def is_number(op: Operation) -> bool:
    """True for a constant that kernels know as a number."""
    return op.name == "constant" and op.result.type.size == 1


def _is_array(op: Operation) -> bool:
    return op.name == "constant" and not is_number(op)


def time_first(b: Emits, x: Value, already: bool) -> Value:
    """A sequence [N, T, ...] as [T, N, ...]."""
    return x if already else b.emit("transpose", x, permutation=(1, 0, *range(2, x.type.rank)))


def time_second(b: Emits, x: Value, leave: bool) -> Value:
    """A sequence [T, N, ...] as [N, T, ...]."""
    return time_first(b, x, leave)


def evaluated(operator: Operator, operands: Sequence[Array], attributes: Attributes) -> tuple[Array, ...]:
    """What an operator that is made of others gives."""
    b = GraphBuilder("parts")
    values = [b.input(f"x{i}", TensorType(DType.of(a.dtype), a.shape)) for i, a in enumerate(operands)]
    results = operator.decompose(b, tuple(values), attributes)
    if results is None:
        raise InternalError(f"{operator.name} is made of no others")
    return evaluate_body(b.finish(results if isinstance(results, tuple) else (results,)), tuple(operands))
