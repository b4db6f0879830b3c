"""`netc eval`: how a net does on a data set, and of an integer model beside the float network it came from."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
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
from ..loading import load
from ..losses import find_loss
from ..options import (
    NetworkOptions,
    background_option,
    data_dir_option,
    json_option,
    network_options,
    precision_option,
    preprocess_option,
    target_options,
)
from ..pipeline import PROGRAM, Request, build, load_program
from ..ready import ready, refuse_choices
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
@data_dir_option
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
def eval_command(**options: Any) -> None:
    """Measure how well a net does on a data set.

    MODEL is a shipped model's name or the path of a .net, .tflite, .onnx, .ir or .netc file. With --compare, --net and
    --set are those of the float network. A detector is measured on coco:DIR, by the average precision of its boxes,
    which takes pycocotools (pip install 'netc[coco]').
    """
    o, world = _Options(**options), this_world()
    with Watch(world):
        evaluated = together(world, lambda: _evaluated(o, o.threads or world.cores))
        if world.size > 1:
            agree(world, {**facts_of(o.cpu, o.files), **o.choices, "data of hash": evaluated.source.digest})
        if world.rank:
            evaluated.assist(world)
        else:
            evaluated.show(world, o.as_json)


@dataclass(frozen=True)
class _Options:
    """What the command line says, in the order of its options."""

    network: NetworkOptions
    weights: str | None
    data: str
    data_dir: str | None
    split: str
    limit: int | None
    compare: str | None
    compare_net: str | None
    loss: str | None
    background: bool | None
    preprocess: dict[str, object]
    threads: int | None
    cpu: str | None
    precision: str
    as_json: bool

    @property
    def files(self) -> dict[str, str | None]:
        """Files whose contents are the same on all ranks."""
        return {
            "model": self.network.model,
            "weights": self.weights,
            "compare": self.compare,
            "compare-net": self.compare_net,
        }

    @property
    def choices(self) -> dict[str, object]:
        """What else decides the result."""
        names = ("preprocess", "precision", "split", "limit", "loss", "background")
        return {**self.network.reading, **{name: getattr(self, name) for name in names}}


def _evaluated(o: _Options, threads: int) -> Evaluated:
    """What is evaluated, all of it open; raises `NetcError` for what doesn't fit."""
    _check_options(o)
    source = open_source(o.data, o.split, o.data_dir).first(o.limit)
    if isinstance(source, ObjectSource):
        _check_objects(source, o)
    if o.compare and not isinstance(source, ObjectSource):
        return _pair(o, o.compare, source)
    return _saved(o, source, threads) if is_saved(o.network.model) else _compiled(o, source, threads)


def _pair(o: _Options, weights: str, source: Source) -> Evaluated:
    """An integer network beside the float network that it was made from, with these weights."""
    if o.precision != F32:
        raise NetcError("--precision is for one network; --compare runs two as they are")
    integers = load(o.network.model, batch=o.network.batch)
    name = o.compare_net or _network(integers)
    floats = float_network(name, weights, batch_of(integers), o.network.net, o.network.settings)
    labels = usable_labels(floats, name, weights, background=bool(o.background))
    show_what_is_guessed(floats, source, labels)
    check_networks(floats, integers, source, labels)
    return PairEvaluation(floats, integers, source, labels)


def _compiled(o: _Options, source: Source | ObjectSource, threads: int) -> Evaluated:
    """A network that is compiled first."""
    given: dict[str, Any] = {"weights": o.weights, "preprocess": o.preprocess, "precision": o.precision}
    request = Request(o.network.model, **o.network.reading, threads=threads, cpu=o.cpu, **given)
    graph = build(request, until="graph").graph
    refuse_state(graph, "a data set's samples are independent of each other")
    if graph.weights and not o.weights:
        raise _weights_lack()
    labels = usable_labels(graph, o.network.model, o.weights, background=bool(o.background))
    if isinstance(source, ObjectSource):
        return DetectorEvaluation.of(request, graph, source, labels)
    known = _loss(o, graph)
    show_what_is_guessed(graph, source, labels, known)
    program = load_program(build(replace(request, source=graph), PROGRAM))
    return SingleEvaluation(o.data, graph, program, source, maker_for(graph, source, labels, known))


def _saved(o: _Options, source: Source | ObjectSource, threads: int) -> Evaluated:
    """A saved program, which is complete."""
    asked = o.network
    refuse_choices(asked.model, o.weights, asked.net, asked.settings, o.cpu, o.precision)
    made = ready(asked.model, batch=asked.batch, preprocess=o.preprocess, threads=threads)
    network = made.network
    if network.states:
        raise NetcError(f"net {network.name} keeps a state, but a data set's samples are independent of each other")
    labels = replace(made.labels, background=bool(o.background))
    if isinstance(source, ObjectSource):
        return DetectorEvaluation.of_program(made.program, network, source, labels)
    known = parse_loss(o.loss) if o.loss is not None else None
    show_what_is_guessed(network, source, labels, known)
    return SingleEvaluation(o.data, network, made.program, source, maker_for(network, source, labels, known))


def _check_options(o: _Options) -> None:
    if is_saved(o.network.model):
        if o.compare or o.compare_net:
            raise NetcError(f"--compare is for .tflite files, not for {o.network.model}")
        return
    kind = format_of(o.network.model)
    if o.compare_net and not o.compare:
        raise NetcError("--compare-net needs the float network's weights", hint="add --compare FILE")
    if o.compare and kind is not FORMATS["tflite"]:
        raise NetcError(f"--compare is for .tflite files, not for {o.network.model}", hint="`netc quantize` makes one")
    if not o.weights and kind is FORMATS["net"]:
        raise _weights_lack()


def _check_objects(source: ObjectSource, o: _Options) -> None:
    given = {"--compare": o.compare, "--loss": o.loss, "--background": o.background}
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


def _loss(o: _Options, graph: Graph) -> Loss | None:
    """What the net was trained with: as someone says, or its recipe; None where neither does."""
    if o.loss is not None or format_of(o.network.model) is not FORMATS["net"]:
        return find_loss(o.loss, o.network.model, graph) if o.loss is not None else None
    with suppress(NetcError):  # an unsound recipe doesn't keep a net from being evaluated
        written = load_recipe(o.network.model, net=o.network.net)
        expression = written.settings.get("loss") if written is not None else None
        if expression is not None:
            loss = find_loss(read_setting("loss", expression), o.network.model, graph)
            loss.labels(real_type(graph))
            return loss
    return None
