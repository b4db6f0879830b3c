"""Measures the accuracy of programs on a source of samples, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ...compiler.errors import NetcError
from ...compiler.graph.ir import Array
from ..data.source import Source
from ..data.targets import Targets
from ..parallel.turns import hand_in, in_turn
from ..parallel.world import ALONE, World
from ..training.batches import Batch, Maker, evaluation_plans
from .accuracy import Comparison, Evaluation, rank_of_label
from .measures import Measured, measure_for

Run = Callable[[Array], Array | tuple[Array, ...]]
Progress = Callable[[int], None] | None


def score(
    program: Run, source: Source, maker: Maker, batch: int, progress: Progress = None, *, world: World = ALONE
) -> Evaluation:
    """Run `program`, which takes `batch` samples, over all of `source`, whose batches `maker` makes.

    `maker` stays open: its workers may be wanted again. Samples that can't be read don't count. A program with one
    column gives the score of class 1 against class 0. `progress` is told the number of samples done so far.
    """
    tally = _Tally()
    for made, (scores,) in _runs((program,), source, maker, batch, progress, world=world):
        tally.add(scores, made)
    return tally.evaluation(source)


def measure(
    program: Run,
    source: Source,
    maker: Maker,
    batch: int,
    targets: Targets,
    progress: Progress = None,
    *,
    world: World = ALONE,
) -> Evaluation | Measured:
    """As `score`, for targets of any kind: classes of samples give an `Evaluation`.

    The ranks of a world take batches in turn; rank 0 adds up all of them in their order. The others call `assist`.
    """
    if targets.for_samples:
        return score(program, source, maker, batch, progress, world=world)
    tally = measure_for(targets)
    samples, skipped = 0, list[str]()
    for made, (outputs,) in _runs((program,), source, maker, batch, progress, columns=False, world=world):
        usable = made.usable
        if not np.isfinite(outputs[usable]).all():
            raise NetcError("the program's output holds infinities or NaNs", hint="are these the net's weights?")
        tally.add(outputs[usable], made.labels[usable])
        samples += int(usable.sum())
        skipped += made.skipped
    _check_count(samples, source, skipped)
    return Measured(samples=samples, skipped=tuple(skipped), **tally.results())


def compare(
    programs: tuple[Run, Run],
    source: Source,
    maker: Maker,
    batch: int,
    progress: Progress = None,
    *,
    world: World = ALONE,
) -> Comparison:
    """As `score`, of two programs that are given the same batches."""
    first, second, agreed = _Tally(), _Tally(), 0
    for made, (one, other) in _runs(programs, source, maker, batch, progress, world=world):
        first.add(one, made)
        second.add(other, made)
        usable = made.usable
        agreed += int((one.argmax(axis=1) == other.argmax(axis=1))[usable].sum())
    return Comparison(first.evaluation(source), second.evaluation(source), agreed)


def assist(programs: Sequence[Run], source: Source, maker: Maker, batch: int, world: World) -> None:
    """What a rank but the first does in a measurement: its batches, whose results go to rank 0."""
    own = _own_runs(programs, source, maker, batch, world)
    hand_in(((replace(made, images=made.images[:0]), outputs) for made, outputs in own), world)


def _runs(
    programs: Sequence[Run],
    source: Source,
    maker: Maker,
    batch: int,
    progress: Progress,
    *,
    columns: bool = True,
    world: World = ALONE,
) -> Iterator[tuple[Batch, list[Array]]]:
    """Each batch and what the programs make of it, for `columns` as a row of scores for each of its samples.

    Of what other ranks have run, batches come without their images.
    """
    done = 0
    own = _own_runs(programs, source, maker, batch, world)
    for made, outputs in in_turn(own, -(-len(source) // batch), world):
        yield made, [_columns(output) for output in outputs] if columns else outputs
        done += len(made.labels)
        if progress:
            progress(done)


def _own_runs(
    programs: Sequence[Run], source: Source, maker: Maker, batch: int, world: World
) -> Iterator[tuple[Batch, list[Array]]]:
    """The batches of this rank and what the programs make of them."""
    plans = islice(evaluation_plans(len(source), batch), world.rank, None, world.size)
    for made in maker.make(plans):
        count = len(made.labels)
        tensor = made.images
        if count < batch:
            tensor = np.concatenate([tensor, np.zeros((batch - count, *tensor.shape[1:]), np.float32)])
        yield made, [np.asarray(program(tensor))[:count] for program in programs]


def _columns(scores: Array) -> Array:
    """Scores of classes, of two for a single column."""
    return np.concatenate([np.zeros_like(scores), scores], axis=1) if scores.shape[1] == 1 else scores


def _numbers(labels: Array) -> NDArray[np.int64]:
    """Class numbers [n]; of decisions, which may be fractions or signs, 0 or 1."""
    flat = labels.reshape(len(labels))
    decided: Array = flat if flat.dtype.kind in "iu" else flat > 0.5
    return decided.astype(np.int64)


def _check_count(samples: int, source: Source, skipped: Sequence[str]) -> None:
    if samples == 0:
        hint = f"the first that can't be used: {skipped[0]}" if skipped else None
        raise NetcError(f"there are no samples of {source.name} to evaluate on", hint=hint)


@dataclass
class _Tally:
    """What was right so far."""

    samples: int = 0
    top1: int = 0
    top5: int = 0
    skipped: list[str] = field(default_factory=list[str])

    def add(self, scores: Array, made: Batch) -> None:
        """Count a batch."""
        usable = made.usable
        ranks = rank_of_label(scores[usable], _numbers(made.labels[usable]))
        self.samples += len(ranks)
        self.top1 += int((ranks < 1).sum())
        self.top5 += int((ranks < 5).sum())
        self.skipped += made.skipped

    def evaluation(self, source: Source) -> Evaluation:
        """The result; raises `NetcError` if there were no samples."""
        _check_count(self.samples, source, self.skipped)
        return Evaluation(self.samples, self.top1, self.top5, tuple(self.skipped))
