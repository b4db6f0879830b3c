"""A file read so that the result of each node is an output: for comparing node by node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...compiler.graph.ir import Array, Graph
from .library import library
from .reader import graph_of, read_model
from .sizes import sizes_of


@dataclass(frozen=True)
class Watched:
    """A model, its graph with an output for each result of a node, and their places in the file."""

    model: Any
    """The ModelProto, with external data in it."""
    graph: Graph
    names: tuple[str, ...]
    """The outputs of the graph, as the file calls them."""
    titles: Mapping[str, str]
    """The node that gives a result: its number, name and operator."""
    fixed: Mapping[str, Array]
    """Inputs whose values were given."""


def watched(path: str, batch: int = 1, settings: Mapping[str, Any] | None = None) -> Watched:
    """Read a file like `load_onnx`. Results that are known while it is read, and sequences, are left out."""
    model = read_model(path)
    file = Path(path)
    nodes = {name: f"node {i} " + _title(n) for i, n in enumerate(model.graph.node) for name in n.output if name}
    graph = graph_of(model, file.stem, file.parent, batch=batch, settings=settings, watch=True)
    sizes = sizes_of(model, batch, settings)
    fixed = {info.name: sizes.fixed(info) for info in sizes.infos}
    library().external_data_helper.load_external_data_for_model(model, str(file.parent))
    names = tuple(graph.attributes["signature"]["outputs"])
    return Watched(model, graph, names, nodes, {n: a for n, a in fixed.items() if a is not None})


def _title(node: Any) -> str:
    return f"`{node.name}` ({node.op_type})" if node.name else f"({node.op_type})"
