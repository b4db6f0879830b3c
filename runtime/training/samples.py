"""From samples to the tensors that a net takes: sizes, augmentation, normalisation.

`Preparation` holds what a sample goes through; it can be pickled, so that worker processes do the same to it as this
one would.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...compiler.errors import NetcError
from ...compiler.signature import Network
from ...compiler.training import Loss
from ..data.classes import SAME_CLASSES, Classes, ClassMap, match_classes
from ..data.images import Picture, Pixels, Preprocess, assumption, depth_note, eight_bits
from ..data.interpretation import Facts, Interpretation, interpret
from ..data.labels import NO_LABELS
from ..data.labels import Labels as ClassNames
from ..data.layout import sample_shape
from ..data.source import ArraySource, FileSource, Source
from ..data.targets import (
    CLASS_NUMBERS,
    TargetFacts,
    Targets,
    assumed_loss,
    check_classes,
    fit_targets,
    ignoring,
    real_type,
)
from .augment import NO_AUGMENTATION, Augmentation
from .random import Integers, SampleRandom

Tensor = NDArray[np.float32]

_LOOKED_AT = 10
"""Files of which the first readable one tells how deep pictures are."""


@dataclass(frozen=True)
class Preparation:
    """What happens to pictures: cutting to size (by the net's preprocessing or at random), transforms, normalisation.

    `preprocess` None means that samples are taken as they are. `seed` is that of everything random.
    """

    shape: tuple[int, ...]
    """Of one sample, as the net takes it."""
    preprocess: Preprocess | None = None
    augmentation: Augmentation = NO_AUGMENTATION
    seed: int = 0
    classes: ClassMap = SAME_CLASSES
    """The net's number for each class of the data."""
    targets: Targets = CLASS_NUMBERS
    """What the loss takes."""
    interpretation: Interpretation | None = None
    """What an array of samples means; None: uint8 pictures, or values if there is no `preprocess`."""
    notes: tuple[str, ...] = ()
    """What isn't plain about the data, for people."""

    @property
    def resizes(self) -> bool:
        """Whether samples are pictures that can have any size."""
        whole = self.interpretation is None or self.interpretation.exact
        return self.preprocess is not None and whole and len(self.shape) == 3

    def interpret(self, values: NDArray[Any]) -> NDArray[Any]:
        """Samples [n, ...] as `finish` takes them, though pictures may have another size."""
        return values if self.interpretation is None else self.interpretation(values)

    def cut(self, picture: Picture, epoch: int, sample: int) -> Pixels:
        """Bring one decoded picture to the net's size and channels: uint8 [H, W, C]."""
        assert self.preprocess is not None, "only pictures are cut"
        picture = eight_bits(picture, self.preprocess.white)  # said in the notes
        part = self.augmentation.part
        if part is None:
            return self.preprocess.pixels(picture)
        height, width, channels = self.shape
        random = SampleRandom(self.seed, epoch, np.array([sample], np.int64))
        cut = part.cut(picture, height, width, random)
        return cut if cut.shape[2] == channels else replace(self.preprocess, crop=None).pixels(cut)

    def cut_mask(self, mask: NDArray[Any], epoch: int, sample: int) -> NDArray[Any]:
        """Bring the mask [h, w] of a picture to the net's size as `cut` does the picture."""
        assert self.preprocess is not None, "only pictures have masks that are cut"
        part = self.augmentation.part
        if part is None:
            return self.preprocess.mask(mask)
        height, width, _ = self.shape
        return part.cut_mask(mask, height, width, SampleRandom(self.seed, epoch, np.array([sample], np.int64)))

    def finish_masks(self, masks: NDArray[Any], epoch: int, samples: Integers) -> NDArray[Any]:
        """Move masks [n, H, W] of the right size as `finish` moves their pictures, and bring them to the loss's size.

        `masks` is scratch. What lies beside a picture doesn't count, or is class 0 where everything counts.
        """
        random = SampleRandom(self.seed, epoch, samples)
        outside = self.targets.ignored or 0
        moved = masks[..., np.newaxis]
        for transform in self.augmentation.transforms:
            moved = transform.move(moved, random, outside)
        return _at_size(moved[..., 0], self.targets.shape)

    def targets_of(self, labels: NDArray[Any]) -> NDArray[Any]:
        """What the loss takes for targets [n, ...] of the data."""
        return self.targets(self.classes(labels))

    def finish(self, values: NDArray[Any], epoch: int, samples: Integers, out: Tensor) -> None:
        """Transform and normalise samples of the right size into `out`; `values` is scratch.

        These are pictures, uint8 [n, H, W, C], or pixels with fractions, or values, which are only copied.
        """
        if self.preprocess is None:
            out[:] = values.reshape(out.shape)
            return
        random = SampleRandom(self.seed, epoch, samples)
        for transform in self.augmentation.transforms:
            values = transform(values, random)
        self._normalize(values, out)

    def _normalize(self, pixels: NDArray[Any], out: Tensor) -> None:
        """(pixel - divide * mean) / (divide * std): within rounding of `Preprocess.normalize`, and much faster."""
        offset, divisor = self._affine
        width = len(divisor)
        rows, results = pixels.reshape(-1, width), out.reshape(-1, width)
        if offset.any():
            np.subtract(rows, offset, out=results)
            np.divide(results, divisor, out=results)
        else:
            np.divide(rows, divisor, out=results)

    @cached_property
    def _affine(self) -> tuple[Tensor, Tensor]:
        """Offset and divisor for a row of pixels, [W * C] each: long rows keep NumPy's inner loop busy."""
        assert self.preprocess is not None, "only pictures are normalised"
        width, channels = math.prod(self.shape[1:-1]), self.shape[-1]
        mean, std = (np.broadcast_to(v, channels) for v in (self.preprocess.mean, self.preprocess.std))
        offset, divisor = self.preprocess.divide * mean, self.preprocess.divide * std
        return np.tile(offset, width).astype(np.float32), np.tile(divisor, width).astype(np.float32)


def preparation_for(
    graph: Network,
    source: Source,
    augmentation: Augmentation,
    seed: int = 0,
    *,
    labels: ClassNames = NO_LABELS,
    loss: Loss | None = None,
) -> Preparation:
    """How samples of `source` become inputs of `graph`, whose classes are called `labels`, and targets of `loss`.

    Without a loss, the targets tell what the net was trained for. Raises `NetcError` if they don't fit it.
    """
    if len(graph.inputs) != 1:
        raise NetcError(f"net {graph.name} takes {len(graph.inputs)} inputs; training feeds one")
    facts, found = TargetFacts.of(source), _interpretation(graph, source)
    shape = sample_shape(graph) if isinstance(source, ArraySource) else found.shape
    if len(graph.outputs) != 1 or graph.outputs[0].type.rank < 1:
        classes, targets = _class_numbers(graph, source, labels), CLASS_NUMBERS
    else:
        output = real_type(graph)
        chosen = ignoring(loss or assumed_loss(output, facts), output, facts)
        targets = fit_targets(graph, chosen, facts, found.shape[:2] if found.resizable else None)
        classes = _class_map(graph, source, labels, targets)
    if augmentation and not found.resizable:
        raise NetcError(f"{source.name} holds real numbers, not pictures: they can't be augmented")
    check_part(graph, augmentation)
    _check_sizes(source, found, targets, augmentation)
    _check_masks(source, targets)
    assumed = assumption(graph) if found.preprocess is not None else None
    notes = (*source.notes, *found.notes, *classes.notes, *targets.notes, *_depth_notes(source, found))
    notes = (*notes, assumed) if assumed else notes
    return Preparation(shape, found.preprocess, augmentation, seed, classes, targets, found, notes)


def _class_map(graph: Network, source: Source, labels: ClassNames, targets: Targets) -> ClassMap:
    """The net's numbers of classes, and their names where each output has one."""
    if targets.for_samples and not targets.one_hot:
        return _class_numbers(graph, source, labels)
    count = graph.outputs[0].type.shape[-1]
    names = source.names or labels.names
    if names is None or len(names) != count:
        return SAME_CLASSES
    return ClassMap(names=names)


def _class_numbers(graph: Network, source: Source, labels: ClassNames) -> ClassMap:
    own = Classes(source.name, source.classes, source.names)
    return match_classes(graph, own, int(source.labels.max(initial=0)), labels)


def _check_sizes(source: Source, found: Interpretation, targets: Targets, augmentation: Augmentation) -> None:
    """Refuse targets that can't follow their pictures."""
    if not isinstance(source, ArraySource) or len(targets.shape) < 2:
        return
    given, pictures = source.labels.shape[1:], found.shape[:2]
    if targets.grid and found.preprocess is not None and len(found.shape) == 3:
        if given != pictures:
            raise NetcError(f"{source.name} has pictures of {_size(pictures)} pixels, but targets for {_size(given)}")
    elif augmentation and given[:2] == pictures:
        raise NetcError(f"targets of {source.name}, {_size(given)}, can't move with pictures that are augmented")


def _check_masks(source: Source, targets: Targets) -> None:
    """Refuse masks with classes that the net doesn't have, by the first ones that can be read."""
    if not isinstance(source, FileSource) or not source.masks:
        return
    for name in source.masks[:_LOOKED_AT]:
        try:
            mask = source.mask_reader(name)
        except NetcError:
            continue  # it is skipped, which is said then
        check_classes(mask, name, targets)


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _at_size(masks: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Masks [n, H, W] with as many pixels as `shape` says: the nearest ones of those there are."""
    if masks.shape[1:] == shape:
        return masks
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new) for new, old in zip(shape, masks.shape[1:], strict=True)
    )
    return masks[:, rows[:, np.newaxis], columns]


def _interpretation(graph: Network, source: Source) -> Interpretation:
    if isinstance(source, ArraySource):
        return interpret(graph, source.facts or Facts.of(source.name, source.values))
    preprocess = Preprocess.of(graph)
    return Interpretation((preprocess.height, preprocess.width, preprocess.channels), preprocess)


def check_part(graph: Network, augmentation: Augmentation) -> None:
    """Raise `NetcError` if pictures are cut out in another size than the net takes."""
    part, shape = augmentation.part, sample_shape(graph)
    if part is not None and part.size is not None and shape[:2] != (part.size, part.size):
        size = f"{shape[0]} x {shape[1]}"
        raise NetcError(f"random_resized_crop({part.size}) doesn't fit net {graph.name}, which takes {size} pixels")


def _depth_notes(source: Source, found: Interpretation) -> tuple[str, ...]:
    """What is lost of pictures with more than 8 bits, by the first one that can be read."""
    if isinstance(source, ArraySource) or found.preprocess is None:
        return ()
    for key in source.keys[:_LOOKED_AT]:
        try:
            note = depth_note(source.reader(key), key, found.preprocess.white)
        except NetcError:
            continue
        return (note,) if note else ()
    return ()
