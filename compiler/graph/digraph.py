"""Graphs for networkx: its algorithms and drawing on the operations of a graph.

networkx takes a while to import, so nothing on the way from text to program imports this module.
"""

from __future__ import annotations

import networkx as nx

from .ir import Graph, Operation, Value


def to_networkx(graph: Graph) -> nx.MultiDiGraph[Operation | Value]:
    """A directed graph of the inputs and operations; an edge for each operand, with `value` and its place `operand`."""
    result: nx.MultiDiGraph[Operation | Value] = nx.MultiDiGraph(name=graph.name)
    result.add_nodes_from((v, {"label": f"%{v.name}"}) for v in graph.inputs)
    result.add_nodes_from((op, {"label": op.name}) for op in graph.operations)
    for op in graph.operations:
        for place, value in enumerate(op.operands):
            result.add_edge(graph.producers.get(value, value), op, value=value, operand=place)
    return result
