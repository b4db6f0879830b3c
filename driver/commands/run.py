"""`netc run`: a net's answer about one picture."""

from __future__ import annotations

import json
from dataclasses import asdict

import click
import numpy as np

from ..compiler.errors import NetcError
from ..compiler.graph.ir import Array, Graph
from ..options import json_option, network_options, target_options, weights_options
from ..picture import Class, best_classes, class_labels, gives_probabilities, load_picture, real_scores
from ..pipeline import Request, build, load_program


@click.command("run")
@network_options
@weights_options
@click.option("--image", metavar="FILE", help="The picture; default: a sample that ships with netc.")
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="How many classes to print.")
@target_options
@json_option
def run_command(
    model: str,
    net: str | None,
    settings: dict[str, object],
    weights: str | None,
    seed: int,
    image: str | None,
    top: int,
    threads: int | None,
    cpu: str | None,
    as_json: bool,
) -> None:
    """Run a net on a picture and print its most probable classes.

    MODEL is a shipped model's name or the path of a .net file.
    """
    compilation = build(Request(model, net, 1, settings, threads, cpu))
    graph = compilation.graph
    tensor, note = load_picture(graph, image)
    labels = class_labels(graph, model)
    program = load_program(compilation, weights, seed)
    notes = [note, labels.note]
    if weights is None and graph.parameters:
        notes.append(f"no --weights given: He initialisation with seed {seed}, so the answer means nothing")
    for text in filter(None, notes):
        click.echo(f"note: {text}", err=True)
    scores = program(tensor)
    best = best_classes(_scores(graph, scores), labels, top, probable=gives_probabilities(graph))
    click.echo(json.dumps([asdict(c) for c in best], indent=1) if as_json else _as_text(best), nl=as_json)


def _scores(graph: Graph, output: Array | tuple[Array, ...]) -> Array:
    if isinstance(output, tuple) or output.ndim != 2:
        gives = ", ".join(str(v.type) for v in graph.outputs)
        raise NetcError(f"net {graph.name} gives {gives}, not scores of classes", hint="call it from Python instead")
    output = real_scores(graph, output)
    if not np.isfinite(output).all():
        raise NetcError(f"net {graph.name} gives infinities or NaNs", hint="are these the net's weights?")
    scores: Array = output[0]
    return scores


def _as_text(best: list[Class]) -> str:
    return "".join(f"{c.probability:8.2%}  {c.name}\n" for c in best)
