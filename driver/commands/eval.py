"""`netc eval`: how a net does on a data set, and of an integer model beside the float network it came from."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import click

from ..classes import usable_labels
from ..comparison import check_networks, float_network, maker_for, show_what_is_guessed
from ..compiler.errors import NetcError
from ..compiler.graph.ir import Graph
from ..compiler.graph.state import refuse_state
from ..compiler.precision import F32
from ..compiler.training import Loss, parse_loss
from ..data_help import DataCommand
from ..evaluations import DetectorEvaluation, Evaluated, PairEvaluation, SingleEvaluation, batch_of
from ..frontend import FORMATS, format_of, load_recipe
from ..losses import find_loss
from ..options import (
    background_option,
    json_option,
    network_options,
    precision_option,
    preprocess_option,
    target_options,
)
from ..pipeline import PROGRAM, Request, build, load, load_program
from ..ready import Ready, ready, refuse_choices
from ..recipe import read_setting
from ..runtime.data.objects import ObjectSource
from ..runtime.data.registry import open_source
from ..runtime.data.source import Source
from ..runtime.data.targets import real_type
from ..runtime.evaluation.objects import require_coco_tools
from ..runtime.parallel.watch import Watch
from ..runtime.parallel.world import this_world
from ..runtime.saved import is_saved
from ..together import agree, facts_of, together


@click.command("eval", cls=DataCommand)
@network_options
@click.option("--weights", metavar="FILE", help="Weights (safetensors), in place of those that a file holds.")
@click.option("--data", required=True, metavar="NAME", help="What to evaluate on: see below.")
@click.option("--data-dir", metavar="FOLDER", help="Where data sets lie; default: NETC_DATA, else ../shared/data.")
@click.option("--split", default="test", show_default=True, help="test or train.")
@click.option("--limit", type=click.IntRange(1), help="Only so many samples.")
@click.option("--compare", metavar="FILE", help="Weights of the float network: compare a .tflite file with it.")
@click.option("--compare-net", metavar="MODEL", help="The float network; default: the one that the file names.")
@click.option("--loss", metavar="TEXT", help="What targets the net takes: a loss, as for train; default: its recipe's.")
@background_option
@preprocess_option
@target_options
@precision_option
@json_option
def eval_command(
    model: str,
    net: str | None,
    settings: dict[str, object],
    weights: str | None,
    data: str,
    data_dir: str | None,
    split: str,
    limit: int | None,
    compare: str | None,
    compare_net: str | None,
    loss: str | None,
    background: bool | None,
    batch: int,
    preprocess: dict[str, object],
    threads: int | None,
    cpu: str | None,
    precision: str,
    as_json: bool,
) -> None:
    """Measure how well a net does on a data set.

    MODEL is a shipped model's name or the path of a .net, .tflite, .onnx, .ir or .netc file. With --compare, --net and
    --set are those of the float network. A detector is measured on coco:DIR, by the average precision of its boxes,
    which takes pycocotools (pip install 'netc[coco]').
    """
    world = this_world()
    threads = threads or world.cores

    def prepare() -> Evaluated:
        _check_options(model, weights, compare, compare_net)
        source = open_source(data, split, data_dir).first(limit)
        if isinstance(source, ObjectSource):
            _check_objects(source, compare, loss, background)
        if compare:
            if precision != F32:
                raise NetcError("--precision is for one network; --compare runs two as they are")
            integers = load(model, batch=batch)
            name = compare_net or _network(integers)
            floats = float_network(name, compare, batch_of(integers), net, settings)
            labels = usable_labels(floats, name, compare, background=bool(background))
            show_what_is_guessed(floats, source, labels)
            check_networks(floats, integers, source, labels)
            return PairEvaluation(floats, integers, source, labels)
        if is_saved(model):
            refuse_choices(model, weights, net, settings, cpu, precision)
            made = ready(model, batch=batch, preprocess=preprocess, threads=threads)
            return _saved(made, data, source, loss, bool(background))
        given: dict[str, Any] = {"weights": weights, "preprocess": preprocess, "precision": precision}
        request = Request(model, net, batch, settings, threads, cpu, **given)
        graph = build(request, until="graph").graph
        refuse_state(graph, "a data set's samples are independent of each other")
        if graph.weights and not weights:
            raise _weights_lack()
        labels = usable_labels(graph, model, weights, background=bool(background))
        if isinstance(source, ObjectSource):
            return DetectorEvaluation.of(request, graph, source, labels)
        known = _loss(loss, model, net, graph)
        show_what_is_guessed(graph, source, labels, known)
        program = load_program(build(replace(request, source=graph), PROGRAM))
        return SingleEvaluation(data, graph, program, source, maker_for(graph, source, labels, known))

    choices = {"net": net, "settings": settings, "preprocess": preprocess, "batch": batch, "precision": precision}
    choices |= {"split": split, "limit": limit, "loss": loss, "background": background}
    with Watch(world):
        evaluated = together(world, prepare)
        if world.size > 1:
            files = {"model": model, "weights": weights, "compare": compare, "compare-net": compare_net}
            agree(world, {**facts_of(cpu, files), **choices, "data of hash": evaluated.source.digest})
        if world.rank:
            evaluated.assist(world)
        else:
            evaluated.show(world, as_json)


def _saved(made: Ready, data: str, source: Source | ObjectSource, loss: str | None, background: bool) -> Evaluated:
    """A saved program, which is complete."""
    network = made.network
    if network.states:
        raise NetcError(f"net {network.name} keeps a state, but a data set's samples are independent of each other")
    labels = replace(made.labels, background=background)
    if isinstance(source, ObjectSource):
        return DetectorEvaluation.of_program(made.program, network, source, labels)
    known = parse_loss(loss) if loss is not None else None
    show_what_is_guessed(network, source, labels, known)
    return SingleEvaluation(data, network, made.program, source, maker_for(network, source, labels, known))


def _check_options(model: str, weights: str | None, compare: str | None, compare_net: str | None) -> None:
    if is_saved(model):
        if compare or compare_net:
            raise NetcError(f"--compare is for .tflite files, not for {model}")
        return
    kind = format_of(model)
    if compare_net and not compare:
        raise NetcError("--compare-net needs the float network's weights", hint="add --compare FILE")
    if compare and kind is not FORMATS["tflite"]:
        raise NetcError(f"--compare is for .tflite files, not for {model}", hint="`netc quantize` makes one")
    if not weights and kind is FORMATS["net"]:
        raise _weights_lack()


def _check_objects(source: ObjectSource, compare: str | None, loss: str | None, background: bool | None) -> None:
    given = {"--compare": compare, "--loss": loss, "--background": background}
    if wrong := next((option for option, value in given.items() if value), None):
        raise NetcError(f"{wrong} is for classes and values, but {source.name} has boxes of objects")
    require_coco_tools()


def _weights_lack() -> NetcError:
    return NetcError("a net is evaluated with its weights", hint="add --weights FILE")


def _network(graph: Graph) -> str:
    """The name of the float network in the metadata of a TFLite file."""
    name: str | None = graph.attributes.get("network")
    if name is None:
        raise NetcError(f"{graph.name} doesn't say which net it was made from", hint="--compare-net says so")
    return name


def _loss(text: str | None, model: str, net: str | None, graph: Graph) -> Loss | None:
    """What the net was trained with: as someone says, or its recipe; None where neither does."""
    if text is None and format_of(model) is FORMATS["net"]:
        with suppress(NetcError):  # an unsound recipe doesn't keep a net from being evaluated
            written = load_recipe(model, net=net)
            expression = written.settings.get("loss") if written is not None else None
            loss = find_loss(read_setting("loss", expression), model, graph) if expression is not None else None
            if loss is not None:
                loss.labels(real_type(graph))
            return loss
    return find_loss(text, model, graph) if text is not None else None
