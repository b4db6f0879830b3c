"""What `netc eval` measures, and how it prints that: one network, a detector, or integers beside floats."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from .comparison import Compared, assist_comparison, compare_networks
from .compiler.errors import NetcError
from .compiler.graph.ir import Graph
from .compiler.quantization import Noise
from .compiler.quantization.report import noise_data
from .compiler.signature import Network
from .detection import CategoryMap, Detections, assist_detector, detector_task, evaluate_detector, match_categories
from .notes import show_notes
from .output import duration, echo, format_table, progress_to
from .pipeline import PROGRAM, Request, build, load_program
from .progress import shown, title
from .runtime.data.classes import Names
from .runtime.data.labels import Labels
from .runtime.data.objects import ObjectSource
from .runtime.data.source import Source
from .runtime.evaluation.accuracy import Evaluation, on_floats
from .runtime.evaluation.measures import Measured
from .runtime.evaluation.objects import RESULTS
from .runtime.evaluation.scoring import assist, measure
from .runtime.parallel.world import World
from .runtime.program import Program
from .runtime.training.batches import ArrayMaker, FileMaker

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


class Evaluated(Protocol):
    """What is evaluated, by all ranks of a world."""

    @property
    def source(self) -> Source:
        """The samples."""
        ...

    def show(self, world: World, as_json: bool) -> None:
        """Evaluate on rank 0, and write the result."""
        ...

    def assist(self, world: World) -> None:
        """What the other ranks do."""
        ...


@dataclass(frozen=True)
class SingleEvaluation:
    """A network that classifies, or whose outputs are compared with targets."""

    data: str
    graph: Network
    program: Program
    source: Source
    maker: ArrayMaker | FileMaker

    def show(self, world: World, as_json: bool) -> None:
        """See `Evaluated`."""
        start = time.perf_counter()
        run, batch, targets = on_floats(self.program, self.graph), batch_of(self.graph), self.maker.preparation.targets
        with progress_to(len(self.source), self.data) as progress:
            result = measure(run, self.source, self.maker, batch, targets, progress, world=world)
        _show_skipped(result)
        names = self.maker.preparation.classes.names
        if as_json:
            echo(json.dumps(_as_data(result, names), indent=1))
        else:
            echo(_as_text(result, self.data, time.perf_counter() - start, names), nl=False)

    def assist(self, world: World) -> None:
        """See `Evaluated`."""
        assist((on_floats(self.program, self.graph),), self.source, self.maker, batch_of(self.graph), world)


def batch_of(graph: Network) -> int:
    """The samples of one call. Raises `NetcError` if no input has them along its first dimension."""
    shape = graph.inputs[0].type.shape if graph.inputs else ()
    if not shape:
        raise NetcError(f"net {graph.name} has no input with samples along its first dimension")
    return shape[0]


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
class DetectorEvaluation:
    """A network that finds objects."""

    program: Program
    graph: Network
    source: ObjectSource
    categories: CategoryMap

    @staticmethod
    def of(request: Request, graph: Graph, source: ObjectSource, labels: Labels) -> DetectorEvaluation:
        """Compile a detector and find its categories among those of the data."""
        categories = _categories(graph, source, labels)
        return DetectorEvaluation(
            load_program(build(replace(request, source=graph), PROGRAM)), graph, source, categories
        )

    @staticmethod
    def of_program(program: Program, network: Network, source: ObjectSource, labels: Labels) -> DetectorEvaluation:
        """The same for a detector that is compiled."""
        return DetectorEvaluation(program, network, source, _categories(network, source, labels))

    def show(self, world: World, as_json: bool) -> None:
        """See `Evaluated`."""
        start, source = time.perf_counter(), self.source
        with progress_to(len(source), source.name) as progress:
            result = evaluate_detector(self.program, self.graph, source, self.categories, progress, world)
        _show_skipped(result)
        if as_json:
            masks = {"masks": dict(result.masks)} if result.masks is not None else {}
            echo(json.dumps({"samples": result.samples, "boxes": dict(result.boxes), **masks}, indent=1))
            return
        head = f"{source.name}: {result.samples} pictures in {duration(time.perf_counter() - start)}\n\n"
        echo(head + _precision_table(result), nl=False)

    def assist(self, world: World) -> None:
        """See `Evaluated`."""
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
class PairEvaluation:
    """A float network and the integer network that was made from it."""

    floats: Graph
    integers: Graph
    source: Source
    labels: Labels

    def show(self, world: World, as_json: bool) -> None:
        """See `Evaluated`."""
        with progress_to(len(self.source), self.source.name) as progress:
            compared = compare_networks(self.floats, self.integers, self.source, self.labels, progress, world)
        _show_skipped(compared.accuracy.first)
        if as_json:
            echo(json.dumps(_comparison_data(compared), indent=1))
        else:
            echo(_comparison_text(compared, self.floats, self.integers, self.source), nl=False)

    def assist(self, world: World) -> None:
        """See `Evaluated`."""
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
