"""Graphs in text form, as `--emit graph` writes them: read from files, with errors that show the line."""

from __future__ import annotations

import os

from ..compiler.errors import NetcError
from ..compiler.graph.ir import Graph
from ..compiler.graph.parser import parse_graph
from ..compiler.reading import read_text
from .diagnostics import SourceError

MAX_GRAPH = 1 << 30
"""Largest text of a graph, in bytes: it may hold weights."""


def load_graph(path: str | os.PathLike[str]) -> Graph:
    """Read a graph from a file; raises `NetcError` for what is wrong with it."""
    return graph_of_text(read_text(path, "graph", MAX_GRAPH), os.fspath(path))


def graph_of_text(text: str, name: str) -> Graph:
    """The graph that stands in a text called `name`."""
    try:
        return parse_graph(text, name)
    except NetcError as error:
        raise SourceError(error.diagnostics, {name: text}) from None
