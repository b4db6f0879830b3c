"""Nodes in an order in which each stands behind those whose results it takes.

ONNX demands that order of files, but ONNX Runtime sorts them itself, and some exporters leave it to that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any


def in_order(nodes: Sequence[Any]) -> list[tuple[int, Any]]:
    """Nodes with their numbers in the file, the first of them first where several may be next.

    In a cycle a node stands before one whose result it takes.
    """
    makers = {name: number for number, node in reversed(list(enumerate(nodes))) for name in node.output if name}
    needs = [[makers[name] for name in _read(node) if name in makers] for node in nodes]
    if all(need < number for number, own in enumerate(needs) for need in own):
        return list(enumerate(nodes))
    order: dict[int, None] = {}
    for number in range(len(nodes)):
        _place(number, needs, order)
    return [(number, nodes[number]) for number in order]


def _place(number: int, needs: Sequence[Sequence[int]], order: dict[int, None]) -> None:
    """Add a node to the order, behind those that it needs."""
    path, begun = [number], set[int]()
    while path:
        here = path[-1]
        waiting = [] if here in begun else [n for n in reversed(needs[here]) if n not in order and n not in begun]
        begun.add(here)
        if waiting:
            path += waiting
        else:
            order[path.pop()] = None


def _read(node: Any) -> Iterator[str]:
    """The names that a node takes, also in the graphs in it."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _read(inner)
