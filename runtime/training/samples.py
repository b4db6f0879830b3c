"""From samples to the tensors that a net takes: sizes, augmentation, normalisation.

`Preparation` holds what a sample goes through; it can be pickled, so that worker processes do the same to it as this
one would.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...compiler.errors import NetcError
from ...compiler.graph.ir import Graph
from ..data.classes import SAME_CLASSES, Classes, ClassMap, match_classes
from ..data.images import Picture, Pixels, Preprocess, depth_note, eight_bits
from ..data.interpretation import Facts, Interpretation, interpret
from ..data.labels import NO_LABELS
from ..data.labels import Labels as ClassNames
from ..data.source import ArraySource, Source
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
    graph: Graph,
    source: Source,
    augmentation: Augmentation,
    seed: int = 0,
    *,
    labels: ClassNames = NO_LABELS,
) -> Preparation:
    """How samples of `source` become inputs of `graph`, whose classes are called `labels`.

    Raises `NetcError` if they don't fit it.
    """
    if len(graph.inputs) != 1:
        raise NetcError(f"net {graph.name} takes {len(graph.inputs)} inputs; training feeds one")
    shape = graph.inputs[0].type.shape[1:]
    own = Classes(source.name, source.classes, source.names)
    classes = match_classes(graph, own, int(source.labels.max(initial=0)), labels)
    found = _interpretation(graph, source)
    if augmentation and (found.preprocess is None or not found.exact or len(shape) != 3):
        raise NetcError(f"{source.name} holds real numbers, not pictures: they can't be augmented")
    check_part(graph, augmentation)
    notes = (*source.notes, *found.notes, *classes.notes, *_depth_notes(source, found))
    return Preparation(shape, found.preprocess, augmentation, seed, classes, found, notes)


def _interpretation(graph: Graph, source: Source) -> Interpretation:
    if isinstance(source, ArraySource):
        return interpret(graph, source.facts or Facts.of(source.name, source.values))
    preprocess = Preprocess.of(graph)
    return Interpretation((preprocess.height, preprocess.width, preprocess.channels), preprocess)


def check_part(graph: Graph, augmentation: Augmentation) -> None:
    """Raise `NetcError` if pictures are cut out in another size than the net takes."""
    part, shape = augmentation.part, graph.inputs[0].type.shape[1:]
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
