"""Minimum cuts against trying all cuts."""

from __future__ import annotations

import itertools
import random

import pytest

from netc.compiler.graph.min_cut import UNLIMITED, FlowNetwork

Edges = list[tuple[int, int, int]]
NODES = range(6)
SOURCE, SINK = 0, 5


def cut(edges: Edges, sink_side: frozenset[int]) -> int:
    return sum(capacity for a, b, capacity in edges if a not in sink_side and b in sink_side)


@pytest.mark.parametrize("seed", range(30))
def test_the_cut_is_the_smallest_and_nearest_to_the_sink(seed: int) -> None:
    rng = random.Random(seed)
    pairs = rng.sample(list(itertools.permutations(NODES, 2)), 14)
    edges: Edges = [(a, b, rng.randrange(5)) for a, b in pairs]
    network: FlowNetwork[int] = FlowNetwork()
    for edge in [*edges, (SOURCE, SINK, 0)]:
        network.edge(*edge)
    inner = [n for n in NODES if n not in (SOURCE, SINK)]
    sides = [frozenset({SINK, *c}) for k in range(len(inner) + 1) for c in itertools.combinations(inner, k)]
    best = min(cut(edges, side) for side in sides)
    smallest = frozenset.intersection(*(side for side in sides if cut(edges, side) == best))
    assert network.sink_side(SOURCE, SINK) == smallest


def test_unlimited_edges_are_not_cut() -> None:
    network: FlowNetwork[str] = FlowNetwork()
    network.edge("source", "a", 7)
    network.edge("a", "b")
    network.edge("b", "sink", 9)
    assert UNLIMITED > 10**18
    assert network.sink_side("source", "sink") == {"a", "b", "sink"}
