"""Operators of TFLite files that netc can't run: kept in the graph with all that it takes to write them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...compiler.graph.ir import Operation, Value
from ...compiler.graph.registry import lookup
from ...compiler.ops.opaque import custom_types
from ...compiler.tflite.reading import Operator, Tensor
from ...compiler.types import DType, TensorType
from .context import Context, lack

NOTHING = TensorType(DType.U8, (0,))
"""What stands in the graph for the result of an operator that has none."""


def stand_in(tensor: Tensor) -> TensorType:
    """The type of a tensor; bytes stand for elements that netc doesn't have, which only opaque operators meet.

    So do sizes of 1 for those that are not known.
    """
    type_ = tensor.type or TensorType(DType.U8, tensor.shape)
    return replace(type_, shape=tuple(1 if size < 0 else size for size in type_.shape))


def opaque(c: Context, reason: str) -> tuple[Value, ...]:
    """An operator that netc doesn't have, or not in this form, which `reason` explains."""
    operator = c.operator
    operands: list[Value] = []
    places: list[int | str] = []
    for place in range(c.count):
        if not c.has(place):
            places.append(-1)
        elif c.tensor(place).is_variable:
            places.append(str(stand_in(c.tensor(place))))
        else:
            places.append(len(operands))
            operands.append(_operand(c, place))
    attributes = {
        "operator": operator.name,
        "options": np.frombuffer(operator.custom_options, np.uint8) if operator.custom_options else None,
        "reason": reason,
        "number": operator.number,
        "version": operator.version,
        "places": () if places == list(range(len(operands))) else tuple(places),
        "intermediates": tuple(str(stand_in(c.model.tensors[index])) for index in operator.intermediates),
        **_options(operator),
    }
    _settle(c, operands, attributes)
    return _operation(c, operands, attributes).results


def _operation(c: Context, operands: Sequence[Value], attributes: Mapping[str, Any]) -> Operation:
    types = tuple(str(stand_in(c.output(i)).dense()) for i in range(len(c.operator.outputs)))
    rest = {"results": types or (str(NOTHING),), "unwritable": _unwritable(c), "elements": _elements(c)}
    return c.builder.operation(lookup("opaque"), operands, {**attributes, **rest})


def _settle(c: Context, operands: Sequence[Value], attributes: Mapping[str, Any]) -> None:
    """Find the shapes of the results: those that the file states or that netc finds. Where sizes are open, give up."""
    places = range(len(c.operator.outputs))
    if all(c.output(i).has_shape and not c.output(i).is_dynamic for i in places):
        found = [c.output(i).shape for i in places]
        c.walk.guesses |= any(any(c.output(i).is_free) for i in places)
    else:
        types = _custom_types(c, operands, attributes) if c.operator.is_custom else None
        if types is None or len(types) != len(places):
            for i in places:
                c.lose(i)
            return
        found = [type_.shape for type_ in types]
    for i, shape in zip(places, found, strict=True):
        c.settle(i, shape)


def _custom_types(
    c: Context, operands: Sequence[Value], attributes: Mapping[str, Any]
) -> tuple[TensorType, ...] | None:
    """Types of what netc makes of a custom operator; the builder stays as it is."""
    start = len(c.builder.operations)
    types = custom_types(c.builder, _operation(c, operands, attributes))
    del c.builder.operations[start:]
    return types


def _operand(c: Context, place: int) -> Value:
    """An input as a value, whatever its type."""
    tensor, index = c.tensor(place), c.operator.inputs[place]
    if index not in c.values and tensor.type is None and tensor.data is not None:
        c.values[index] = c.builder.constant(np.frombuffer(tensor.data, np.uint8))
    if index in c.walk.handles:
        return c.builder.constant(np.zeros(NOTHING.shape, NOTHING.dtype.numpy))
    return c.values[index] if index in c.values else c.value(place)


def _elements(c: Context) -> tuple[str, ...]:
    """The element types of operands and results that netc lacks; nothing if it has all."""
    inputs = [c.tensor(i) for i in range(c.count) if c.has(i) and not c.tensor(i).is_variable]
    names = ["" if t.type is not None else t.element for t in (*inputs, *map(c.output, range(len(c.operator.outputs))))]
    return tuple(names) if any(names) else ()


def _unwritable(c: Context) -> str:
    """What of an operator the graph doesn't tell, so that it can't be written again."""
    if not c.operator.outputs:
        return "it has no outputs"
    tensors = [c.model.tensors[i] for i in (*c.operator.inputs, *c.operator.outputs) if i >= 0]
    strange = next((t for t in tensors if t.type is None or (t.is_open and t.is_dynamic)), None)
    return "" if strange is None else f"tensor `{strange.name}` {lack(strange)}"


def _options(operator: Operator) -> dict[str, object]:
    """The options of a builtin operator as plain values."""
    if operator.has_unknown_options:
        return {"table": "?"}
    if operator.options is None:
        return {}
    given = {name: value for name, value in operator.options.values.items() if value is not None}
    plain = {n: tuple(v.tolist()) if isinstance(v, np.ndarray) else v for n, v in given.items()}
    return {"table": operator.options.table, **({"fields": plain} if plain else {})}
