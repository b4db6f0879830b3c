"""`netc import`: a network of any format as a readable .net file, and its weights beside it."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import click

from ..classes import class_labels
from ..compiler.errors import NetcError, Note
from ..compiler.files import replacing, write_bytes
from ..compiler.graph.ir import Graph
from ..frontend import format_of, models_folder
from ..frontend.writing import Written, written
from ..loading import load
from ..options import NetworkOptions, network_options, preprocess_option
from ..output import check_results, echo, quantity
from ..runtime.data.registry import class_names
from ..runtime.weights import read_weights, write_weights

FEW = 20
"""Most classes that are named in the text itself."""


@click.command("import")
@network_options
@click.option("--weights", metavar="FILE", help="Weights (safetensors) of a network whose file holds none.")
@preprocess_option
@click.option("-o", "--output", required=True, metavar="FILE", help="The .net file; weights go beside it.")
def import_command(
    network: NetworkOptions,
    weights: str | None,
    preprocess: dict[str, object],
    output: str,
) -> None:
    """Write a network as a .net file that can be read and edited.

    MODEL is an .onnx or .tflite file, a graph in text form, or a net. Repeated structure becomes blocks and loops. The
    weights that MODEL holds, or --weights, become FILE.safetensors beside FILE.net, under the names of the text. What
    MODEL says about pictures and classes stands in the text, too; a long list of classes becomes FILE.labels.txt.
    The text leaves the batch open where it can, unless --batch says another than 1.
    """
    model, path = network.model, Path(output)
    if path.suffix != ".net":
        name = path.with_suffix(".net") if path.name.strip(".") else path / "imported.net"
        raise NetcError(f"-o {output or '.'}: the file is a .net file", hint=f"call it {name}")
    beside = path.with_suffix(".safetensors")
    check_results((output, str(beside)), (model, weights))
    if weights and format_of(model).has_weights:
        raise NetcError(f"--weights: {model} holds its weights")
    graph = load(model, **network.reading, preprocess=preprocess)
    graph, labels = _with_labels(graph, model, path.with_suffix(".labels.txt"))
    two = _for_two(network, graph) if network.batch == 1 else None
    result = written(graph, path.stem, two, beside.name)
    arrays = result.arrays(read_weights(weights, graph) if weights else None)
    has_weights = bool(arrays) and len(arrays) == len(result.graph.parameters)
    if arrays and not has_weights:
        lacking = next(name for name in result.sources if name not in arrays)
        raise NetcError(
            f"{model} holds some weights, but not `{lacking}`", hint="give all others with --weights FILE.safetensors"
        )
    with replacing(path) as part:  # all files, or none
        part.write_bytes(result.text.encode())
        if labels is not None:
            write_bytes(path.with_suffix(".labels.txt"), "".join(f"{name}\n" for name in labels).encode())
        if has_weights:
            write_weights(beside, result.graph, arrays, beside_them=result.scales)
    echo(_summary(result, output, str(beside) if has_weights else None))


def _with_labels(graph: Graph, model: str, path: Path) -> tuple[Graph, tuple[str, ...] | None]:
    """The graph with class names as a text can have them, and those that belong into the file `path`."""
    settings = graph.attributes.get("preprocess") or {}
    declared = settings.get("labels")
    if declared is None or (isinstance(declared, str) and _is_known(declared)):
        return graph, None
    names = class_labels(graph, model).names
    rest = {key: value for key, value in settings.items() if key != "labels"}
    is_short = names is not None and (len(names) <= FEW or any(name != name.strip() or "\n" in name for name in names))
    if names is not None:
        rest["labels"] = names if is_short else path.name
    attributes = MappingProxyType({**graph.attributes, "preprocess": rest})
    return replace(graph, attributes=attributes), None if is_short else names


def _is_known(labels: str) -> bool:
    """Whether labels are those of a shipped file or of a data set, which every text can name."""
    return os.path.isfile(models_folder() / labels) or class_names(labels) is not None


def _for_two(network: NetworkOptions, graph: Graph) -> Graph | None:
    """The network for two samples, if its file leaves the batch open."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Note)  # reading the file for one sample has said all of it
            two = load(network.model, **{**network.reading, "batch": 2})
    except NetcError:
        return None
    return two if [v.type for v in two.inputs] != [v.type for v in graph.inputs] else None


def _summary(result: Written, output: str, weights: str | None) -> str:
    graph = result.graph
    lines = [
        f"{output}: {result.text.count(chr(10))} lines, {result.blocks} blocks, which give all "
        f"{len(graph.operations) - len(graph.parameters)} operations of the graph again"
    ]
    if weights is not None:
        size = quantity(sum(op.result.type.bytes for op in graph.parameters), "B")
        lines.append(f"{weights}: {len(graph.parameters)} tensors, {size}")
    return "\n".join(lines)
