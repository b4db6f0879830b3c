"""From the command line's options to a net's input: pictures and the shipped samples."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .compiler.errors import NetcError
from .compiler.signature import Array, Network
from .frontend.roots import models_folder
from .runtime.data.images import Pixels, Preprocess, decode, depth_note, eight_bits
from .runtime.data.layout import as_input


@dataclass(frozen=True, slots=True)
class Loaded:
    """A picture for a net."""

    picture: Pixels
    preprocess: Preprocess
    tensor: Array
    """A sample of the net's input, [H, W, C]."""
    note: str | None
    """What was lost of it."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Pictures by their paths."""

    paths: tuple[str, ...]
    several: bool
    """Whether the answer is one of a list, even if there is only one."""
    notes: tuple[str, ...] = ()


def choose_pictures(graph: Network, given: Sequence[str]) -> Chosen:
    """The pictures at `given` paths, of folders those in them and below; raises `NetcError` if there are none.

    Without a path it is the sample that ships with netc: a panda in colour, a digit in grey.
    """
    if not given:
        sample = models_folder() / ("digit.png" if Preprocess.of(graph).channels == 1 else "sample.png")
        return Chosen((str(sample),), False, (f"no --image given: using the sample picture {sample}",))
    paths: list[str] = []
    notes: list[str] = []
    for path in given:
        if not os.path.isdir(path):
            paths.append(path)
            continue
        from .runtime.data.picture_files import find_pictures, first_few

        found = find_pictures(Path(path))
        notes += (f"not read: {reason}" for reason in first_few(found.skipped))
        if not found.files:
            raise NetcError(f"there are no pictures in the folder {path}")
        paths += found.files
    return Chosen(tuple(paths), len(given) > 1 or os.path.isdir(given[0]), tuple(notes))


def load_picture(graph: Network, path: str) -> Loaded:
    """The picture at `path`; raises `NetcError` if it can't be read, or the net takes no pictures."""
    preprocess = Preprocess.of(graph)
    stored = decode(path)
    picture = eight_bits(stored, preprocess.white)
    tensor = as_input(preprocess(picture), graph.inputs[0].type)
    return Loaded(picture, preprocess, tensor, depth_note(stored, path, preprocess.white))


def at_once(graph: Network) -> int:
    """Of how many pictures a call gives the answers: one where samples aren't known to be independent."""
    count = graph.inputs[0].type.shape[0]
    is_apart = not graph.states and all(v.type.shape[:1] == (count,) for v in graph.results)
    return count if is_apart else 1


def as_batch(graph: Network, tensors: Sequence[Array]) -> Array:
    """The net's input of a few samples; the last one fills it up."""
    count = graph.inputs[0].type.shape[0]
    return np.stack([*tensors, *[tensors[-1]] * (count - len(tensors))])
