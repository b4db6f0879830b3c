"""From an ONNX file to a graph.

Each node becomes one or a few operations, by the rule that is registered for its operator's version; where there is
none, by the function that ONNX defines it as. What depends on nothing but numbers of the file and on shapes is
computed at once. A file that can't be read gives all its problems together.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Container, Mapping, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any

from ...compiler.errors import Diagnostic, Location, NetcError, Note
from ...compiler.graph.builder import GraphBuilder
from ...compiler.graph.ir import Graph
from ...compiler.reading import read_bytes, reading
from .checks import check_text
from .converter import Converter
from .layout import arranged
from .library import library
from .metadata import preprocess_of
from .scope import Scope
from .sizes import Sizes, sizes_of
from .tensors import FOREIGN, dtype_of, element_name
from .values import Tensor
from .wire import Place, without_large_tensors

MAX_FILE = 1 << 31
MAX_PROBLEMS = 100


class UnknownInputsError(NetcError):
    """A file that can be read once some of its inputs have values; `inputs` are their names."""

    def __init__(self, problems: Sequence[Diagnostic], inputs: frozenset[str]) -> None:
        super().__init__(problems)
        self.inputs = inputs

    def at(self, location: Location | None) -> UnknownInputsError:
        """The same error, whose findings without a place stand at this one."""
        return UnknownInputsError(super().at(location).diagnostics, self.inputs)


def load_onnx(
    path: str | os.PathLike[str],
    batch: int = 1,
    settings: Mapping[str, Any] | None = None,
    *,
    to_train: bool = False,
) -> Graph:
    """Read a `.onnx` file; `settings` are open sizes, and values of inputs that are to be part of the graph, by name.

    Open sizes that count samples are `batch`, which is an attribute of the graph then. `to_train` says that the network
    will be trained: batch normalisation and dropout that the file has in their forms for training become `batch_norm`
    and `dropout`. Raises `NetcError` with all that is wrong with the file, or that netc doesn't have. Warns (`Note`) of
    sizes that were taken for the batch.
    """
    file = Path(path)
    notes: list[str] = []
    try:
        model, places = _read(file)
        graph = graph_of(
            model,
            file.stem,
            file.parent,
            batch=batch,
            settings=settings,
            notes=notes,
            to_train=to_train,
            places=places,
        )
    except NetcError as error:
        raise error.at(Location(str(path), 1, 1)) from None
    for note in notes:
        warnings.warn(f"{path}: {note}", Note, stacklevel=2)
    return graph


def read_model(path: str | os.PathLike[str]) -> Any:
    """The ModelProto of a file, without the data that lies beside it. Raises `NetcError` if it isn't one."""
    return _decoded(path, read_bytes(path, "ONNX model", limit=MAX_FILE))


def _read(path: Path) -> tuple[Any, Mapping[int, Place]]:
    """The ModelProto of a file, and where the bytes of its large initializers stayed in the file."""
    found = without_large_tensors(path, MAX_FILE)
    if found is None:
        return read_model(path), {}
    data, places = found
    return _decoded(path, data), places


def _decoded(path: str | os.PathLike[str], data: bytes) -> Any:
    onnx = library()
    with reading(path, "ONNX model"):
        model = onnx.ModelProto.FromString(data)
    check_text(model)
    return model


def graph_of(
    model: Any,
    name: str,
    folder: Path | None = None,
    *,
    batch: int = 1,
    settings: Mapping[str, Any] | None = None,
    watch: bool = False,
    notes: list[str] | None = None,
    to_train: bool = False,
    places: Mapping[int, Place] | None = None,
    checked: bool = False,
) -> Graph:
    """The graph of a ModelProto, whose large tensors lie in `folder`; see `load_onnx`.

    With `watch` the outputs are the results of all nodes that aren't known while the file is read. What was guessed is
    added to `notes`. `places` are those of initializers that were left in the file. `checked` types that the file
    declares for results of nodes must be theirs.
    """
    opsets = _opsets(model)
    _check_domains(model)
    sizes = sizes_of(model, batch, settings, to_train=to_train)
    builder = GraphBuilder(name, {"format": "onnx"})
    converter = Converter(builder, folder, _functions(model), to_train=to_train, producer=model.producer_name)
    scope = Scope(opsets=opsets)
    _inputs(converter, scope, sizes, model.graph)
    outputs = converter.convert(model.graph, scope, places)
    if not converter.problems:
        _check_outputs(model.graph, converter, outputs, notes if notes is not None else [])
        if checked:
            _check_results(model.graph, converter, scope)
    _raise(converter)
    found = _results(builder, scope) if watch else _named_outputs(model.graph, outputs)
    said = preprocess_of(model, notes if notes is not None else [])
    if said:
        builder.attributes["preprocess"] = said
    if sizes.samples:
        builder.attributes["batch"] = next(iter(sizes.samples.values()))
    if notes is not None and sizes.assumed:
        told = ", ".join(f"{name} = {sizes.bound[name]}" for name in sorted(sizes.assumed))
        notes.append(f"the file leaves the batch open: {told}")
    return _finished(builder, converter, found)


def _free(name: str, *taken: Container[str]) -> str:
    """A name that is not taken: a file may give one tensor several times."""
    names = chain((name,), (f"{name}.{i}" for i in count(1)))
    return next(n for n in names if not any(n in each for each in taken))


def _opsets(model: Any) -> dict[str, int]:
    """The version of each operator set that the file uses, by domain."""
    if not model.HasField("graph"):
        raise NetcError("the file holds no graph")
    opsets = {"" if e.domain == "ai.onnx" else e.domain: int(e.version) for e in model.opset_import}
    if not opsets and model.ir_version < 3:
        opsets = {"": 1}
    newest, version = library().defs.onnx_opset_version(), opsets.get("", 1)
    if not 1 <= version <= newest:
        hint = None if version < 1 else "install a newer onnx package"
        raise NetcError(f"operator set {version} is not supported, only 1 to {newest}", hint=hint)
    return opsets


def _check_domains(model: Any) -> None:
    """Refuse at once what ONNX Runtime wrote for one kind of processor: the file doesn't say in which blocks."""
    for node in model.graph.node:
        if node.domain == "com.microsoft.nchwc":
            title = f" `{node.name}`" if node.name else ""
            raise NetcError(
                f"the node{title} ({node.op_type}) has its numbers in blocks for one kind of processor",
                hint="take the file before ONNX Runtime's optimizer, or have that stop at ORT_ENABLE_EXTENDED",
            )


def _functions(model: Any) -> dict[tuple[str, str, str], Any]:
    return {("" if f.domain == "ai.onnx" else f.domain, f.name, f.overload): f for f in model.functions}


def _inputs(converter: Converter, scope: Scope, sizes: Sizes, graph: Any) -> None:
    """Declare the inputs of the main graph. Raises `NetcError` with all that is wrong with them."""
    given = {tensor.name for tensor in graph.initializer}
    for info in graph.input:
        if info.name in scope.names:
            converter.report(f"the input `{info.name}` stands twice")
        elif info.name not in given:
            _input(converter, scope, sizes, info)
    converter.problems.extend(sizes.problems())
    _raise(converter)


def _input(converter: Converter, scope: Scope, sizes: Sizes, info: Any) -> None:
    """Declare an input of the graph, or a constant where its value is given."""
    try:
        if info.type.WhichOneof("value") in ("sequence_type", "optional_type"):
            scope.names[info.name] = sizes.parts(info)
            return
        array = sizes.fixed(info)
        if array is not None:
            scope.names[info.name] = Tensor(info.name, array=array)
            return
        type_ = sizes.type_of(info)
    except NetcError as error:
        # Numbers that are known may have types that netc lacks, and sequences and optional tensors are always known.
        if info.type.WhichOneof("value") != "tensor_type" or element_name(info.type.tensor_type.elem_type) in FOREIGN:
            converter.needed.add(info.name)
        converter.problems.extend(error.diagnostics)
        scope.names[info.name] = None
        return
    value = converter.builder.input(info.name, type_)
    converter.constants.names.add(info.name)
    scope.names[info.name] = Tensor(info.name, value=value, sources=frozenset({info.name}))


def _named_outputs(graph: Any, outputs: Sequence[Tensor | None]) -> dict[str, Tensor]:
    """Outputs by name; of a sequence the tensors one by one, as a program gives them."""
    found: dict[str, Tensor] = {}
    declared = {info.name for info in (*graph.input, *graph.output)}
    for info, tensor in zip(graph.output, outputs, strict=True):
        if tensor is not None and tensor.items is not None:
            found.update({_free(f"{info.name}.{i}", found, declared): item for i, item in enumerate(tensor.items)})
        elif tensor is not None:
            found[_free(info.name, found, declared - {info.name})] = tensor
    return found


def _results(builder: GraphBuilder, scope: Scope) -> dict[str, Tensor]:
    """The results of all nodes that are values of the graph."""
    values = {n: t for n, t in scope.names.items() if t is not None and t.value is not None}
    return {n: t for n, t in values.items() if t.value not in builder.inputs}


def _check_outputs(graph: Any, converter: Converter, outputs: Sequence[Tensor | None], notes: list[str]) -> None:
    """Report outputs of another element type than the file declares, and note those of another rank.

    Exporters of Paddle declare scalars; what nodes give is what counts.
    """
    for info, tensor in zip(graph.output, outputs, strict=True):
        declared = info.type.tensor_type
        if tensor is not None and tensor.is_missing:
            converter.report(f"output `{info.name}` is an optional tensor that isn't there, which a program can't give")
            continue
        if tensor is not None and tensor.items is not None:
            if any(item.foreign is not None for item in tensor.items):
                converter.report(f"output `{info.name}` has elements of type {tensor.items[0].foreign}")
            continue
        if tensor is None or info.type.WhichOneof("value") != "tensor_type" or not declared.elem_type:
            continue
        if dtype_of(declared.elem_type) is not tensor.type.dtype:
            converter.report(f"output `{info.name}` is {tensor.type}, not of the type that the file declares")
        elif declared.HasField("shape") and len(declared.shape.dim) != tensor.type.rank:
            rank = len(declared.shape.dim)
            notes.append(f"output `{info.name}` is {tensor.type}, though the file declares {rank} dimensions")


def _check_results(graph: Any, converter: Converter, scope: Scope) -> None:
    """Report results of nodes of another type than the file declares."""
    for info in (*graph.value_info, *graph.output):
        tensor, declared = scope.names.get(info.name), info.type.tensor_type
        is_unknown = not declared.HasField("shape") or element_name(declared.elem_type) in FOREIGN
        if is_unknown or tensor is None or (tensor.value is None and (tensor.array is None or tensor.foreign)):
            continue
        sizes = [d.dim_value if d.HasField("dim_value") else None for d in declared.shape.dim]
        known = [n for n, wanted in zip(tensor.type.shape, sizes, strict=False) if wanted is not None]
        fits = len(sizes) == tensor.type.rank and known == [n for n in sizes if n is not None]
        if not fits or dtype_of(declared.elem_type) is not tensor.type.dtype:
            converter.report(f"`{info.name}` is {tensor.type}, not of the type that the file declares")


def _raise(converter: Converter) -> None:
    """Raise all problems, if there are any."""
    problems = converter.problems
    if not problems:
        return
    shown = list(problems[:MAX_PROBLEMS])
    if len(problems) > len(shown):
        shown.append(Diagnostic(f"{len(problems) - len(shown)} more problems"))
    if converter.needed:
        raise UnknownInputsError(shown, frozenset(converter.needed))
    raise NetcError(shown)


def _finished(builder: GraphBuilder, converter: Converter, outputs: Mapping[str, Tensor]) -> Graph:
    values = [t.value if t.value is not None else converter.constant(t) for t in outputs.values()]
    inputs = tuple(v.name or "" for v in builder.inputs)
    builder.attributes["signature"] = {
        "key": "",
        "inputs": inputs,
        "outputs": tuple(outputs),
    }
    return arranged(builder.finish(values))
