"""Accuracy of a program on a data set: top-1 and top-5, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ..compiler.errors import NetcError
from ..compiler.graph.ir import Array, Graph
from ..compiler.quantization.errors import real
from .datasets import Dataset, Sample
from .images import Preprocess, as_input


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How often the right class came first, and among the first five."""

    samples: int
    top1_correct: int
    top5_correct: int
    skipped: tuple[str, ...] = ()
    """Why samples could not be used, one message each; they are not among `samples`."""

    @property
    def top1(self) -> float:
        """Share of samples whose right class came first."""
        return self.top1_correct / self.samples

    @property
    def top5(self) -> float:
        """Share of samples whose right class was among the first five."""
        return self.top5_correct / self.samples


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two programs did on the same samples, and on how many they gave the same answer."""

    first: Evaluation
    second: Evaluation
    agreed: int

    @property
    def agreement(self) -> float:
        """Share of samples on which both put the same class first."""
        return self.agreed / self.first.samples


def on_floats(program: Callable[[Array], Array | tuple[Array, ...]], graph: Graph) -> Callable[[Array], Array]:
    """A program compiled from `graph` as one from f32 inputs to the real numbers of its first output."""

    def run(x: Array) -> Array:
        outputs = program(as_input(x, graph.inputs[0].type))
        return real(outputs[0] if isinstance(outputs, tuple) else outputs, graph.outputs[0])

    return run


def evaluate(
    program: Callable[[Array], Array | tuple[Array, ...]],
    graph: Graph,
    dataset: Dataset,
    limit: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Run `program`, compiled from `graph`, over a data set (its first `limit` samples).

    The graph says what pictures go through, how many make a batch and how many classes come out; a net with one more
    class than the data set has a background class first. `progress` is told the number of samples done so far.
    """
    preprocess = Preprocess.of(graph)
    offset = _label_offset(graph, dataset)
    batch = graph.inputs[0].type.shape[0]
    done = top1 = top5 = 0
    for tensor, labels in batches(islice(dataset, limit), preprocess, batch):
        scores = np.asarray(program(tensor))[: len(labels)]
        ranks = rank_of_label(scores, labels + offset)
        top1 += int((ranks < 1).sum())
        top5 += int((ranks < 5).sum())
        done += len(labels)
        if progress:
            progress(done)
    if done == 0:
        raise NetcError(f"there are no samples of {dataset.name} to evaluate on")
    return Evaluation(done, top1, top5)


def batches(
    samples: Iterable[Sample], preprocess: Preprocess, size: int
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Gather preprocessed samples: float32 [size, H, W, C] and their labels; the last batch is filled up with zeros."""
    stream = iter(samples)
    shape = (size, preprocess.height, preprocess.width, preprocess.channels)
    while chunk := list(islice(stream, size)):
        tensor = np.zeros(shape, np.float32)
        for row, (picture, _) in zip(tensor, chunk, strict=False):
            row[:] = preprocess(picture)
        yield tensor, np.array([label for _, label in chunk], np.int64)


def rank_of_label(scores: Array, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many classes stand before the label's in each row of [N, classes]; of equal scores the lower index leads."""
    if not np.isfinite(scores).all():
        raise NetcError("the program's output holds infinities or NaNs", hint="are these the net's weights?")
    own = np.take_along_axis(scores, labels[:, np.newaxis], axis=1)
    earlier = np.arange(scores.shape[1]) < labels[:, np.newaxis]
    ranks: NDArray[np.int64] = ((scores > own) | ((scores == own) & earlier)).sum(axis=1)
    return ranks


def _label_offset(graph: Graph, dataset: Dataset) -> int:
    """0, or 1 for a net whose first output is a background class."""
    type_ = graph.outputs[0].type
    if len(graph.outputs) != 1 or type_.rank != 2 or type_.shape[1] - dataset.classes not in (0, 1):
        gives = ", ".join(str(v.type) for v in graph.outputs)
        raise NetcError(f"net {graph.name} gives {gives}, but data set {dataset.name} has {dataset.classes} classes")
    return type_.shape[1] - dataset.classes
