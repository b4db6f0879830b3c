"""The reference interpreter: what a graph means, in NumPy.

It is slow and plain on purpose. Tests hold everything else against it, and the weight set-up of compiled programs
(`evaluate_outputs`) runs on it. Layouts don't change a value's meaning and are ignored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from types import MappingProxyType

import numpy as np

from ..errors import InternalError, NetcError, near_miss
from ..types import TensorType
from .ir import Array, Graph, Operation, Value

NO_PARAMETERS: Mapping[str, Array] = MappingProxyType({})
SHARED_BYTES = 1 << 16
"""Largest value that `evaluate_groups` keeps for later groups."""


def evaluate(
    graph: Graph,
    inputs: Mapping[str, Array] | Sequence[Array] = (),
    params: Mapping[str, Array] = NO_PARAMETERS,
) -> tuple[Array, ...]:
    """Run a graph on inputs by name or by position; returns the outputs.

    Inputs and parameters must have exactly the types of the graph, else `NetcError`. A value is let go after its last
    use, and a parameter is looked up only when it is needed; one that states a value has that if it is given no other.
    """
    values = dict(zip(graph.inputs, _bound_inputs(graph, inputs), strict=True))
    _run(graph.operations, values, params, frozenset(graph.outputs))
    return tuple(values[v] for v in graph.outputs)


def evaluate_outputs(graph: Graph, params: Mapping[str, Array] = NO_PARAMETERS) -> Iterator[Array]:
    """Run a graph without inputs, yielding its outputs one by one: `evaluate_groups` of single ones."""
    for (result,) in evaluate_groups(graph, [(output,) for output in graph.outputs], params):
        yield result


def evaluate_groups(
    graph: Graph, groups: Sequence[Sequence[Value]], params: Mapping[str, Array] = NO_PARAMETERS
) -> Iterator[tuple[Array, ...]]:
    """Compute values of a graph without inputs, yielding them group by group.

    Each group is computed from its own operations alone, so no more than those are in memory at a time; of what
    is read more than once, values of up to 64 KiB are kept, and what else several groups share is computed again.
    """
    if graph.inputs:
        raise InternalError("only a graph without inputs can be run output by output")
    operands = [op.operands for op in graph.operations]
    reads = Counter(chain.from_iterable(chain(groups, operands)))
    values: dict[Value, Array] = {}
    for group in groups:
        passing = [value for wanted in group for value in _complete(wanted, graph.producers, values, params, reads)]
        results = tuple([values[wanted] for wanted in group])
        for value in passing:
            del values[value]
        yield results
        del results


def _complete(
    output: Value,
    producers: Mapping[Value, Operation],
    values: dict[Value, Array],
    params: Mapping[str, Array],
    reads: Mapping[Value, int],
) -> list[Value]:
    """Add a value, and what it needs, to the known values; returns those of them that later groups don't need.

    What is read but once is let go when it has been.
    """
    passing: list[Value] = []
    waiting = [output]
    with np.errstate(all="ignore"):
        while waiting:
            if waiting[-1] in values:  # its operands needn't be there any longer
                waiting.pop()
                continue
            op = producers[waiting[-1]]
            missing = [v for v in op.operands if v not in values]
            if missing:
                waiting += missing
                continue
            waiting.pop()
            for value, array in zip(op.results, _evaluated(op, [values[v] for v in op.operands], params), strict=True):
                _check(op, value.type, array)
                values[value] = array
                if reads[value] < 2 or array.nbytes > SHARED_BYTES:
                    passing.append(value)
            for value in op.operands:
                if reads[value] < 2:
                    values[value] = _NOTHING
    return passing


_NOTHING = np.empty(0)
"""Stands for what isn't needed any longer."""


def _run(
    operations: Iterable[Operation],
    values: dict[Value, Array],
    params: Mapping[str, Array],
    wanted: frozenset[Value],
) -> None:
    """Evaluate operations in order; only `wanted` values outlive their last use."""
    operations = tuple(operations)
    last_use = {v: i for i, op in enumerate(operations) for v in (*op.results, *op.operands)}
    with np.errstate(all="ignore"):
        for i, op in enumerate(operations):
            results = _evaluated(op, tuple([values[v] for v in op.operands]), params)
            for value, result in zip(op.results, results, strict=True):
                _check(op, value.type, result)
                values[value] = result
            for value in (*op.operands, *op.results):
                if last_use[value] == i and value not in wanted:
                    values.pop(value, None)


def evaluate_operation(
    op: Operation, operands: tuple[Array, ...], params: Mapping[str, Array] = NO_PARAMETERS
) -> tuple[Array, ...]:
    """The results of one operation on the values of its operands."""
    with np.errstate(all="ignore"):
        return _evaluated(op, operands, params)


def evaluate_rows(op: Operation, operands: tuple[Array, ...], start: int, stop: int) -> Array:
    """Some rows of the result of an operation that works by rows."""
    with np.errstate(all="ignore"):
        return op.operator.rows(operands, op.attributes, start, stop)


def _evaluated(op: Operation, operands: Sequence[Array], params: Mapping[str, Array]) -> tuple[Array, ...]:
    if op.operator.name == "param":
        return (_bound_param(op, params),)
    if op.body is not None:
        return evaluate_body(op.body, tuple(operands))
    results = op.operator.evaluate(tuple(operands), op.attributes)
    return tuple(map(np.asarray, results))  # NumPy gives scalars where arrays of rank 0 are combined


def evaluate_body(body: Graph, operands: tuple[Array, ...]) -> tuple[Array, ...]:
    """Run the body of a fused operation on the values of its operands."""
    values = dict(zip(body.inputs, operands, strict=True))
    _run(body.operations, values, NO_PARAMETERS, frozenset(body.outputs))
    return tuple(values[v] for v in body.outputs)


def _check(op: Operation, type_: TensorType, result: Array) -> None:
    if result.shape != type_.shape or result.dtype != type_.dtype.numpy:
        raise InternalError(f"{op.name} gave {result.dtype}{list(result.shape)} where its type is {type_}")


def _bound_inputs(graph: Graph, inputs: Mapping[str, Array] | Sequence[Array]) -> list[Array]:
    names = [v.name or str(i) for i, v in enumerate(graph.inputs)]
    if isinstance(inputs, Mapping):
        for name in inputs:
            if name not in names:
                raise NetcError(f"@{graph.name} has no input `{name}`", hint=near_miss(name, names))
        missing = [n for n in names if n not in inputs]
        if missing:
            raise NetcError(f"@{graph.name} needs the inputs {', '.join(missing)}")
        inputs = [inputs[n] for n in names]
    if len(inputs) != len(names):
        raise NetcError(f"@{graph.name} takes {len(names)} inputs ({', '.join(names)}), not {len(inputs)}")
    return [_fitting("input", n, v.type, np.asarray(a)) for n, v, a in zip(names, graph.inputs, inputs, strict=True)]


def _bound_param(op: Operation, params: Mapping[str, Array]) -> Array:
    result = op.results[0]
    name = result.name or ""
    if name not in params:
        if (own := op.attributes["value"]) is not None:
            return np.asarray(own)
        raise NetcError(f"there is no value for the parameter `{name}`", hint=near_miss(name, params))
    return _fitting("parameter", name, result.type, np.asarray(params[name]))


def _fitting(kind: str, name: str, type_: TensorType, value: Array) -> Array:
    if value.shape != type_.shape or value.dtype != type_.dtype.numpy:
        raise NetcError(f"{kind} `{name}` is {type_.dense()}, but {value.dtype}{list(value.shape)} was given")
    return value
