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
from ..images import Pixels, Preprocess
from .augment import NO_AUGMENTATION, Augmentation
from .random import Integers, SampleRandom
from .sources import ArraySource, Source

Tensor = NDArray[np.float32]


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
    label_offset: int = 0
    """Added to every label."""

    def cut(self, picture: Pixels, epoch: int, sample: int) -> Pixels:
        """Bring one decoded picture to the net's size and channels: uint8 [H, W, C]."""
        assert self.preprocess is not None, "only pictures are cut"
        part = self.augmentation.part
        if part is None:
            return self.preprocess.pixels(picture)
        height, width, channels = self.shape
        random = SampleRandom(self.seed, epoch, np.array([sample], np.int64))
        cut = part.cut(picture, height, width, random)
        return cut if cut.shape[2] == channels else replace(self.preprocess, crop=None).pixels(cut)

    def finish(self, values: NDArray[Any], epoch: int, samples: Integers, out: Tensor) -> None:
        """Transform and normalise pictures of the right size, uint8 [n, H, W, C], into `out`; `values` is scratch."""
        if self.preprocess is None:
            out[:] = values.reshape(out.shape)
            return
        random = SampleRandom(self.seed, epoch, samples)
        for transform in self.augmentation.transforms:
            values = transform(values, random)
        self._normalize(values, out)

    def _normalize(self, pixels: Pixels, out: Tensor) -> None:
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
        _, width, channels = self.shape
        mean, std = (np.broadcast_to(v, channels) for v in (self.preprocess.mean, self.preprocess.std))
        offset, divisor = self.preprocess.divide * mean, self.preprocess.divide * std
        return np.tile(offset, width).astype(np.float32), np.tile(divisor, width).astype(np.float32)


def preparation_for(graph: Graph, source: Source, augmentation: Augmentation, seed: int = 0) -> Preparation:
    """How samples of `source` become inputs of `graph`; raises `NetcError` if they don't fit it."""
    if len(graph.inputs) != 1:
        raise NetcError(f"net {graph.name} takes {len(graph.inputs)} inputs; training feeds one")
    shape = graph.inputs[0].type.shape[1:]
    offset = label_offset(graph, source)
    if isinstance(source, ArraySource) and source.values.dtype != np.uint8:
        return _plain(graph, source, augmentation, shape, offset)
    preprocess = Preprocess.of(graph)
    part = augmentation.part
    if part is not None and part.size is not None and shape[:2] != (part.size, part.size):
        size = f"{shape[0]} x {shape[1]}"
        raise NetcError(f"random_resized_crop({part.size}) doesn't fit net {graph.name}, which takes {size} pixels")
    return Preparation(shape, preprocess, augmentation, seed, offset)


def _plain(
    graph: Graph, source: ArraySource, augmentation: Augmentation, shape: tuple[int, ...], offset: int
) -> Preparation:
    if augmentation:
        raise NetcError(f"{source.name} holds real numbers, not pictures: they can't be augmented")
    if math.prod(source.values.shape[1:]) != math.prod(shape):
        has, takes = (",".join(map(str, s)) for s in (source.values.shape[1:], shape))
        raise NetcError(f"samples of {source.name} have shape [{has}], net {graph.name} takes [{takes}]")
    return Preparation(shape, label_offset=offset)


def label_offset(graph: Graph, source: Source) -> int:
    """What to add to a label: 0, or 1 for a net whose first output is a background class, as in `netc eval`.

    Raises `NetcError` unless the output is [N, classes], or [N, 1] for two classes.
    """
    type_ = graph.outputs[0].type
    columns = type_.shape[1] if type_.rank == 2 else 0
    if columns == 1 and source.classes == 2:
        return 0
    if len(graph.outputs) != 1 or columns - source.classes not in (0, 1):
        gives = ", ".join(str(v.type) for v in graph.outputs)
        hint = f"--set classes={source.classes}, if the net has this hyperparameter"
        raise NetcError(f"net {graph.name} gives {gives}, but {source.name} has {source.classes} classes", hint=hint)
    return columns - source.classes
