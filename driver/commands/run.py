"""`netc run`: a net's answer about one picture."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict

import click
import numpy as np

from ..compiler.errors import NetcError
from ..compiler.graph.ir import Array, Graph
from ..compiler.text import printable
from ..frontend import FORMATS, format_of
from ..notes import show_notes
from ..options import json_option, network_options, target_options, weights_options
from ..output import echo
from ..picture import Class, best_classes, class_labels, gives_probabilities, load_picture, real_scores
from ..pipeline import PROGRAM, Request, build, load, load_program
from ..runtime.litert import LiteRT, needs_edgetpu

ENGINES = ("netc", "litert", "litert-reference")
DEVICES = ("cpu", "edgetpu")

Run = Callable[[Array], Array | tuple[Array, ...]]


@click.command("run")
@network_options
@weights_options
@click.option("--image", metavar="FILE", help="The picture; default: a sample that ships with netc.")
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="How many classes to print.")
@click.option(
    "--engine", type=click.Choice(ENGINES), default="netc", show_default=True, help="Who runs a .tflite file."
)
@click.option("--device", type=click.Choice(DEVICES), default="cpu", show_default=True, help="edgetpu: through LiteRT.")
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
    engine: str,
    device: str,
    threads: int | None,
    cpu: str | None,
    as_json: bool,
) -> None:
    """Run a net on a picture and print its most probable classes.

    MODEL is a shipped model's name or the path of a .net, .tflite or .ir file.
    """
    run: Run
    if engine == "netc" and device == "cpu":
        compilation = build(Request(model, net, 1, settings, threads, cpu, weights=weights, seed=seed), PROGRAM)
        graph, run = compilation.graph, load_program(compilation)
    else:
        _check_options(model, weights, net, settings, cpu, engine, device)
        graph = load(model)
        run = _litert(model, graph, threads, engine, device)
    tensor, notes = load_picture(graph, image)
    labels = class_labels(graph, model, weights)
    drawn = weights is None and graph.parameters
    means_nothing = f"no --weights given: He initialisation with seed {seed}, so the answer means nothing"
    show_notes(*notes, labels.note, means_nothing if drawn else None)
    best = best_classes(_scores(graph, run(tensor)), labels, top, probable=gives_probabilities(graph))
    echo(json.dumps([asdict(c) for c in best], indent=1) if as_json else _as_text(best), nl=as_json)


def _check_options(
    model: str,
    weights: str | None,
    net: str | None,
    settings: dict[str, object],
    cpu: str | None,
    engine: str,
    device: str,
) -> None:
    """What only netc's own engine has is an error with another one."""
    if format_of(model) is not FORMATS["tflite"]:
        raise NetcError(f"LiteRT runs .tflite files, not {model}", hint="`netc quantize` makes one")
    if weights or net or settings or cpu:
        raise NetcError("--weights, --net, --set and --cpu are for netc's own engine; a .tflite file is complete")
    if (engine, device) == ("litert-reference", "edgetpu"):
        raise NetcError("an Edge TPU has no reference kernels", hint="leave --engine or --device out")


def _litert(model: str, graph: Graph, threads: int | None, engine: str, device: str) -> LiteRT:
    """The file in LiteRT, on the CPU or on an Edge TPU."""
    compiled = needs_edgetpu(graph)
    if device == "edgetpu" and not compiled:
        hint = f"`edgetpu_compiler {model}` writes a file that is"
        raise NetcError(f"{model} is not compiled for the Edge TPU", hint=hint)
    if device == "cpu" and compiled:
        raise NetcError(f"{model} is compiled for the Edge TPU, no CPU can run it", hint="add --device edgetpu")
    return LiteRT(model, threads=threads, reference=engine == "litert-reference", edgetpu=device == "edgetpu")


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
    return "".join(f"{c.probability:8.2%}  {printable(c.name)}\n" for c in best)
