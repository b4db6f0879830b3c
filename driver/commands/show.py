"""`netc show`: the layers of a net with shapes, parameters and multiply-accumulates."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import repeat

import click

from ..compiler.graph.ir import Graph
from ..compiler.ops.opaque import unknown_operators
from ..compiler.reading import reading
from ..compiler.signature import Network, Tensor, output_names
from ..loading import load
from ..notes import transposes_note
from ..options import NetworkOptions, json_option, network_options
from ..output import echo, format_table, quantity
from ..ready import refuse_choices, saved_for
from ..runtime.saved import SavedFile, is_saved
from ..summary import LayerSummary, layers, parameter_bytes, total_macs, trainable_parameters


@click.command("show")
@network_options
@json_option
def show_command(network: NetworkOptions, as_json: bool) -> None:
    """List a net's layers: shapes, parameters, multiply-accumulates.

    MODEL is a shipped model's name or the path of a .net, .tflite, .onnx or .netc file.
    """
    if is_saved(network.model):
        refuse_choices(network.model, None, network.net, network.settings)
        shown = _of_file(saved_for(network.model, network.batch))
    else:
        shown = _of_graph(load(network.model, **network.reading))
    echo(json.dumps(_as_json(shown), indent=1) if as_json else _as_text(shown), nl=as_json)


@dataclass(frozen=True)
class _Shown:
    """What is shown of a network."""

    network: Network
    states: Sequence[Tensor]
    layers: Sequence[LayerSummary]
    parameters: int
    parameter_bytes: int
    macs: int
    unknown: Sequence[str] = ()
    """Why operators don't run."""
    notes: Sequence[str] = ()
    program: Mapping[str, object] | None = None
    """How it was compiled, where it was."""


def _of_graph(graph: Graph) -> _Shown:
    note = transposes_note(graph)
    return _Shown(
        graph,
        [op.result for op in graph.states],
        layers(graph),
        trainable_parameters(graph),
        parameter_bytes(graph),
        total_macs(graph),
        [d.message for d in unknown_operators(graph)],
        [note] if note is not None else [],
    )


def _of_file(file: SavedFile) -> _Shown:
    with reading(file.path, "saved program"):
        rows = [
            LayerSummary(str(name), str(operator), tuple(map(int, shape)), int(parameters), int(macs), bool(runs))
            for name, operator, shape, parameters, macs, runs in file.facts["layers"]
        ]
        parameters, size = int(file.facts["parameters"]), int(file.facts["parameter_bytes"])
        program = {
            "netc": str(file.facts["netc"]),
            "cpu": file.cpu,
            "triple": file.triple,
            "threads": file.threads,
            "weights_bytes": file.weights.nbytes,
            "arena_bytes": file.plan.arena_bytes,
            "code_bytes": len(file.code),
        }
    notes = [file.note] if file.note is not None else []
    return _Shown(file.signature, file.signature.states, rows, parameters, size, file.macs, (), notes, program)


def _as_json(shown: _Shown) -> dict[str, object]:
    network = shown.network
    return {
        "net": network.name,
        "inputs": [{"name": v.name, "dtype": str(v.type.dtype), "shape": v.type.shape} for v in network.inputs],
        "outputs": [
            {**({"name": name} if name else {}), "dtype": str(v.type.dtype), "shape": v.type.shape}
            for name, v in _outputs(network)
        ],
        **({"state": _states(shown.states)} if shown.states else {}),
        "layers": [_record(layer) for layer in shown.layers],
        "parameters": shown.parameters,
        "parameter_bytes": shown.parameter_bytes,
        "macs": shown.macs,
        **({"not_run": list(shown.unknown)} if shown.unknown else {}),
        **({"program": shown.program} if shown.program else {}),
    }


def _states(values: Sequence[Tensor]) -> list[dict[str, object]]:
    """What a network keeps from run to run."""
    return [{"name": v.name, "dtype": str(v.type.dtype), "shape": v.type.shape} for v in values]


def _outputs(network: Network) -> list[tuple[str | None, Tensor]]:
    """The outputs with their names, if the network names them."""
    return list(zip(output_names(network) or repeat(None), network.results, strict=False))


def _record(layer: LayerSummary) -> dict[str, object]:
    """A layer for tools; only what doesn't run says so."""
    record: dict[str, object] = asdict(layer)
    if layer.runs:
        del record["runs"]
    return record


def _as_text(shown: _Shown) -> str:
    network, parameters, macs = shown.network, shown.parameters, shown.macs
    lacking = network.attributes.get("element_types", {})
    inputs = ", ".join(f"{v.name}: {lacking.get(v.name, v.type)}" for v in network.inputs)
    outputs = ", ".join(f"{name}: {v.type}" if name else str(v.type) for name, v in _outputs(network))
    table = format_table(
        ("layer", "operator", "shape", "parameters", "MACs"),
        [_row(layer) for layer in shown.layers],
        ("total", "", "", f"{parameters:,}", f"{macs:,}"),
    )
    totals = f"{quantity(shown.parameter_bytes, 'B')} of parameters, {quantity(2 * macs, 'FLOP')}"
    notes = "".join(f"note: {each}\n" for each in (*shown.unknown, *shown.notes))
    states = ", ".join(f"{v.name}: {v.type}" for v in shown.states)
    kept = f"\nstate kept from run to run: {states}" if states else ""
    compiled = _compiled(shown.program) if shown.program else ""
    return f"net {network.name}({inputs}) -> {outputs}{kept}\n{compiled}\n{table}\n{totals}\n{notes}"


def _compiled(program: Mapping[str, object]) -> str:
    sizes = ", ".join(f"{program[f'{what}_bytes']:,} bytes of {what}" for what in ("code", "weights", "arena"))
    how = "for {cpu} ({triple}), up to {threads} thread(s), by netc {netc}".format(**program)
    return f"compiled {how}: {sizes}\n"


def _row(layer: LayerSummary) -> tuple[str, ...]:
    shape = " x ".join(map(str, layer.shape))
    operator = layer.operator if layer.runs else f"{layer.operator} (opaque)"
    return layer.name, operator, shape, _count(layer.parameters), _count(layer.macs)


def _count(value: int) -> str:
    return f"{value:,}" if value else ""
