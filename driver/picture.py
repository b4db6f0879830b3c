"""From the command line's options to a net's input: pictures, the shipped samples, class names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .compiler.errors import NetcError
from .compiler.signature import Array, Network, Signature
from .frontend.roots import allowed_folders, models_folder
from .runtime.data.folder import data_folder
from .runtime.data.images import Pixels, Preprocess, decode, depth_note, eight_bits
from .runtime.data.labels import Labels, read_labels, saved_labels
from .runtime.data.layout import as_input

if TYPE_CHECKING:
    from .pipeline import Weights


@dataclass(frozen=True, slots=True)
class Class:
    """One of a net's answers."""

    index: int
    name: str
    probability: float


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


def class_labels(graph: Network, model: str, weights: Weights = None) -> Labels:
    """The net's class names: those that its weights were trained for, if their file says so, else those it declares.

    The file that the net names lies beside the net, with the shipped nets, or with the data.
    """
    if isinstance(weights, str | os.PathLike) and (saved := saved_labels(weights, graph)) is not None:
        return saved
    from .frontend.loading import locate
    from .runtime.data.registry import class_names

    folders = [models_folder(), *_label_data_folders()]
    if model:
        folders.insert(0, locate(model)[0].parent)
    return read_labels(graph, folders, allowed_folders(), class_names)


def usable_labels(graph: Network, model: str, weights: Weights = None, *, background: bool = False) -> Labels:
    """`class_labels`, or none and a note where they don't fit the net; `background`: someone said that it has one."""
    try:
        return replace(class_labels(graph, model, weights), background=background)
    except NetcError as error:
        return Labels(note=f"{error.diagnostics[0].message}: not used", background=background)


def real_scores(graph: Network, output: Array) -> Array:
    """The numbers that the elements of the first output stand for."""
    given = graph.results[0].type.quantization
    if given is None:
        return output
    real: Array = (output.astype(np.float64) - given.zero_point) * given.scale
    return real


def gives_probabilities(network: Network) -> bool:
    """True if the first output is made by softmax."""
    if isinstance(network, Signature):
        return network.gives_probabilities
    from .compiler.graph.ir import Graph
    from .probabilities import ends_in_softmax  # brings all operators along

    assert isinstance(network, Graph), "a network is a graph, or the signature of one"
    return ends_in_softmax(network)


def best_classes(scores: Array, labels: Labels, count: int, *, probable: bool = False) -> list[Class]:
    """The `count` most probable classes of one row of scores; of equal ones the lower index leads.

    Softmax makes probabilities of the scores, unless they are `probable` already.
    """
    shifted = np.asarray(scores, np.float64)
    exponentials = shifted if probable else np.exp(shifted - shifted.max())
    probabilities = exponentials if probable else exponentials / exponentials.sum()
    order = np.argsort(-probabilities, kind="stable")[:count]
    return [Class(int(i), labels[int(i)], float(probabilities[i])) for i in order]


def _label_data_folders() -> Sequence[Path]:
    from .runtime.data.registry import named_sets

    try:
        data = data_folder()
    except NetcError:
        return ()
    return data, *(data / kind.home for kind in named_sets() if os.path.isdir(data / kind.home))
