"""An integer network beside the float network that it comes from: accuracy of both, agreement, noise of layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from .calibration import Calibrated, layer_noise
from .compiler.errors import NetcError
from .compiler.graph.ir import Array, Graph
from .compiler.quantization import Noise, prepare
from .compiler.quantization.calibration import watched_values
from .compiler.quantization.report import Accuracy
from .compiler.signature import Network
from .compiler.training import Loss
from .frontend import format_of
from .loading import find_weights, load
from .notes import show_notes
from .pipeline import compile_graph
from .runtime.data.calibration import CalibrationSamples, taken
from .runtime.data.held_out import SEEN, fingerprints, unseen
from .runtime.data.labels import NO_LABELS, Labels
from .runtime.data.layout import as_input
from .runtime.data.source import ArraySource, Source
from .runtime.evaluation.accuracy import Comparison, on_floats
from .runtime.evaluation.scoring import Run, assist, compare
from .runtime.parallel.world import ALONE, World
from .runtime.training.augment import NO_AUGMENTATION
from .runtime.training.batches import ArrayMaker, FileMaker, evaluation_plans
from .runtime.training.samples import preparation_for

NOISE_SAMPLES = 10
"""CalibrationSamples over which the noise of layers is measured."""

Progress = Callable[[int], None] | None


@dataclass(frozen=True)
class Compared:
    """Float network and integer network: accuracy (floats first), and the noise of the activations that both have."""

    accuracy: Comparison
    noise: tuple[Noise, ...]
    activations: int
    """How many the float network has."""


def maker_for(
    graph: Network, source: Source, labels: Labels = NO_LABELS, loss: Loss | None = None
) -> ArrayMaker | FileMaker:
    """Makes batches of a source for evaluating a network, whose classes are called `labels`."""
    preparation = preparation_for(graph, source, NO_AUGMENTATION, labels=labels, loss=loss)
    return ArrayMaker(source, preparation) if isinstance(source, ArraySource) else FileMaker(source, preparation)


def show_what_is_guessed(graph: Network, source: Source, labels: Labels = NO_LABELS, loss: Loss | None = None) -> None:
    """Say what isn't plain about a source as samples of a network; raises `NetcError` if it can't be right."""
    show_notes(labels.note, *preparation_for(graph, source, NO_AUGMENTATION, labels=labels, loss=loss).notes)


def float_network(
    name: str, weights: str, batch: int, net: str | None = None, settings: Mapping[str, Any] | None = None
) -> Graph:
    """The float network with its weights, in the form that is quantized, so that names of activations are the same.

    Raises `NetcError` for files that hold their weights.
    """
    if (kind := format_of(name)).has_weights:
        raise NetcError(f"{name} is a {kind.name}, not a net to put weights into")
    graph = load(name, net=net, batch=batch, settings=settings)
    return prepare(graph, find_weights(weights, graph))


def check_networks(floats: Graph, integers: Graph, source: Source, labels: Labels = NO_LABELS) -> None:
    """Raise `NetcError` unless both take and give the same shapes, and can be compared on a source."""
    _check_shapes(floats, integers)
    check_comparable(floats, source, labels)


def compare_networks(
    floats: Graph,
    integers: Graph,
    source: Source,
    labels: Labels = NO_LABELS,
    progress: Progress = None,
    world: World = ALONE,
) -> Compared:
    """Run both over a source, prepared as the float network declares; `progress` is told the samples done so far.

    `labels` are the names of the classes. The other ranks of a world call `assist_comparison`. Raises `NetcError` if
    the networks have no activation in common; see `check_networks`.
    """
    samples = _tensors(floats, source, labels)
    noise = layer_noise(floats, integers, samples)
    if not noise:
        hint = "was it made from this net? its tensors have other names"
        raise NetcError(f"no activation of {integers.name} has the name of one of net {floats.name}", hint=hint)
    accuracy = compare_accuracy(floats, integers, source, labels, progress, world)
    return Compared(accuracy, noise, len(watched_values(floats)) - len(floats.inputs))


def comparable(graph: Network, source: Source, labels: Labels = NO_LABELS) -> bool:
    """Whether each sample of a source has a class, by which networks are compared."""
    return preparation_for(graph, source, NO_AUGMENTATION, labels=labels).targets.for_samples


def check_comparable(graph: Network, source: Source, labels: Labels = NO_LABELS) -> None:
    """Raise `NetcError` unless that is so."""
    if not comparable(graph, source, labels):
        hint = "netc eval measures each of them: netc eval FILE --data DATA"
        raise NetcError(f"networks are compared by the classes of samples, which {source.name} doesn't give", hint=hint)


def _check_shapes(floats: Graph, integers: Graph) -> None:
    shapes = [[v.type.shape for v in (*graph.inputs, *graph.outputs)] for graph in (floats, integers)]
    if shapes[0] != shapes[1]:
        float_text, integer_text = (", ".join(str(list(s)) for s in each) for each in shapes)
        message = f"net {floats.name} takes and gives {float_text}, but {integers.name} {integer_text}"
        raise NetcError(message, hint="--compare-net and --set say which float network it was made from")


def _tensors(graph: Network, source: Source, labels: Labels) -> Iterator[Array]:
    """The first samples that can be read, as inputs."""
    batch = graph.inputs[0].type.shape[0]
    plans = evaluation_plans(len(source) // batch * batch, batch)
    made = (
        as_input(m.images.copy(), graph.inputs[0].type)
        for m in maker_for(graph, source, labels).make(plans)
        if m.usable.all()
    )
    return islice(made, max(1, NOISE_SAMPLES // batch))


def compare_accuracy(
    floats: Graph,
    integers: Graph,
    source: Source,
    labels: Labels = NO_LABELS,
    progress: Progress = None,
    world: World = ALONE,
) -> Comparison:
    """How often each is right, and how often they say the same."""
    maker = maker_for(floats, source, labels)
    with _both(floats, integers, world) as runs:
        return compare(runs, source, maker, floats.inputs[0].type.shape[0], progress, world=world)


def assist_comparison(floats: Graph, integers: Graph, source: Source, labels: Labels, world: World) -> None:
    """What a rank but the first does for `compare_networks`."""
    maker = maker_for(floats, source, labels)
    with _both(floats, integers, world) as runs:
        assist(runs, source, maker, floats.inputs[0].type.shape[0], world)


@contextmanager
def _both(floats: Graph, integers: Graph, world: World) -> Iterator[tuple[Run, Run]]:
    """Both networks as functions of floats."""
    with compile_graph(floats, threads=world.cores) as one, compile_graph(integers, threads=world.cores) as other:
        yield on_floats(one, floats), on_floats(other, integers)


def held_out_accuracy(
    calibrated: Calibrated,
    integers: Graph,
    source: Source,
    samples: CalibrationSamples,
    limit: int,
    labels: Labels = NO_LABELS,
    progress: Progress = None,
) -> Accuracy:
    """Accuracy before and after on a data set, without the pictures among `samples` that calibration has seen."""
    rest = unseen(source, fingerprints(taken(samples, limit)))
    found = compare_accuracy(calibrated.graph, integers, rest, labels, progress)
    skipped = sum(reason != SEEN for reason in found.first.skipped)
    left_out = len(source) - found.first.samples - skipped
    return Accuracy(source.name, found.first.samples, left_out, found.first.top1, found.second.top1, found.agreement)
