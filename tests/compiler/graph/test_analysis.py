"""Static values, dominance, convexity, the table of layers, and the view for networkx."""

from __future__ import annotations

import networkx as nx
import pytest

from netc.compiler import passes
from netc.compiler.graph import layer_table, parse_graph, static_values, totals
from netc.compiler.graph.analysis import post_dominators
from netc.compiler.graph.digraph import to_networkx
from tests.random_networks import random_case

NET = parse_graph("""\
graph @net(%x: f32[1,8,8,3]) -> (f32[1,5]) {
  %block.conv.weight = param : f32[3,3,3,4]
  %bn.weight = param : f32[4]
  %bn.mean = param {trainable = false} : f32[4]
  %fc.weight = param : f32[4,5]
  %0 = conv2d(%x, %block.conv.weight) {strides = [1,1], padding = "same", dilations = [1,1]} : f32[1,8,8,4]  // n:1:2
  %1 = batch_norm(%0, %bn.weight, %bn.weight, %bn.mean, %bn.weight) : f32[1,8,8,4]
  %2 = relu(%1) : f32[1,8,8,4]
  %3 = reduce_mean(%2) {axes = [1,2]} : f32[1,4]
  %4 = dense(%3, %fc.weight) : f32[1,5]
  return %4
}
""")


def test_totals() -> None:
    sums = totals(NET)
    assert (sums.parameters, sums.non_trainable) == (3 * 3 * 3 * 4 + 4 + 20, 4)
    assert sums.macs == 64 * 4 * 27 + 20


def test_layer_table() -> None:
    rows = layer_table(NET)
    assert [(r.name, r.operator) for r in rows] == [
        ("block.conv", "conv2d"),
        ("bn", "batch_norm"),
        ("relu", "relu"),
        ("reduce_mean", "reduce_mean"),
        ("fc", "dense"),
    ]
    assert [(r.parameters, r.non_trainable, r.macs) for r in rows[:2]] == [(108, 0, 6912), (4, 4, 0)]
    assert rows[0].shape == (1, 8, 8, 4)
    assert str(rows[0].location) == "n:1:2"


def test_totals_survive_the_pipeline() -> None:
    graph = passes.run(NET, f"{passes.pipelines.INFERENCE},assign-layouts")
    assert totals(graph) == totals(NET)
    rows = layer_table(graph)
    assert [r.operator for r in rows] == ["relayout", "conv2d+relu", "reduce_mean", "dense"]
    assert sum(r.parameters for r in rows) == totals(NET).parameters
    static = static_values(graph)
    running = [op.name for op in graph.operations if op.result not in static]
    assert running == ["relayout", "fused", "reduce_mean", "dense"]


SWISH = parse_graph("""\
graph @swish(%x: f32[2]) -> (f32[2]) {
  %0 = exp(%x) : f32[2]
  %1 = sigmoid(%0) : f32[2]
  %2 = tanh(%1) : f32[2]
  %3 = mul(%0, %2) : f32[2]
  return %3
}
""")


def test_post_dominators() -> None:
    exp, sigmoid, tanh, mul = SWISH.operations
    assert post_dominators(SWISH) == {exp: mul, sigmoid: tanh, tanh: mul, mul: None}


@pytest.mark.parametrize("seed", range(10))
def test_post_dominators_agree_with_networkx(seed: int) -> None:
    graph = passes.dce(random_case(seed).graph)
    flow = nx.DiGraph(to_networkx(graph))
    flow.add_edges_from((graph.producers.get(v, v), "end") for v in graph.outputs)
    expected = nx.immediate_dominators(flow.reverse(), "end")
    for op, dominator in post_dominators(graph).items():
        assert (dominator or "end") == expected[op]


def test_networkx_orders_the_operations() -> None:
    view = to_networkx(NET)
    assert nx.is_directed_acyclic_graph(view)
    assert set(view) == {*NET.inputs, *NET.operations}
