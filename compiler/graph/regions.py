"""Graphs inside operations: the branches of `if`, condition and body of `while`.

They see nothing but their inputs, hold no parameters, and have values of their own. What runs on a graph has to be said
of them, too, where it matters: `map_regions` does that for what makes a graph of a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import MappingProxyType

from .builder import GraphBuilder
from .ir import Graph, Operation


def regions_of(op: Operation) -> tuple[Graph, ...]:
    """The graphs that an operation runs."""
    return tuple(op.attributes[name] for name in op.operator.regions)


def map_regions(graph: Graph, function: Callable[[Graph], Graph]) -> Graph:
    """The graph with what a function makes of the graphs inside its operations; itself if that is nothing new.

    Values stay the same. Graphs inside those are the function's business.
    """
    operations = tuple(_mapped(op, function) for op in graph.operations)
    return replace(graph, operations=operations) if operations != graph.operations else graph


def _mapped(op: Operation, function: Callable[[Graph], Graph]) -> Operation:
    if not op.operator.regions:
        return op
    new = {name: function(op.attributes[name]) for name in op.operator.regions}
    if all(new[name] is op.attributes[name] for name in new):
        return op
    return replace(op, attributes=MappingProxyType({**op.attributes, **new}))


def all_graphs(graph: Graph) -> Iterator[Graph]:
    """The graph, and all inside it."""
    yield graph
    for op in graph.operations:
        for inner in regions_of(op):
            yield from all_graphs(inner)


def with_own_values(graph: Graph) -> Graph:
    """The graph with copies of those inside it, so that no value stands in two of them."""
    return map_regions(graph, lambda inner: with_own_values(_copied(inner)))


def _copied(graph: Graph) -> Graph:
    b = GraphBuilder(graph.name, graph.attributes)
    inputs = [b.input(v.name or "", v.type) for v in graph.inputs]
    values = dict(zip(graph.inputs, inputs, strict=True))
    for op in graph.operations:
        results = tuple(replace(r) for r in op.results)
        b.append(replace(op, operands=tuple(values[v] for v in op.operands), results=results))
        values.update(zip(op.results, results, strict=True))
    return b.finish([values[v] for v in graph.outputs])
