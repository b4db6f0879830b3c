"""`netc eval`: how a net does on a data set, and of an integer model beside the float network it came from."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

import click
import numpy as np

from ..comparison import (
    Compared,
    assist_comparison,
    check_networks,
    compare_networks,
    float_network,
    maker_for,
    show_what_is_guessed,
)
from ..compiler.errors import NetcError
from ..compiler.graph.ir import Graph
from ..compiler.graph.state import refuse_state
from ..compiler.precision import F32
from ..compiler.quantization import Noise
from ..compiler.quantization.report import noise_data
from ..compiler.signature import Network
from ..compiler.training import Loss, parse_loss
from ..data_help import DataCommand
from ..detection import CategoryMap, Detections, assist_detector, detector_task, evaluate_detector, match_categories
from ..frontend import FORMATS, format_of, load_recipe
from ..losses import find_loss
from ..notes import show_notes
from ..options import (
    background_option,
    batch_option,
    json_option,
    network_options,
    precision_option,
    preprocess_option,
    target_options,
)
from ..output import duration, echo, format_table, progress_bar
from ..picture import usable_labels
from ..pipeline import PROGRAM, Request, build, load, load_program
from ..progress import shown, title
from ..ready import Ready, ready, refuse_choices
from ..recipe import read_setting
from ..runtime.data.classes import Names
from ..runtime.data.labels import Labels
from ..runtime.data.objects import ObjectSource
from ..runtime.data.registry import open_source
from ..runtime.data.source import Source
from ..runtime.data.targets import real_type
from ..runtime.evaluation.accuracy import Evaluation, on_floats
from ..runtime.evaluation.measures import Measured
from ..runtime.evaluation.objects import RESULTS, require_coco_tools
from ..runtime.evaluation.scoring import assist, measure
from ..runtime.parallel.watch import Watch
from ..runtime.parallel.world import World, this_world
from ..runtime.program import Program
from ..runtime.saved import is_saved
from ..runtime.training.batches import ArrayMaker, FileMaker
from ..together import together

SHOWN = 8
"""How many of the worst layers are printed."""

_IN_WORDS = {
    "average_precision": "average precision (AP), IoU 0.50 to 0.95",
    "average_precision_50": "AP50, IoU from 0.50 on",
    "average_precision_75": "AP75, IoU from 0.75 on",
    "average_precision_small": "AP of small objects, below 32 x 32 pixels",
    "average_precision_medium": "AP of medium objects",
    "average_precision_large": "AP of large objects, above 96 x 96 pixels",
    "average_recall_1": "average recall (AR), 1 detection for each category",
    "average_recall_10": "AR, 10 detections for each category",
    "average_recall_100": "AR, 100 detections for each category",
    "average_recall_small": "AR of small objects",
    "average_recall_medium": "AR of medium objects",
    "average_recall_large": "AR of large objects",
}
"""The results for detectors."""


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
@batch_option
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

    def prepare() -> _Evaluated:
        _check_options(model, weights, compare, compare_net)
        source = open_source(data, split, data_dir).first(limit)
        if isinstance(source, ObjectSource):
            _check_objects(source, compare, loss, background)
        if compare:
            if precision != F32:
                raise NetcError("--precision is for one network; --compare runs two as they are")
            integers = load(model)
            name = compare_net or _network(integers)
            floats = float_network(name, compare, _batch(integers), net, settings)
            labels = usable_labels(floats, name, compare, background=bool(background))
            show_what_is_guessed(floats, source, labels)
            check_networks(floats, integers, source, labels)
            return _Pair(floats, integers, source, labels)
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
            return _Detector.of(request, graph, source, labels)
        known = _loss(loss, model, net, graph)
        show_what_is_guessed(graph, source, labels, known)
        program = load_program(build(replace(request, source=graph), PROGRAM))
        return _Single(data, graph, program, source, maker_for(graph, source, labels, known))

    with Watch(world):
        evaluated = together(world, prepare)
        if world.rank:
            evaluated.assist(world)
        else:
            evaluated.show(world, as_json)


class _Evaluated(Protocol):
    """What is evaluated, by all ranks of a world."""

    def show(self, world: World, as_json: bool) -> None:
        """Evaluate on rank 0, and write the result."""
        ...

    def assist(self, world: World) -> None:
        """What the other ranks do."""
        ...


@dataclass(frozen=True)
class _Single:
    """A network that classifies, or whose outputs are compared with targets."""

    data: str
    graph: Network
    program: Program
    source: Source
    maker: ArrayMaker | FileMaker

    def show(self, world: World, as_json: bool) -> None:
        """See `_Evaluated`."""
        start = time.perf_counter()
        run, batch, targets = on_floats(self.program, self.graph), _batch(self.graph), self.maker.preparation.targets
        with progress_bar(len(self.source), self.data) as bar:
            result = measure(
                run, self.source, self.maker, batch, targets, lambda done: bar.update(done - bar.pos), world=world
            )
        _show_skipped(result)
        names = self.maker.preparation.classes.names
        if as_json:
            echo(json.dumps(_as_data(result, names), indent=1))
        else:
            echo(_as_text(result, self.data, time.perf_counter() - start, names), nl=False)

    def assist(self, world: World) -> None:
        """See `_Evaluated`."""
        assist((on_floats(self.program, self.graph),), self.source, self.maker, _batch(self.graph), world)


def _saved(made: Ready, data: str, source: Source | ObjectSource, loss: str | None, background: bool) -> _Evaluated:
    """A saved program, which is complete."""
    network = made.network
    if network.states:
        raise NetcError(f"net {network.name} keeps a state, but a data set's samples are independent of each other")
    labels = replace(made.labels, background=background)
    if isinstance(source, ObjectSource):
        return _Detector.of_program(made.program, network, source, labels)
    known = parse_loss(loss) if loss is not None else None
    show_what_is_guessed(network, source, labels, known)
    return _Single(data, network, made.program, source, maker_for(network, source, labels, known))


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


def _batch(graph: Network) -> int:
    shape = graph.inputs[0].type.shape if graph.inputs else ()
    if not shape:
        raise NetcError(f"net {graph.name} has no input with samples along its first dimension")
    return shape[0]


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


def _show_skipped(result: Evaluation | Measured | Detections) -> None:
    for reason in result.skipped:
        echo(f"skipped: {reason}", err=True)


def _as_data(result: Evaluation | Measured, names: Names | None = None) -> dict[str, Any]:
    if isinstance(result, Measured):
        data: dict[str, Any] = {"samples": result.samples, **result.results}
        if result.classes is not None and result.confusion is not None:
            shares = [None if np.isnan(share) else float(share) for share in result.classes]
            data |= {"iou": shares, "confusion": result.confusion.tolist(), "classes": names}
        return data
    fields = ("samples", "top1_correct", "top5_correct", "top1", "top5")
    return {field: getattr(result, field) for field in fields}


def _as_text(result: Evaluation | Measured, data: str, seconds: float, names: Names | None) -> str:
    if isinstance(result, Measured):
        lines = [f"{title(name):24}{shown(name, value):>8}" for name, value in result.results.items()]
        table = f"\n{_classes_table(result, names)}" if result.confusion is not None else ""
        return f"{data}: {result.samples} samples in {duration(seconds)}\n" + "\n".join(lines) + f"\n{table}"
    return (
        f"{data}: {result.samples} samples in {duration(seconds)}\n"
        f"top-1  {result.top1:7.2%}  ({result.top1_correct} right)\n"
        f"top-5  {result.top5:7.2%}  ({result.top5_correct} right)\n"
    )


def _classes_table(result: Measured, names: Names | None) -> str:
    """Each class with its share of intersection over union, and its pixels in the masks."""
    assert result.classes is not None
    assert result.confusion is not None
    rows = [
        [names[i] if names else str(i), "-" if np.isnan(share) else f"{share:.2%}", f"{result.confusion[i].sum():,}"]
        for i, share in enumerate(result.classes)
    ]
    return format_table(["class", "IoU", "pixels"], rows)


# ---- detectors ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Detector:
    """A network that finds objects."""

    program: Program
    graph: Network
    source: ObjectSource
    categories: CategoryMap

    @staticmethod
    def of(request: Request, graph: Graph, source: ObjectSource, labels: Labels) -> _Detector:
        """Compile a detector and find its categories among those of the data."""
        categories = _categories(graph, source, labels)
        return _Detector(load_program(build(replace(request, source=graph), PROGRAM)), graph, source, categories)

    @staticmethod
    def of_program(program: Program, network: Network, source: ObjectSource, labels: Labels) -> _Detector:
        """The same for a detector that is compiled."""
        return _Detector(program, network, source, _categories(network, source, labels))

    def show(self, world: World, as_json: bool) -> None:
        """See `_Evaluated`."""
        start, source = time.perf_counter(), self.source
        with progress_bar(len(source), source.name) as bar:
            result = evaluate_detector(
                self.program, self.graph, source, self.categories, lambda done: bar.update(done - bar.pos), world
            )
        _show_skipped(result)
        if as_json:
            masks = {"masks": dict(result.masks)} if result.masks is not None else {}
            echo(json.dumps({"samples": result.samples, "boxes": dict(result.boxes), **masks}, indent=1))
            return
        head = f"{source.name}: {result.samples} pictures in {duration(time.perf_counter() - start)}\n\n"
        echo(head + _precision_table(result), nl=False)

    def assist(self, world: World) -> None:
        """See `_Evaluated`."""
        assist_detector(self.program, self.graph, self.source, self.categories, world)


def _categories(network: Network, source: ObjectSource, labels: Labels) -> CategoryMap:
    """A detector's categories among those of the data; says what isn't plain."""
    detector_task(network, source)
    categories = match_categories(network, source, labels)
    show_notes(labels.note, *(f"skipped: {reason}" for reason in source.notes), *categories.notes)
    return categories


def _precision_table(result: Detections) -> str:
    """A row for each result: in words, of boxes and, where there are some, of masks."""
    columns = {"boxes": result.boxes} | ({"masks": result.masks} if result.masks is not None else {})
    rows = [
        [_IN_WORDS[name], *("-" if (value := column[name]) is None else f"{value:.2%}" for column in columns.values())]
        for name in RESULTS
    ]
    return format_table(["", *columns], rows)


# ---- float and integer networks side by side ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pair:
    """A float network and the integer network that was made from it."""

    floats: Graph
    integers: Graph
    source: Source
    labels: Labels

    def show(self, world: World, as_json: bool) -> None:
        """See `_Evaluated`."""
        with progress_bar(len(self.source), self.source.name) as bar:
            compared = compare_networks(
                self.floats, self.integers, self.source, self.labels, lambda done: bar.update(done - bar.pos), world
            )
        _show_skipped(compared.accuracy.first)
        if as_json:
            echo(json.dumps(_comparison_data(compared), indent=1))
        else:
            echo(_comparison_text(compared, self.floats, self.integers, self.source), nl=False)

    def assist(self, world: World) -> None:
        """See `_Evaluated`."""
        assist_comparison(self.floats, self.integers, self.source, self.labels, world)


def _comparison_data(compared: Compared) -> dict[str, Any]:
    accuracy = compared.accuracy
    return {
        "float": _as_data(accuracy.first),
        "integer": _as_data(accuracy.second),
        "agreement": accuracy.agreement,
        "activations": compared.activations,
        "layers": [noise_data(noise) for noise in compared.noise],
    }


def _comparison_text(compared: Compared, floats: Graph, integers: Graph, source: Source) -> str:
    accuracy = compared.accuracy
    rows = [
        [f"{graph.name}{kind}", f"{result.top1:.2%}", f"{result.top5:.2%}"]
        for graph, kind, result in ((floats, ", floats", accuracy.first), (integers, "", accuracy.second))
    ]
    worst = sorted(compared.noise, key=lambda noise: noise.decibels)[:SHOWN]
    return (
        f"{source.name}: {accuracy.first.samples} samples\n\n{format_table(['network', 'top-1', 'top-5'], rows)}\n"
        f"both put the same class first: {accuracy.agreement:.2%}\n\n"
        f"signal to quantization noise, {len(compared.noise)} of {compared.activations} activations found in both, "
        f"worst first:\n{format_table(['dB', 'bias', 'activation', 'operator'], [_row(n) for n in worst])}"
        f"output: {compared.noise[-1].decibels:.1f} dB\n"
    )


def _row(noise: Noise) -> list[str]:
    return [f"{noise.decibels:.1f}", f"{noise.bias:.2g}", noise.name, noise.operator]
