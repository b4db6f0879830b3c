"""From scores to classes: what a net's outputs are called, and which of them are the most probable."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .compiler.errors import NetcError
from .compiler.signature import Array, Network, Signature
from .frontend.roots import allowed_folders, models_folder
from .runtime.data.folder import data_folder
from .runtime.data.labels import Labels, read_labels, saved_labels

if TYPE_CHECKING:
    from .loading import Weights


@dataclass(frozen=True, slots=True)
class Class:
    """One of a net's answers."""

    index: int
    name: str
    probability: float


def class_labels(graph: Network, model: str, weights: Weights = None) -> Labels:
    """The net's class names: those that its weights were trained for, if their file says so, else those it declares.

    The file that the net names lies beside the net, with the shipped nets, or with the data.
    """
    if isinstance(weights, str | os.PathLike) and (saved := saved_labels(weights, graph)) is not None:
        return saved
    from .frontend.index import locate

    beside = [locate(model)[0].parent] if model else []
    return read_labels(graph, chain(beside, (models_folder(),), _data_folders()), allowed_folders(), _names_of_set)


def usable_labels(graph: Network, model: str, weights: Weights = None, *, background: bool = False) -> Labels:
    """`class_labels`, or none and a note where they don't fit the net; `background`: someone said that it has one."""
    try:
        return replace(class_labels(graph, model, weights), background=background)
    except NetcError as error:
        return Labels(note=f"{error.diagnostics[0].message}: not used", background=background)


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


def _data_folders() -> Iterator[Path]:
    try:
        data = data_folder()
    except NetcError:
        return
    yield data
    from .runtime.data.registry import named_sets  # brings all kinds of data along

    yield from (data / kind.home for kind in named_sets() if os.path.isdir(data / kind.home))


def _names_of_set(name: str) -> tuple[str, ...] | None:
    from .runtime.data.registry import class_names

    return class_names(name)
