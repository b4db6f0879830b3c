"""From the command line's options to a net's input: pictures, the shipped samples, class names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .compiler.errors import NetcError
from .compiler.graph.ir import Array, Graph
from .frontend import models_folder
from .runtime.datasets import data_folder
from .runtime.images import Preprocess, decode
from .runtime.labels import Labels, read_labels


@dataclass(frozen=True, slots=True)
class Class:
    """One of a net's answers."""

    index: int
    name: str
    probability: float


def load_picture(graph: Graph, image: str | None) -> tuple[NDArray[np.float32], str | None]:
    """The picture at `image` as the net's input [N, H, W, C], repeated N times, and a note.

    Without one it is the sample that ships with netc: a panda in colour, a digit in grey.
    """
    preprocess = Preprocess.of(graph)
    sample = models_folder() / ("digit.png" if preprocess.channels == 1 else "sample.png")
    note = None if image else f"no --image given: using the sample picture {sample}"
    tensor = preprocess(decode(image or sample))
    return np.repeat(tensor[np.newaxis], graph.inputs[0].type.shape[0], axis=0), note


def class_labels(graph: Graph, model: str) -> Labels:
    """The net's class names: the file that it names lies beside the net, with the shipped nets, or with the data."""
    folders = [models_folder(), *_label_data_folders()]
    if Path(model).is_file():
        folders.insert(0, Path(model).parent)
    return read_labels(graph, folders)


def best_classes(scores: Array, labels: Labels, count: int) -> list[Class]:
    """The `count` most probable classes by softmax of one row of scores; of equal ones the lower index leads."""
    shifted = np.asarray(scores, np.float64) - np.max(scores)
    exponentials = np.exp(shifted)
    probabilities = exponentials / exponentials.sum()
    order = np.argsort(-probabilities, kind="stable")[:count]
    return [Class(int(i), labels[int(i)], float(probabilities[i])) for i in order]


def _label_data_folders() -> Sequence[Path]:
    try:
        data = data_folder()
    except NetcError:
        return ()
    return data, data / "imagenet_samples"
