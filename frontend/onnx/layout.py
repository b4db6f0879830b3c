"""The order of dimensions: transposes around channels-last operators are moved until they meet their inverses."""

from __future__ import annotations

from ...compiler.graph.ir import Graph
from ...compiler.passes.dce import dce
from ...compiler.passes.sink_transposes import sink_transposes


def arranged(graph: Graph) -> Graph:
    """The same network with as few transposes as these rules leave."""
    return sink_transposes(dce(graph))
