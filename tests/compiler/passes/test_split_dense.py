"""split-dense: layers of queries, keys and values compute the same apart; anything else stays whole."""

from __future__ import annotations

import numpy as np
import pytest

from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.passes import dce, split_dense
from netc.compiler.types import DType, TensorType


def projections(channels: int, **change: bool) -> Graph:
    """Attention whose queries, keys and values of so many channels come from one dense layer."""
    b = GraphBuilder("net")
    x = b.input("x", TensorType(DType.F32, (2, 9, 32)))
    weight = (32, 3 * channels)
    if change.get("computed"):
        w = b.input("w", TensorType(DType.F32, weight))
    else:
        w = b.emit("param", shape=weight, dtype="f32", name="w")
    y = b.emit("dense", x, w, b.emit("param", shape=(3 * channels,), dtype="f32", name="bias"))
    y = b.emit("reshape", y, shape=(2, 9, 3, channels))
    starts = (0, 0, 2) if change.get("twice") else (0, 1, 2)
    parts = [b.emit("slice", y, begin=(0, 0, i, 0), size=(2, 9, 1, channels)) for i in starts]
    heads = [b.emit("reshape", part, shape=(2, 9, 2, channels // 2)) for part in parts]
    if change.get("scaled"):
        heads[0] = b.emit("relu", heads[0])
    outputs = [b.emit("attention", *heads, heads_inside=True)]
    if change.get("whole"):
        outputs.append(b.emit("relu", y))
    return b.finish(outputs)


def test_results_stay() -> None:
    graph = projections(64)
    split = split_dense(graph)
    assert [op.name for op in split.operations].count("dense") == 3
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 9, 32), dtype=np.float32)
    weights = {p.result.name: rng.standard_normal(p.result.type.shape, dtype=np.float32) for p in graph.parameters}
    (before,), (after,) = (evaluate(g, [x], weights) for g in (graph, split))
    np.testing.assert_allclose(before, after, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("change", ["computed", "twice", "scaled", "whole"])
def test_other_layers_stay_whole(change: str) -> None:
    """Weights that aren't known, channels that are read twice, or by other operations, too."""
    graph = dce(projections(64, **{change: True}))
    assert split_dense(graph) is graph


def test_few_channels_stay_together() -> None:
    graph = dce(projections(32))
    assert split_dense(graph) is graph


def test_a_result_that_loses_its_channels_stays_whole() -> None:
    """A layer of one channel, of whose rows attention reads parts."""
    b = GraphBuilder("net")
    x = b.input("x", TensorType(DType.F32, (128, 4)))
    y = b.emit("dense", x, b.emit("param", shape=(4, 1), dtype="f32", name="w"))
    y = b.emit("reshape", y, shape=(128,))
    parts = [b.emit("slice", y, begin=(i,), size=(64,)) for i in (0, 64)]
    queries, keys = (b.emit("reshape", part, shape=(1, 64, 1, 1)) for part in parts)
    graph = b.finish([b.emit("attention", queries, keys, keys, heads_inside=True)])
    assert split_dense(graph) is graph
