"""Batches of training data, in an order that seed and epoch decide, from any position on.

`BatchStream` walks through epochs; a `Maker` fills in the tensors: `ArrayMaker` whole batches at once from memory,
`FileMaker` picture by picture in this process, `workers.WorkerMaker` in several. All give the same batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...compiler.errors import NetcError
from ..closing import Closing
from ..data.images import Mask, Picture
from ..data.source import ArraySource, FileSource, Labels
from ..data.targets import check_classes, check_mask
from .random import Integers, grouped_permutation, permutation
from .samples import Preparation, Tensor


@dataclass(frozen=True, slots=True)
class Plan:
    """A batch to be made: its place in the epoch, the samples in it, and those that may replace damaged ones.

    The spare of a row is the one at its place, then those behind it, so that no row depends on another. Without spares
    a damaged sample is unusable.
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
    """Targets [n, ...], as the loss takes them."""
    skipped: tuple[str, ...] = ()
    """Why samples could not be used, one message each."""
    unusable: tuple[int, ...] = ()
    """Rows of samples that can't be read, which nothing replaces."""

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Which samples count, bool [n]."""
        counts = np.ones(len(self.labels), np.bool_)
        counts[list(self.unusable)] = False
        return counts


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
        self._moves = self.preparation.targets.grid and preprocess is not None and len(shape) == 3
        self._masks = self.source.labels
        self._cut = self.preparation.resizes and self.preparation.augmentation.part is not None
        if preprocess is None or not self.preparation.resizes or self._cut:
            return
        if self._ready.shape[1:] != shape or preprocess.crop is not None:
            self._ready = np.stack([preprocess.pixels(picture) for picture in self._ready])
            if self._moves:
                self._masks = np.stack([preprocess.mask(mask) for mask in self._masks])

    def make(self, plans: Iterable[Plan]) -> Iterator[Batch]:
        """Batches of pictures that are gathered, transformed and normalised together."""
        for plan in plans:
            values = self._ready[plan.samples]
            if self._cut:
                pairs = zip(values, plan.samples, strict=True)
                values = np.stack([self.preparation.cut(v, plan.epoch, int(i)) for v, i in pairs])
            out = np.empty((len(values), *self.preparation.shape), np.float32)
            self.preparation.finish(values, plan.epoch, plan.samples, out)
            yield Batch(plan.epoch, plan.step, out, self._targets(plan))

    def _targets(self, plan: Plan) -> Labels:
        labels = self._masks[plan.samples]
        if self._moves:
            if self._cut:
                pairs = zip(labels, plan.samples, strict=True)
                labels = np.stack([self.preparation.cut_mask(m, plan.epoch, int(i)) for m, i in pairs])
            labels = self.preparation.finish_masks(labels, plan.epoch, plan.samples)
        return self.preparation.targets_of(labels)

    def close(self) -> None:
        """Nothing to release."""


@dataclass
class FileMaker:
    """Batches of pictures in files, decoded in this process."""

    source: FileSource
    preparation: Preparation

    def make(self, plans: Iterable[Plan]) -> Iterator[Batch]:
        """Batches made one after the other, when they are asked for."""
        decoder = Decoder.of(self.source, self.preparation)
        for plan in plans:
            rows = decoder.empty(len(plan.samples))
            failures = decoder(keys_of(self.source, plan.samples), plan.epoch, plan.samples, rows)
            yield finished(self.source, decoder, plan, rows, failures)

    def close(self) -> None:
        """Nothing to release."""


Failure = tuple[int, str]
"""A row of a batch, and why its sample could not be read."""
Key = tuple[str, ...]
"""What a sample is read from: a picture, or a picture and its mask."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Room for samples: float32 [n, ...], and class numbers of pixels, int32 [n, H, W], or [n, 0] without masks."""

    images: Tensor
    masks: NDArray[np.int32]

    def part(self, start: int, stop: int) -> Rows:
        """Some of the rows."""
        return Rows(self.images[start:stop], self.masks[start:stop])


@dataclass(frozen=True)
class Decoder:
    """Reads pictures, with masks where there are some, and prepares them; can be pickled."""

    reader: Callable[[str], Picture]
    mask_reader: Callable[[str], Mask] | None
    preparation: Preparation

    @staticmethod
    def of(source: FileSource, preparation: Preparation) -> Decoder:
        """That of a source."""
        return Decoder(source.reader, source.mask_reader if source.masks else None, preparation)

    @property
    def mask_shape(self) -> tuple[int, ...]:
        """Of one sample's mask."""
        return self.preparation.targets.shape if self.mask_reader else (0,)

    def empty(self, count: int) -> Rows:
        """Room for so many samples."""
        images = np.empty((count, *self.preparation.shape), np.float32)
        return Rows(images, np.zeros((count, *self.mask_shape), np.int32))

    def __call__(self, keys: Sequence[Key], epoch: int, samples: Integers, rows: Rows) -> list[Failure]:
        """Read, cut, transform and normalise samples into `rows`; returns those that can't be read."""
        failures: list[Failure] = []
        pixels = np.zeros((len(keys), *self.preparation.shape), np.uint8)
        masks = np.zeros((len(keys), *self.preparation.shape[:2]) if self.mask_reader else (0,), np.int32)
        for row, (key, sample) in enumerate(zip(keys, samples, strict=True)):
            try:
                picture = self.reader(key[0])
                if self.mask_reader is not None:
                    mask = self._mask(key, picture)
                    masks[row] = self.preparation.cut_mask(mask, epoch, int(sample))
                pixels[row] = self.preparation.cut(picture, epoch, int(sample))
            except NetcError as error:
                failures.append((row, error.diagnostics[0].message))
        self.preparation.finish(pixels, epoch, samples, rows.images)
        if self.mask_reader is not None:
            rows.masks[:] = self.preparation.finish_masks(masks, epoch, samples)
        return failures

    def _mask(self, key: Key, picture: Picture) -> Mask:
        """The mask of a picture; raises `NetcError` where it doesn't fit picture or net."""
        assert self.mask_reader is not None, "there are masks"
        mask = self.mask_reader(key[1])
        check_mask(mask, key[1], picture)
        check_classes(mask, key[1], self.preparation.targets)
        return mask


def keys_of(source: FileSource, samples: Integers) -> list[Key]:
    """What samples are read from."""
    if source.masks:
        return [(source.keys[i], source.masks[i]) for i in samples]
    return [(source.keys[i],) for i in samples]


def finished(source: FileSource, decoder: Decoder, plan: Plan, rows: Rows, failures: Sequence[Failure]) -> Batch:
    """A batch of what was read: samples that failed are replaced by the next readable ones among the plan's spares.

    Raises `NetcError` if these don't suffice.
    """
    samples = plan.samples.copy()
    messages = [message for _, message in failures]
    for row, _ in failures if plan.spares is not None else ():
        for spare in (plan.spares or ())[row:]:
            samples[row] = spare
            sample = samples[row : row + 1]
            problems = decoder(keys_of(source, sample), plan.epoch, sample, rows.part(row, row + 1))
            if not problems:
                break
            messages.append(problems[0][1])
        else:
            raise NetcError(f"too many pictures of {source.name} can't be read", hint=f"the first: {messages[0]}")
    unusable = tuple(row for row, _ in failures) if plan.spares is None else ()
    given = rows.masks if source.masks else source.labels[samples]
    labels = decoder.preparation.targets_of(given)
    return Batch(plan.epoch, plan.step, rows.images, labels, tuple(messages), unusable)


@dataclass
class BatchStream(Closing):
    """Training data as an endless stream of batches of one size; what is left of an epoch after the last is dropped.

    Used as a context manager, it releases the maker's processes at the end.
    """

    count: int
    batch: int
    maker: Maker
    seed: int = 0
    name: str = "the training data"
    rows: slice = field(default_factory=lambda: slice(None))
    """Which rows of each batch are made here."""
    groups: NDArray[np.int32] | None = None
    """Which file each sample lies in, where these shall be read one after the other."""
    begins: Callable[[int, int, int], None] = lambda epoch, step, epochs: None
    """Told the arguments of each `batches`."""

    def __post_init__(self) -> None:
        if self.count < self.batch:
            hint = f"--batch {self.count} or less"
            raise NetcError(f"{self.name} has {self.count} samples, fewer than a batch of {self.batch}", hint=hint)

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in an epoch."""
        return self.count // self.batch

    def batches(self, epoch: int, step: int, epochs: int) -> Iterator[Batch]:
        """Batches from position `step` of `epoch` up to the end of epoch `epochs` - 1, of each its `rows`."""
        self.begins(epoch, step, epochs)
        return self.maker.make(self._plans(epoch, step, epochs))

    def _plans(self, epoch: int, step: int, epochs: int) -> Iterator[Plan]:
        for current in range(epoch, epochs):
            order = self._order(current)
            for position in range(step if current == epoch else 0, self.steps_per_epoch):
                start = position * self.batch
                samples = order[start : start + self.batch][self.rows]
                after = (start + self.batch + (self.rows.start or 0) + np.arange(self.batch)) % self.count
                yield Plan(current, position, samples, order[after].tolist())

    def _order(self, epoch: int) -> Integers:
        if self.groups is None:
            return permutation(self.count, self.seed, epoch)
        return grouped_permutation(self.groups, self.seed, epoch)

    def close(self) -> None:
        """Release the maker's processes and memory."""
        self.maker.close()


def evaluation_plans(count: int, batch: int) -> Iterator[Plan]:
    """All samples once, in their own order; the last batch may be smaller. Nothing replaces damaged ones."""
    for step, start in enumerate(range(0, count, batch)):
        yield Plan(0, step, np.arange(start, min(start + batch, count), dtype=np.int64))
