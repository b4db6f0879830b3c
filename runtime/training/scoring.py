"""Accuracy of a program on a source of samples: as `runtime.evaluate` measures it, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import numpy as np

from ...compiler.errors import NetcError
from ...compiler.graph.ir import Array
from ..evaluate import Evaluation, rank_of_label
from .batches import Maker, evaluation_plans
from .sources import Labels, Source


def score(
    program: Callable[[Array], Array | tuple[Array, ...]],
    source: Source,
    maker: Maker,
    batch: int,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Run `program`, which takes `batch` samples, over all of `source`, whose batches `maker` makes; closes the latter.

    Samples that can't be read don't count. A program with one column gives the score of class 1 against class 0.
    `progress` is told the number of samples done so far.
    """
    done = samples = top1 = top5 = 0
    skipped: list[str] = []
    with closing(maker):
        for made in maker.make(evaluation_plans(len(source), batch)):
            count = len(made.labels)
            tensor = made.images
            if count < batch:
                tensor = np.concatenate([tensor, np.zeros((batch - count, *tensor.shape[1:]), np.float32)])
            scores = np.asarray(program(tensor))[:count]
            ranks = _ranks(scores, made.labels)
            samples += len(ranks)
            top1 += int((ranks < 1).sum())
            top5 += int((ranks < 5).sum())
            skipped += made.skipped
            done += count
            if progress:
                progress(done)
    if samples == 0:
        hint = f"the first that can't be used: {skipped[0]}" if skipped else None
        raise NetcError(f"there are no samples of {source.name} to evaluate on", hint=hint)
    return Evaluation(samples, top1, top5, tuple(skipped))


def _ranks(scores: Array, labels: Labels) -> Array:
    """How many classes stand before the right one, for each sample that has one."""
    usable = labels >= 0
    if scores.shape[1] == 1:
        scores = np.concatenate([np.zeros_like(scores), scores], axis=1)
    return rank_of_label(scores[usable], labels[usable].astype(np.int64))
