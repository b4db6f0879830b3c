"""From a TFLite file to a graph.

Each operator becomes one or a few operations, by the reader that is registered for it; operators
without one, custom ones among them, stay in the graph as `opaque`. Constants become `constant` operations with weights
in netc's order of dimensions; tensors keep their names as names of values, where they are unique.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ...compiler.errors import Location, NetcError, Note, ScaleError, ShapeError, near_miss
from ...compiler.graph.builder import GraphBuilder
from ...compiler.graph.ir import Graph, Value
from ...compiler.ops.facets import readers
from ...compiler.passes.assign_axes import assign_axes
from ...compiler.passes.half_constants import CONSTANTS, HALF
from ...compiler.reading import read_bytes
from ...compiler.signature import output_names
from ...compiler.tflite.metadata import CLASS_NUMBERS
from ...compiler.tflite.reading import Model, Signature, read_model
from ...compiler.types import DType
from . import (  # noqa: F401 (which registers the readers)
    arithmetic,
    contractions,
    control,
    fourier,
    moves,
    recurrent,
    reduce_window,
    reductions,
    scatters,
    selections,
    shapes,
    stablehlo,
)
from .context import Context, Converter, UnsupportedError, results_of
from .element_types import check_element_types
from .folding import check_forms, folded
from .lists import with_list_writes
from .metadata import embedded_labels, read_metadata
from .opaque import opaque, stand_in
from .sizes import Sizes, bound
from .variables import RANDOM, STATEMENTS, Variables, refusal
from .walk import Walk

MAX_FILE = 1 << 31


def load_tflite(path: str | os.PathLike[str], signature: str | None = None, sizes: Sizes | None = None) -> Graph:
    """Read a `.tflite` file: the subgraph of a signature, the first one if None, with its free sizes bound.

    Raises `NetcError` for a file that is missing, damaged or uses what netc doesn't have. Warns (`Note`) of what is
    guessed.
    """
    file = Path(path)
    data = read_bytes(path, limit=MAX_FILE)
    notes: list[str] = []
    try:
        model = read_model(data)
        if signature is not None:
            model = model.by(_signature_of(model, signature))
        graph = assign_axes(_with_labels(graph_of(model, file.stem, sizes, notes), data))
    except NetcError as error:
        raise error.at(Location(str(path), 1, 1)) from None
    for note in dict.fromkeys(notes):
        warnings.warn(f"{path}: {note}", Note, stacklevel=2)
    return graph


def _signature_of(model: Model, key: str) -> Signature:
    """The signature of a key."""
    found = next((s for s in model.signatures if s.key == key), None)
    if found is None:
        keys = [s.key for s in model.signatures]
        hint = near_miss(key, keys) or (f"it has {', '.join(keys)}" if keys else "it has none")
        raise NetcError(f"the file has no signature `{key}`", hint=hint)
    return found


def _with_labels(graph: Graph, data: bytes) -> Graph:
    """The graph with the labels that the file holds in place of their file's name."""
    preprocess = graph.attributes.get("preprocess") or {}
    name = preprocess.get("labels")
    shape = graph.results[0].type.shape if graph.results else ()
    numbered = CLASS_NUMBERS in output_names(graph)  # of a detector, whose classes are numbers
    if not isinstance(name, str) or not shape:
        return graph
    count = 2 if len(shape) == 4 and shape[-1] == 1 else shape[-1]  # a single score for each pixel tells two apart
    labels = embedded_labels(data, name, None if numbered else count)
    if labels is None:
        return graph
    attributes = {**graph.attributes, "preprocess": {**preprocess, "labels": labels}}
    return replace(graph, attributes=MappingProxyType(attributes))


def graph_of(model: Model, name: str, sizes: Sizes | None = None, notes: list[str] | None = None) -> Graph:
    """The graph of a model. Raises `NetcError`, naming the operator, where it can't be one.

    What was guessed on the way is added to `notes`.
    """
    model, guesses = bound(model, sizes or Sizes())
    attributes = {"format": "tflite"}
    if any(t.data is not None and t.type is not None and t.type.dtype is DType.F16 for t in model.tensors):
        attributes[CONSTANTS] = HALF
    builder = GraphBuilder(name, attributes)
    walk = _walked(model, builder)
    outputs = [walk.output(index) for index in model.outputs]
    states, updates = walk.variables.finish()
    if states:
        builder.attributes["updates"] = states
    strange = [(walk.values[i].name or "", t) for i in model.inputs if (t := model.tensors[i]).type is None]
    lacking = {name: f"{t.type_name}[{','.join(map(str, t.shape))}]" for name, t in strange}
    if lacking:
        builder.attributes["element_types"] = lacking
    metadata = read_metadata(model)
    builder.attributes.update(metadata.attributes)
    if notes is not None:
        notes += [*guesses, *metadata.notes]
    if model.signature is not None:
        builder.attributes["signature"] = _signature(model, model.signature)
    return builder.finish((*outputs, *updates))


def with_shapes(model: Model) -> Model:
    """The model with shapes that the file leaves out, as far as they follow from those of the inputs."""
    computed = {i for operator in model.operators for i in operator.outputs}
    if all(model.tensors[i].has_shape for i in computed):
        return model
    try:
        walk = _walked(bound(model, Sizes())[0], GraphBuilder("shapes"))
    except NetcError:
        return model
    opaque_ones = {v for op in walk.builder.operations if op.name == "opaque" for v in op.results}
    known = {i: v.type.shape for i, v in walk.values.items() if v not in opaque_ones}
    known |= {i: array.shape for i, array in walk.arrays.items()}
    tensors = [
        t.with_shape(known[i]) if not t.has_shape and i in computed and i in known and not t.is_complex else t
        for i, t in enumerate(model.tensors)
    ]
    subgraphs = list(model.subgraphs)
    subgraphs[model.main] = replace(model.subgraph, tensors=tensors)
    return replace(model, subgraphs=tuple(subgraphs))


def _walked(model: Model, builder: GraphBuilder) -> Walk:
    """A model whose sizes are bound, after all its operators have been converted."""
    names = _unique_names(model)
    taken = frozenset(names.values())
    walk = Walk(with_list_writes(model), builder, Variables(builder, taken), _convert, names)
    for place, index in enumerate(model.inputs):
        type_ = stand_in(model.tensors[index])
        if index in walk.values or not type_.size:
            reason = "an input already" if index in walk.values else f"{type_}, which has no elements"
            raise NetcError(f"{model.tensors[index].path}: this tensor can't be an input of the graph: it is {reason}")
        walk.values[index] = builder.input(names.get(index) or _free_name(f"input{place}", taken), type_)
    walk.run()
    return walk


def _unique_names(model: Model) -> dict[int, str]:
    """Names of tensors that no other tensor has, and that no number could be."""
    counts = Counter(t.name for t in model.tensors)
    return {i: t.name for i, t in enumerate(model.tensors) if t.name and counts[t.name] == 1 and not t.name.isdigit()}


def _free_name(name: str, taken: Collection[str]) -> str:
    """A name that no tensor has."""
    while name in taken:
        name += "_"
    return name


def _convert(c: Context, names: Mapping[int, str]) -> None:
    """Add an operator to the graph, and its results to the values."""
    operator = c.operator
    for place, index in enumerate(operator.outputs):
        tensor = c.model.tensors[index]
        if index in c.values or index in c.folded or tensor.data is not None:
            c.fail(f"output {place}, tensor `{tensor.name}`, has a value already")
    converter = readers().get(operator.name) if not operator.is_custom else None
    varies = operator.is_custom or operator.name in STATEMENTS | RANDOM
    arrays = None if varies else folded(c, converter)
    if arrays is not None:
        for place, (index, array) in enumerate(zip(operator.outputs, arrays, strict=True)):
            c.folded[index] = array
            c.settle(place, array.shape)
        return
    start = len(c.builder.operations)
    before = len(c.values), len(c.weights)
    variables = c.walk.variables.copy()
    try:
        if converter is None:
            raise UnsupportedError(refusal(operator))
        statement = operator.name in STATEMENTS and not operator.is_custom
        results = _stated(c, converter) if statement else _converted(c, converter, names, start)
    except NetcError as error:
        if not isinstance(error, UnsupportedError | ShapeError) and not c.walk.guesses:
            raise
        del c.builder.operations[start:]
        _shorten(c.values, before[0])
        _shorten(c.weights, before[1])
        c.walk.variables.go_back(variables)
        has_reason = isinstance(error, UnsupportedError | ScaleError)
        problem = error.diagnostics[0].message
        reason = problem if has_reason else f"{_form(c)}: {problem}"
        if not has_reason and not isinstance(error, ShapeError):
            reason = "the sizes of what it reads are not known before the model runs"
        results = _named(c, opaque(c, reason), names, start)
    c.values.update({i: v for i, v in zip(operator.outputs, results, strict=False) if v is not None})


def _shorten(table: dict[Any, Any], length: int) -> None:
    """Take back what was added to a dictionary, of which no row is ever replaced."""
    while len(table) > length:
        table.popitem()


def _converted(c: Context, converter: Converter, names: Mapping[int, str], start: int) -> list[Value]:
    """The results of an operator, as operations that netc can run and of the types that the file declares."""
    check_element_types(c)
    try:
        results = results_of(converter(c))
        check_forms(c.builder.operations[start:])
    except (ArithmeticError, IndexError, TypeError, ValueError) as error:
        # Shape rules and NumPy stumble over numbers that no real operator has.
        c.fail(f"its operands and options don't fit: {error}")
    if len(results) != len(c.operator.outputs):
        c.fail(f"it has {len(c.operator.outputs)} outputs, not {len(results)}")
    return _named(c, [_declared(c, value, place) for place, value in enumerate(results)], names, start)


def _stated(c: Context, converter: Converter) -> Sequence[Value | None]:
    """The results of an operator on variables or subgraphs; none for what refers to a variable."""
    converted = converter(c)
    results = converted if isinstance(converted, tuple) else (converted,)
    if results and len(results) != len(c.operator.outputs):
        c.fail(f"it gives {len(results)} results, not {len(c.operator.outputs)}")
    return [value and _declared(c, value, place) for place, value in enumerate(results)]


def _form(c: Context) -> str:
    """Why an operator with a shape rule that refuses its operands stays opaque, in terms of the file."""
    types = [stand_in(c.tensor(i)).with_quantization(None) for i in range(c.count) if c.has(i)]
    return f"its form for {', '.join(map(str, types)) or 'no inputs'} is not supported"


def _named(c: Context, results: Sequence[Value], names: Mapping[int, str], start: int) -> list[Value]:
    """Results under the names of their tensors, if this operator made them; a value of an earlier one keeps its own.

    So does a value that another operation of this operator reads.
    """
    operations = c.builder.operations
    named = {v: names[i] for v, i in zip(results, c.operator.outputs, strict=False) if i in names}
    read = {v for op in operations[start:] for v in op.operands}
    new: dict[Value, Value] = {}
    for place, op in enumerate(operations[start:], start):
        if op.name == "param":  # a state has the name of its variable
            continue
        renamed = {v: Value(v.type, named[v]) for v in op.results if v in named and v not in read}
        if renamed:
            operations[place] = replace(op, results=tuple(renamed.get(v, v) for v in op.results))
            new.update(renamed)
    c.walk.variables.rename(new)
    return [new.get(v, v) for v in results]


def _declared(c: Context, value: Value, place: int) -> Value:
    """A result as the file declares it: of that type, and standing for the same numbers."""
    declared = c.output_type(place)
    shape = value.type.shape[:-1] if c.output(place).is_complex else value.type.shape
    if not c.output(place).states(shape):
        c.fail(f"it gives {value.type}, but output {place} is declared as {declared}")
    if value.type.dtype is not declared.dtype:
        c.unsupported(f"a form that gives {declared.dtype} is not supported")
    stated = value.type.quantization
    if declared.quantization is not None and stated != declared.quantization and declared.quantization.is_per_tensor:
        value = c.emit("reinterpret", value, y=declared.quantization)
    c.settle(place, value.type.shape)
    return value


def _signature(model: Model, signature: Signature) -> Mapping[str, object]:
    """A signature: its key, and its names for the graph's inputs and outputs, in order."""
    inputs = {index: name for name, index in signature.inputs.items()}
    outputs = {index: name for name, index in signature.outputs.items()}
    return {
        "key": signature.key,
        "inputs": tuple(inputs.get(i, "") for i in model.inputs),
        "outputs": tuple(outputs.get(i, "") for i in model.outputs),
    }
