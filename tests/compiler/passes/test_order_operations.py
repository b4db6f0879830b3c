"""The order of operations: never worse than before, and the best there is where all orders can be tried."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from netc.compiler import passes
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph, Value
from netc.compiler.graph.live_bytes import LiveBytes
from netc.compiler.passes import OrderOperations
from netc.compiler.types import DType, TensorType


def random_graph(seed: int, count: int, newest: int = 4) -> Graph:
    """Operations that grow, shrink, join and keep, each of some of the newest values."""
    draw = np.random.default_rng(seed)
    b = GraphBuilder("g")
    values: list[Value] = [b.input("x", TensorType(DType.F32, (int(draw.integers(4, 40)),)))]
    for _ in range(count):
        x, y = (values[-1 - int(draw.integers(0, min(newest, len(values))))] for _ in range(2))
        kind = draw.integers(0, 4)
        if kind == 0 and x is not y:
            values.append(b.emit("concat", x, y, axis=0))
        elif kind == 1 and x.type.shape[0] > 4:
            values.append(b.emit("slice", x, begin=(0,), size=(int(draw.integers(1, 5)),)))
        elif kind == 2:
            values.append(b.emit("exp", x))
        else:
            values.append(b.emit("cumulative_sum", x, axis=0))
    return passes.dce(b.finish([b.emit("concat", *values[-3:], axis=0)]))


def orders(live: LiveBytes, done: int = 0, begun: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """All of them."""
    if done == live.all:
        yield begun
    for number in live.ready(done, range(len(live.nodes))):
        yield from orders(live, done | 1 << number, (*begun, number))


def peak(graph: Graph) -> int:
    live = LiveBytes(graph)
    return live.peak(range(len(live.nodes)))


@pytest.mark.parametrize("seed", range(40))
def test_small_graphs_get_the_best_order(seed: int) -> None:
    graph = random_graph(seed, 7)
    live = LiveBytes(graph)
    best = min(map(live.peak, orders(live)))
    ordered = OrderOperations()(graph)
    assert peak(ordered) == best
    x = np.random.default_rng(seed).standard_normal(graph.inputs[0].type.shape, np.float32)
    np.testing.assert_array_equal(evaluate(ordered, [x], {})[0], evaluate(graph, [x], {})[0])


def test_some_orders_are_better_than_that_of_the_text() -> None:
    gains = [peak(g) - peak(OrderOperations()(g)) for g in (random_graph(seed, 14, 8) for seed in range(30))]
    assert min(gains) == 0 or min(gains) > 0
    assert sum(gain > 0 for gain in gains) > 5
    assert all(gain >= 0 for gain in gains)


def test_the_search_may_be_cut_short() -> None:
    """What is found without the exact search is at least as good as the order of the text."""
    for seed in range(20):
        graph = random_graph(seed, 30, 10)
        quick, exact = OrderOperations(states=0)(graph), OrderOperations(states=5000)(graph)
        assert peak(exact) <= peak(quick) <= peak(graph)
        assert str(OrderOperations(states=0)(graph)) == str(quick)


def test_branches_that_shrink_come_early() -> None:
    """As in an inception module that pools at the end of each branch."""
    b = GraphBuilder("g")
    x = b.input("x", TensorType(DType.F32, (8,)))
    wide = [b.emit("concat", *[x] * 20, axis=0) for _ in range(4)]
    narrow = [b.emit("slice", v, begin=(0,), size=(4,)) for v in wide]
    graph = b.finish([b.emit("exp", b.emit("concat", *narrow, axis=0))])
    assert peak(graph) > 4 * 20 * 8 * 4
    assert peak(OrderOperations()(graph)) == 20 * 8 * 4 + 4 * 4 * 4


def test_outputs_parameters_and_views_take_no_memory() -> None:
    b = GraphBuilder("g")
    x = b.input("x", TensorType(DType.F32, (4, 6)))
    y = b.emit("cumulative_sum", x, axis=0)
    z = b.emit("reshape", y, shape=(6, 4))
    graph = b.finish([b.emit("cumulative_sum", z, axis=1)])
    assert peak(graph) == 4 * 6 * 4
    assert OrderOperations()(graph) is graph
