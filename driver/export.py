"""Networks as files for other tools: TFLite."""

from __future__ import annotations

import os

from .compiler.graph.ir import Graph
from .compiler.tflite import to_tflite, write_bytes
from .picture import class_labels
from .pipeline import Source, Weights, find_weights, load


def write_tflite(source: Source, path: str | os.PathLike[str], *, weights: Weights = None, seed: int = 0) -> None:
    """Write a network as a TFLite file, with its labels and the normalisation of its pictures.

    `source` is a graph, quantized or not, or what `load` takes; `weights` are the values of its parameters as for
    `compile`. The file is written in one step. Raises `NetcError` for what TFLite has no form of.
    """
    graph = load(source)
    params = find_weights(weights, graph, seed) if graph.parameters else {}
    labels = class_labels(graph, "" if isinstance(source, Graph) else os.fspath(source))
    write_bytes(path, to_tflite(graph, params, labels=labels.names))
