"""`netc import`: a network of any format as a readable .net file, and its weights beside it."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ..compiler.errors import NetcError
from ..compiler.files import replacing
from ..compiler.graph.ir import Graph
from ..frontend import format_of
from ..frontend.writing import Written, written
from ..options import network_options
from ..output import echo, quantity
from ..pipeline import load
from ..runtime.weights import read_weights, write_weights


@click.command("import")
@network_options
@click.option("--weights", metavar="FILE", help="Weights (safetensors) of a network whose file holds none.")
@click.option("-o", "--output", required=True, metavar="FILE", help="The .net file; weights go beside it.")
def import_command(model: str, net: str | None, settings: dict[str, object], weights: str | None, output: str) -> None:
    """Write a network as a .net file that can be read and edited.

    MODEL is an .onnx or .tflite file, a graph in text form, or a net. Repeated structure becomes blocks and loops. The
    weights that MODEL holds, or --weights, become FILE.safetensors beside FILE.net, under the names of the text.
    """
    path = Path(output)
    if path.suffix != ".net":
        raise NetcError(f"-o {output}: the file is a .net file", hint=f"call it {path.with_suffix('.net')}")
    for taken in (model, weights):
        if taken and _is_same(taken, path):
            raise NetcError(f"{output} would replace what it is made from", hint="give -o another name")
    beside = path.with_suffix(".safetensors")
    if weights and format_of(model).has_weights:
        raise NetcError(f"--weights: {model} holds its weights")
    if weights and _is_same(weights, beside):
        raise NetcError(f"{beside} would replace the weights it is made from", hint="give -o another name")
    graph = load(model, net=net, settings=settings)
    result = written(graph, path.stem, _for_two(model, net, settings, graph))
    arrays = result.arrays(read_weights(weights, graph) if weights else None)
    has_weights = bool(arrays) and len(arrays) == len(result.graph.parameters)
    if arrays and not has_weights:
        lacking = next(name for name in result.sources if name not in arrays)
        raise NetcError(
            f"{model} holds some weights, but not `{lacking}`", hint="give all others with --weights FILE.safetensors"
        )
    with replacing(path) as part:  # both files, or neither
        part.write_bytes(result.text.encode())
        if has_weights:
            write_weights(beside, result.graph, arrays)
    echo(_summary(result, output, str(beside) if has_weights else None))


def _for_two(model: str, net: str | None, settings: dict[str, object], graph: Graph) -> Graph | None:
    """The network for two samples, if its file leaves the batch open."""
    try:
        two = load(model, net=net, batch=2, settings=settings)
    except NetcError:
        return None
    return two if [v.type for v in two.inputs] != [v.type for v in graph.inputs] else None


def _is_same(one: str, other: Path) -> bool:
    return os.path.exists(one) and other.exists() and os.path.samefile(one, other)


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
