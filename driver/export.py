"""Networks as files for other tools: TFLite."""

from __future__ import annotations

import os

from .classes import class_labels
from .compiler.files import write_bytes
from .compiler.graph.ir import Graph
from .compiler.tflite import to_tflite
from .loading import Source, Weights, find_weights, load


def write_tflite(source: Source, path: str | os.PathLike[str], *, weights: Weights = None, seed: int = 0) -> None:
    """Write a network as a TFLite file, with its labels and the preprocessing of its pictures.

    `source` is a graph, quantized or not, or what `load` takes; `weights` are the values of its parameters as for
    `compile`. The file is written in one step. Raises `NetcError` for what TFLite has no form of.
    """
    model = "" if isinstance(source, Graph) else os.fspath(source)
    write_graph(path, load(source), weights, seed, model)


def write_graph(path: str | os.PathLike[str], graph: Graph, weights: Weights, seed: int, model: str) -> None:
    """`write_tflite` of a graph that came from the path `model`."""
    write_bytes(path, tflite_bytes(graph, weights, seed, model))


def tflite_bytes(graph: Graph, weights: Weights = None, seed: int = 0, model: str = "") -> bytes:
    """The TFLite file of a graph; the file of its labels is looked for beside `model`, the path that it came from."""
    params = find_weights(weights, graph, seed) if graph.weights else {}
    return to_tflite(graph, params, labels=class_labels(graph, model).names)
