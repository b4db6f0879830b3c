"""Batches of training data, in an order that seed and epoch decide, from any position on.

`BatchStream` walks through epochs; a `Maker` fills in the tensors: `ArrayMaker` whole batches at once from memory,
`FileMaker` picture by picture in this process, `workers.WorkerMaker` in several. All give the same batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from ...compiler.errors import NetcError
from ..data.images import Picture
from ..data.source import ArraySource, FileSource, Labels
from .random import Integers, permutation
from .samples import Preparation, Tensor


@dataclass(frozen=True, slots=True)
class Plan:
    """A batch to be made: its place in the epoch, the samples in it, and those that may replace damaged ones.

    Without spares a damaged sample gets the label -1.
    """

    epoch: int
    step: int
    samples: Integers
    spares: Sequence[int] | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch that was made. `images`, float32 [n, ...], is overwritten when the next batch is asked for."""

    epoch: int
    step: int
    """Within the epoch, from 0 on."""
    images: Tensor
    labels: Labels
    skipped: tuple[str, ...] = ()
    """Why samples could not be used, one message each."""


class Maker(Protocol):
    """Turns plans into batches, in their order, and may work ahead."""

    def make(self, plans: Iterable[Plan]) -> Iterator[Batch]:
        """Batches in the order of the plans."""
        ...

    def close(self) -> None:
        """Release processes and memory."""
        ...


@dataclass
class ArrayMaker:
    """Batches of samples that are in memory."""

    source: ArraySource
    preparation: Preparation

    def __post_init__(self) -> None:
        """Bring pictures to the net's size once, if that is the same in every epoch."""
        self._ready = self.preparation.interpret(self.source.values)
        preprocess, shape = self.preparation.preprocess, self.preparation.shape
        self._cut = self.preparation.resizes and self.preparation.augmentation.part is not None
        if preprocess is None or not self.preparation.resizes or self._cut:
            return
        if self._ready.shape[1:] != shape or preprocess.crop is not None:
            self._ready = np.stack([preprocess.pixels(picture) for picture in self._ready])

    def make(self, plans: Iterable[Plan]) -> Iterator[Batch]:
        """Batches of pictures that are gathered, transformed and normalised together."""
        for plan in plans:
            values = self._ready[plan.samples]
            if self._cut:
                pairs = zip(values, plan.samples, strict=True)
                values = np.stack([self.preparation.cut(v, plan.epoch, int(i)) for v, i in pairs])
            out = np.empty((len(values), *self.preparation.shape), np.float32)
            self.preparation.finish(values, plan.epoch, plan.samples, out)
            yield Batch(plan.epoch, plan.step, out, labels_of(self.source.labels, plan.samples, self.preparation))

    def close(self) -> None:
        """Nothing to release."""


@dataclass
class FileMaker:
    """Batches of pictures in files, decoded in this process."""

    source: FileSource
    preparation: Preparation

    def make(self, plans: Iterable[Plan]) -> Iterator[Batch]:
        """Batches made one after the other, when they are asked for."""
        for plan in plans:
            out = np.empty((len(plan.samples), *self.preparation.shape), np.float32)
            keys = [self.source.keys[i] for i in plan.samples]
            failures = decode_rows(self.source.reader, self.preparation, keys, plan.epoch, plan.samples, out)
            yield replace_failures(self.source, self.preparation, plan, out, failures)

    def close(self) -> None:
        """Nothing to release."""


Failure = tuple[int, str]
"""A row of a batch, and why its sample could not be read."""


def decode_rows(
    reader: Callable[[str], Picture],
    preparation: Preparation,
    keys: Sequence[str],
    epoch: int,
    samples: Integers,
    out: Tensor,
) -> list[Failure]:
    """Read, cut, transform and normalise the pictures called `keys` into `out`; returns those that can't be read."""
    failures: list[Failure] = []
    pixels = np.zeros((len(keys), *preparation.shape), np.uint8)
    for row, (key, sample) in enumerate(zip(keys, samples, strict=True)):
        try:
            pixels[row] = preparation.cut(reader(key), epoch, int(sample))
        except NetcError as error:
            failures.append((row, error.diagnostics[0].message))
    preparation.finish(pixels, epoch, samples, out)
    return failures


def replace_failures(
    source: FileSource, preparation: Preparation, plan: Plan, out: Tensor, failures: Sequence[Failure]
) -> Batch:
    """Finish a batch: samples that can't be read are replaced by the next readable ones among the plan's spares."""
    samples, labels = plan.samples.copy(), labels_of(source.labels, plan.samples, preparation)
    messages = [message for _, message in failures]
    spares = iter(plan.spares or ())
    for row, _ in failures:
        if plan.spares is None:
            labels[row] = -1
            continue
        for spare in spares:
            samples[row] = spare
            sample, rows = samples[row : row + 1], out[row : row + 1]
            problems = decode_rows(source.reader, preparation, [source.keys[spare]], plan.epoch, sample, rows)
            if not problems:
                labels[row] = labels_of(source.labels, sample, preparation)[0]
                break
            messages.append(problems[0][1])
        else:
            raise NetcError(f"too many pictures of {source.name} can't be read", hint=f"the first: {messages[0]}")
    return Batch(plan.epoch, plan.step, out, labels, tuple(messages))


def labels_of(labels: Labels, samples: Integers, preparation: Preparation) -> Labels:
    """The labels of samples, int32 [n], as the net numbers its classes."""
    return preparation.classes(labels[samples]).astype(np.int32)


@dataclass
class BatchStream:
    """Training data as an endless stream of batches of one size; what is left of an epoch after the last is dropped.

    Used as a context manager, it releases the maker's processes at the end.
    """

    count: int
    batch: int
    maker: Maker
    seed: int = 0
    name: str = "the training data"

    def __post_init__(self) -> None:
        if self.count < self.batch:
            hint = f"--batch {self.count} or less"
            raise NetcError(f"{self.name} has {self.count} samples, fewer than a batch of {self.batch}", hint=hint)

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in an epoch."""
        return self.count // self.batch

    def batches(self, epoch: int, step: int, epochs: int) -> Iterator[Batch]:
        """Batches from position `step` of `epoch` up to the end of epoch `epochs` - 1."""
        return self.maker.make(self._plans(epoch, step, epochs))

    def _plans(self, epoch: int, step: int, epochs: int) -> Iterator[Plan]:
        for current in range(epoch, epochs):
            order = permutation(self.count, self.seed, current)
            for position in range(step if current == epoch else 0, self.steps_per_epoch):
                start = position * self.batch
                samples = order[start : start + self.batch]
                after = np.arange(start + self.batch, start + 2 * self.batch) % self.count
                yield Plan(current, position, samples, order[after].tolist())

    def close(self) -> None:
        """Release the maker's processes and memory."""
        self.maker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def evaluation_plans(count: int, batch: int) -> Iterator[Plan]:
    """All samples once, in their own order; the last batch may be smaller. Nothing replaces damaged ones."""
    for step, start in enumerate(range(0, count, batch)):
        yield Plan(0, step, np.arange(start, min(start + batch, count), dtype=np.int64))
