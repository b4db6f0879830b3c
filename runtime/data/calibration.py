"""Samples to calibrate with: pictures in a folder or in an archive, spread evenly, or the first of a data set.

What can't be read is passed over as if it weren't there, so that the same pictures are taken with and without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...compiler.errors import NetcError
from ...compiler.graph.ir import Array, Graph
from .images import Preprocess, assumption, eight_bits, white_of
from .interpretation import Facts, interpret
from .layout import as_input
from .source import ArraySource, PictureFiles, Source

CalibrationSamples = Source | PictureFiles


def taken(samples: CalibrationSamples, limit: int) -> Iterator[NDArray[Any]]:
    """Up to `limit` samples, as they are: of files every n-th, of a data set the first."""
    if isinstance(samples, PictureFiles):
        return map(samples.reader, samples.take(limit))
    return (sample for sample, _ in islice(samples, limit))


def notes_on(samples: CalibrationSamples, graph: Graph, limit: int) -> tuple[str, ...]:
    """What is passed over of `limit` samples, lost of them, or guessed about them as samples of `graph`, for people."""
    assumed = assumption(graph) if are_pictures(graph, samples) else None
    rest = (assumed,) if assumed else ()
    if isinstance(samples, PictureFiles):
        return (*samples.notes(limit, white_of(graph)), *rest)
    guessed = interpret(graph, facts_of(samples)).notes if isinstance(samples, ArraySource) else ()
    return (*samples.notes, *guessed, *rest)


def facts_of(source: ArraySource) -> Facts:
    """What all numbers of a source are."""
    return source.facts or Facts.of(source.name, source.values)


def are_pictures(graph: Graph, samples: CalibrationSamples) -> bool:
    """Whether samples are pictures to a graph, which its `preprocess` is for; else they are values."""
    if not isinstance(samples, ArraySource):
        return True
    pixels = samples.values.dtype == np.uint8 and samples.values.ndim in (3, 4)
    return pixels and graph.inputs[0].type.rank == 4 and interpret(graph, facts_of(samples)).preprocess is not None


def calibration_inputs(graph: Graph, samples: CalibrationSamples, limit: int = 100) -> Iterator[Array]:
    """Inputs float32 of a graph, made of up to `limit` pictures as it declares, with channels where it has them.

    A last batch that would not be full is left out, unless it is the only one. Raises `NetcError` if there are no
    pictures.
    """
    preprocess = Preprocess.of(graph)
    size = graph.inputs[0].type.shape[0]
    rest = taken(samples, limit)
    found = False
    while chunk := [preprocess(eight_bits(picture, preprocess.white)) for picture in islice(rest, size)]:
        if len(chunk) < size and found:
            return
        found = True
        yield as_input(np.stack([chunk[i % len(chunk)] for i in range(size)]), graph.inputs[0].type)
    if not found:
        name = samples.origin if isinstance(samples, PictureFiles) else samples.name
        reasons = "; ".join(samples.skipped) if isinstance(samples, PictureFiles) else ""
        raise NetcError(f"there are no pictures in {name}", hint=reasons or None)
