"""`netc show`: the layers of a net with shapes, parameters and multiply-accumulates."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import repeat

import click

from ..compiler.graph.ir import Graph, Value
from ..compiler.signature import output_names
from ..compiler.ops.opaque import unknown_operators
from ..notes import transposes_note
from ..options import batch_option, json_option, network_options
from ..output import echo, format_table, quantity
from ..pipeline import load
from ..summary import LayerSummary, layers, parameter_bytes, total_macs, trainable_parameters


@click.command("show")
@network_options
@batch_option
@json_option
def show_command(model: str, net: str | None, settings: dict[str, object], batch: int, as_json: bool) -> None:
    """List a net's layers: shapes, parameters, multiply-accumulates.

    MODEL is a shipped model's name or the path of a .net file.
    """
    graph = load(model, net=net, batch=batch, settings=settings)
    echo(json.dumps(_as_json(graph), indent=1) if as_json else _as_text(graph), nl=as_json)


def _as_json(graph: Graph) -> dict[str, object]:
    unknown = [d.message for d in unknown_operators(graph)]
    return {
        "net": graph.name,
        "inputs": [{"name": v.name, "dtype": str(v.type.dtype), "shape": v.type.shape} for v in graph.inputs],
        "outputs": [
            {**({"name": name} if name else {}), "dtype": str(v.type.dtype), "shape": v.type.shape}
            for name, v in _outputs(graph)
        ],
        **({"state": _states(graph)} if graph.states else {}),
        "layers": [_record(layer) for layer in layers(graph)],
        "parameters": trainable_parameters(graph),
        "parameter_bytes": parameter_bytes(graph),
        "macs": total_macs(graph),
        **({"not_run": unknown} if unknown else {}),
    }


def _states(graph: Graph) -> list[dict[str, object]]:
    """What a network keeps from run to run."""
    values = (op.result for op in graph.states)
    return [{"name": v.name, "dtype": str(v.type.dtype), "shape": v.type.shape} for v in values]


def _outputs(graph: Graph) -> list[tuple[str | None, Value]]:
    """The outputs with their names, if the graph names them."""
    return list(zip(output_names(graph) or repeat(None), graph.results, strict=False))


def _record(layer: LayerSummary) -> dict[str, object]:
    """A layer for tools; only what doesn't run says so."""
    record: dict[str, object] = asdict(layer)
    if layer.runs:
        del record["runs"]
    return record


def _as_text(graph: Graph) -> str:
    lacking = graph.attributes.get("element_types", {})
    inputs = ", ".join(f"{v.name}: {lacking.get(v.name, v.type)}" for v in graph.inputs)
    outputs = ", ".join(f"{name}: {v.type}" if name else str(v.type) for name, v in _outputs(graph))
    parameters, macs = trainable_parameters(graph), total_macs(graph)
    table = format_table(
        ("layer", "operator", "shape", "parameters", "MACs"),
        [_row(layer) for layer in layers(graph)],
        ("total", "", "", f"{parameters:,}", f"{macs:,}"),
    )
    size = quantity(parameter_bytes(graph), "B")
    totals = f"{size} of parameters, {quantity(2 * macs, 'FLOP')}"
    notes = [d.message for d in unknown_operators(graph)]
    if (note := transposes_note(graph)) is not None:
        notes.append(note)
    unknown = "".join(f"note: {each}\n" for each in notes)
    states = ", ".join(f"{op.result.name}: {op.result.type}" for op in graph.states)
    kept = f"\nstate kept from run to run: {states}" if states else ""
    return f"net {graph.name}({inputs}) -> {outputs}{kept}\n\n{table}\n{totals}\n{unknown}"


def _row(layer: LayerSummary) -> tuple[str, ...]:
    shape = " x ".join(map(str, layer.shape))
    operator = layer.operator if layer.runs else f"{layer.operator} (opaque)"
    return layer.name, operator, shape, _count(layer.parameters), _count(layer.macs)


def _count(value: int) -> str:
    return f"{value:,}" if value else ""
