"""From a TFLite file to a graph.

Each operator becomes one or a few operations, by the converter that stands under its name in `CONVERTERS`; operators
without one, custom ones among them, stay in the graph as `opaque`. Constants become `constant` operations with weights
in netc's order of dimensions; tensors keep their names as names of values, where they are unique.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from ...compiler.errors import Location, NetcError, ShapeError
from ...compiler.graph.builder import GraphBuilder
from ...compiler.graph.ir import Graph, Operation, Value
from ...compiler.graph.types import Quantization
from ...compiler.ops.base import lookup
from . import arithmetic, contractions, recurrent, reductions, shapes
from .context import Context, UnsupportedError
from .metadata import embedded_labels, network_of, preprocess_of
from .model import Model, Operator, read_model

Converter = Callable[[Context], Value | tuple[Value, ...]]

CONVERTERS: Mapping[str, Converter] = {
    **arithmetic.CONVERTERS,
    **contractions.CONVERTERS,
    **recurrent.CONVERTERS,
    **reductions.CONVERTERS,
    **shapes.CONVERTERS,
}

MAX_FILE = 1 << 31


def load_tflite(path: str | os.PathLike[str]) -> Graph:
    """Read a `.tflite` file. Raises `NetcError` for a file that is missing, damaged or uses what netc doesn't have."""
    file = Path(path)
    if not file.is_file():
        raise NetcError(f"there is no file {path}")
    if file.stat().st_size > MAX_FILE:
        raise NetcError(f"{path} is larger than {MAX_FILE:,} bytes")
    try:
        data = file.read_bytes()
        graph = graph_of(read_model(data), file.stem)
        return _with_labels(graph, data)
    except NetcError as error:
        place = Location(str(path), 1, 1)
        raise NetcError([replace(d, location=place) for d in error.diagnostics]) from None


def _with_labels(graph: Graph, data: bytes) -> Graph:
    """The graph with the labels that the file holds in place of their file's name."""
    preprocess = graph.attributes.get("preprocess") or {}
    name = preprocess.get("labels")
    shape = graph.outputs[0].type.shape if graph.outputs else ()
    labels = embedded_labels(data, name, shape[-1]) if isinstance(name, str) and shape else None
    if labels is None:
        return graph
    attributes = {**graph.attributes, "preprocess": {**preprocess, "labels": labels}}
    return replace(graph, attributes=MappingProxyType(attributes))


def graph_of(model: Model, name: str) -> Graph:
    """The graph of a model. Raises `NetcError`, naming the operator, where it can't be one."""
    attributes = {"format": "tflite"}
    builder = GraphBuilder(name, attributes)
    names = _unique_names(model)
    values: dict[int, Value] = {}
    weights: dict[tuple[object, ...], tuple[Value, Quantization | None]] = {}
    for place, index in enumerate(model.inputs):
        type_ = model.tensors[index].type
        if type_ is None or index in values or not type_.size:
            raise NetcError(f"{model.tensors[index].path}: this tensor can't be an input of the graph")
        values[index] = builder.input(names.get(index) or _free_name(f"input{place}", names), type_)
    for operator in model.operators:
        _convert(Context(builder, model, operator, values, weights), names)
    outputs = [_output(builder, model, values, index) for index in model.outputs]
    preprocess = preprocess_of(model)
    if preprocess:
        builder.attributes["preprocess"] = preprocess
    network = network_of(model)
    if network:
        builder.attributes["network"] = network
    if model.signatures:
        builder.attributes["signature"] = _signature(model)
    return builder.finish(outputs)


def _unique_names(model: Model) -> dict[int, str]:
    """Names of tensors that no other tensor has, and that no number could be."""
    counts = Counter(t.name for t in model.tensors)
    return {i: t.name for i, t in enumerate(model.tensors) if t.name and counts[t.name] == 1 and not t.name.isdigit()}


def _free_name(name: str, names: Mapping[int, str]) -> str:
    """A name that no tensor has."""
    while name in names.values():
        name += "_"
    return name


def _output(builder: GraphBuilder, model: Model, values: Mapping[int, Value], index: int) -> Value:
    if index in values:
        return values[index]
    array = model.tensors[index].array()
    if array is None:
        raise NetcError(f"{model.tensors[index].path}: nothing gives this output a value")
    return builder.constant(array)


def _convert(c: Context, names: Mapping[int, str]) -> None:
    """Add an operator to the graph, and its results to the values."""
    operator = c.operator
    converter = CONVERTERS.get(operator.name) if not operator.is_custom else None
    start = len(c.builder.operations)
    before = dict(c.values), dict(c.weights)
    converted: Value | tuple[Value, ...]
    try:
        converted = converter(c) if converter is not None else _opaque(c, "")
    except UnsupportedError as error:
        del c.builder.operations[start:]
        c.values.clear()
        c.values.update(before[0])
        c.weights.clear()
        c.weights.update(before[1])
        converted = _opaque(c, error.diagnostics[0].message)
    except ShapeError as error:
        c.fail(error.diagnostics[0].message, error.diagnostics[0].hint)
    except (ArithmeticError, IndexError, TypeError, ValueError) as error:
        # Shape rules and NumPy stumble over numbers that no real operator has.
        c.fail(f"its operands and options don't fit: {error}")
    results = converted if isinstance(converted, tuple) else (converted,)
    if len(results) != len(operator.outputs):
        c.fail(f"it has {len(operator.outputs)} outputs, not {len(results)}")
    for place, (index, value) in enumerate(zip(operator.outputs, results, strict=True)):
        if index in c.values or c.model.tensors[index].data is not None:
            c.fail(f"output {place}, tensor `{c.model.tensors[index].name}`, has a value already")
        c.values[index] = _declared(c, value, place, names.get(index), start)


def _declared(c: Context, value: Value, place: int, name: str | None, start: int) -> Value:
    """A result as the file declares it: same type, its name, what it stands for."""
    declared = c.output_type(place)
    if (value.type.dtype, value.type.shape) != (declared.dtype, declared.shape):
        c.fail(f"it gives {value.type}, but output {place} is declared as {declared}")
    stated = value.type.quantization
    if declared.quantization is not None and stated != declared.quantization and declared.quantization.is_per_tensor:
        value = c.emit("reinterpret", value, y=declared.quantization)
    return _renamed(c.builder, value, name, start) if name is not None else value


def _renamed(builder: GraphBuilder, value: Value, name: str, start: int) -> Value:
    """A value that was just made, under a name; one of an earlier operator keeps its own."""
    for position in range(len(builder.operations) - 1, start - 1, -1):
        op = builder.operations[position]
        if value in op.results and not any(value in later.operands for later in builder.operations[position + 1 :]):
            renamed = Value(value.type, name)
            results = tuple(renamed if r is value else r for r in op.results)
            builder.operations[position] = Operation(op.operator, op.operands, op.attributes, results, op.location)
            return renamed
    return value


def _opaque(c: Context, reason: str) -> tuple[Value, ...]:
    """An operator that netc doesn't know, or not in this form: all that it takes to write it again."""
    operator = c.operator
    operands: list[Value] = []
    places: list[int | str] = []
    for place in range(c.count):
        if not c.has(place):
            places.append(-1)
        elif c.tensor(place).is_variable:
            places.append(str(c.type(place)))
        else:
            places.append(len(operands))
            operands.append(c.value(place))
    types = tuple(str(c.output_type(i).dense()) for i in range(len(operator.outputs)))
    if not types:
        c.fail("it has no outputs")
    attributes = {
        "operator": operator.name,
        "results": types,
        "options": np.frombuffer(operator.custom_options, np.uint8) if operator.custom_options else None,
        "reason": reason,
        "version": operator.version,
        "places": () if places == list(range(len(operands))) else tuple(places),
        "intermediates": tuple(str(c.type_of(index)) for index in operator.intermediates),
        **_options(operator),
    }
    return c.builder.operation(lookup("opaque"), operands, attributes).results


def _options(operator: Operator) -> dict[str, object]:
    """The options of a builtin operator as plain values."""
    if operator.has_unknown_options:
        return {"table": "?"}
    if operator.options is None:
        return {}
    given = {name: value for name, value in operator.options.values.items() if value is not None}
    plain = {n: tuple(v.tolist()) if isinstance(v, np.ndarray) else v for n, v in given.items()}
    return {"table": operator.options.table, "fields": plain}


def _signature(model: Model) -> Mapping[str, object]:
    """The first signature: its key, and its names for the graph's inputs and outputs, in order."""
    signature = model.signatures[0]
    inputs = {index: name for name, index in signature.inputs.items()}
    outputs = {index: name for name, index in signature.outputs.items()}
    return {
        "key": signature.key,
        "inputs": tuple(inputs.get(i, "") for i in model.inputs),
        "outputs": tuple(outputs.get(i, "") for i in model.outputs),
    }
