"""`netc train --plan`: what a step would take on many ranks, from a step on this machine and a model of the network."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import numpy as np

from .compiler.errors import NetcError
from .losses import find_loss
from .output import duration, echo, format_table, quantity
from .recipe import TrainingRecipe
from .runtime.parallel.model import Measured, Network, Prediction, best_bucket, predict
from .runtime.parallel.world import ALONE
from .training import load_sharded_trainer
from .training_setup import Setup

IMAGENET = 1_281_167
"""Samples of ImageNet's training split."""
_STEPS = 3
_UNITS = {"bit": 1 / 8, "b": 1 / 8, "B": 1.0}
_PREFIXES = {"M": 1e6, "G": 1e9, "T": 1e12}


def parse_network(text: str, microseconds: float) -> Network:
    """Read a bandwidth, such as `25Gbit` or `12.5GB/s`, and a latency; raises `NetcError`."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([MGT])(bit|b|B)(?:/s)?\s*", text)
    if found is None or float(found[1]) == 0:
        raise NetcError(f"`{text}` is no speed of a network", hint="write for example 25Gbit, or 12.5GB/s")
    return Network(microseconds * 1e-6, float(found[1]) * _PREFIXES[found[2]] * _UNITS[found[3]])


def show_plan(setup: Setup, recipe: TrainingRecipe, ranks: int, network: Network, samples: int) -> None:
    """Measure a step here, and print what it would take on 1, 2, 4 and so on up to `ranks` ranks.

    Each rank takes one shard of the recipe's size. `samples` are those of an epoch. Data are not opened.
    """
    measured = measure(setup, recipe, samples)
    threads = setup.threads or ALONE.cores
    echo(
        f"measured here, {threads} thread{'s' if threads > 1 else ''}: a shard of {measured.samples} samples in "
        f"{duration(measured.shard_seconds)}, an update in {duration(measured.update_seconds)}\n"
        f"exchanged in a step: {quantity(measured.exchanged_bytes, 'B')}; a message takes "
        f"{duration(network.latency)} and {quantity(network.bandwidth, 'B/s')}\n"
        f"{_buckets_text(measured)}; for this network --bucket {best_bucket(ranks, network) / 1e6:.2g} or more\n"
    )
    counts = [2**i for i in range(math.ceil(math.log2(ranks)))] + [ranks]
    rows = [_row(predict(count, measured, network), samples * recipe.epochs) for count in counts]
    heads = [
        "ranks",
        "batch",
        "step, ms",
        "exchange, ms",
        "exposed, ms",
        "efficiency",
        "samples/s",
        f"hours, {recipe.epochs} epochs",
    ]
    echo(format_table(heads, rows), nl=False)


def _buckets_text(measured: Measured) -> str:
    *early, _ = measured.buckets
    if not early:
        return "one bucket, which is final with the shard"
    share, passed = early[-1]
    count = f"{len(early)} bucket" + ("s" if len(early) > 1 else "")
    return f"{count} with {share:.0%} of it can go while a shard is computed, the last after {passed:.0%} of its time"


def _row(each: Prediction, samples: int) -> list[str]:
    hours = samples / each.samples_per_second / 3600
    milliseconds = [f"{seconds * 1e3:,.1f}" for seconds in (each.seconds, each.exchange, each.exposed)]
    speed = f"{each.samples_per_second:,.0f}"
    return [str(each.ranks), str(each.batch), *milliseconds, f"{each.efficiency:.1%}", speed, f"{hours:,.1f}"]


def measure(setup: Setup, recipe: TrainingRecipe, samples: int) -> Measured:
    """Time a step of two shards on one process, on random samples; of several times the shortest.

    On one thread it is processor time, which other programs disturb less.
    """
    clock = time.process_time if (setup.threads or ALONE.cores) == 1 else time.perf_counter
    size = recipe.batch // recipe.shards
    (whole, _), (part, _) = setup.load(2 * size), setup.load(size)
    loss = find_loss(recipe.loss, setup.model, part)
    request = replace(
        setup.request(recipe, part, loss, max(1, samples // (2 * size))), shards=2, announces=True, factors=False
    )
    marks = list[float]()
    with closing(load_sharded_trainer(request, whole, ALONE)) as trainer:
        trainer.note = lambda step, phase: marks.append(clock())
        x = np.random.default_rng(0).standard_normal(whole.inputs[0].type.shape, np.float32)
        type_ = trainer.labels
        labels = np.zeros((2 * size, *type_.shape[1:]), type_.dtype.numpy)
        shard, update = math.inf, math.inf
        for _ in range(1 + _STEPS):
            marks.clear()
            trainer.step(x, labels)
            end = clock()
            shard, update = min(shard, (marks[1] - marks[0]) / 2), min(update, end - marks[2])
        exchanged, buckets = trainer.exchanged_bytes, trainer.announced(x, labels)
    return Measured(size, shard, update, _sum_seconds(exchanged, clock), exchanged, buckets)


def _sum_seconds(size: int, clock: Callable[[], float]) -> float:
    """How long it takes to add two arrays of f32."""
    one, other = np.zeros(size // 4, np.float32), np.ones(size // 4, np.float32)
    best = math.inf
    for _ in range(_STEPS):
        start = clock()
        np.add(one, other, out=one)
        best = min(best, clock() - start)
    return best
