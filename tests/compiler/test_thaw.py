"""Thawing gives parameters for the constants that are weights, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest

from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.passes.freeze import bind
from netc.compiler.passes.thaw import thaw
from netc.compiler.types import DType, TensorType
from netc.frontend import load_text
from netc.runtime.weights import initial_weights

TEXT = """
net n(x: f32[1, 6, 6, 4]) {
  x = x |> conv@c1(4, 3, groups = 2) |> batch_norm@b1 |> prelu@p |> conv_transpose@t(4, 2, stride = 2)
  x = x / 3 |> reshape([1, 144, 4]) |> layer_norm@n |> dense@d(5) |> rms_norm@r
  return x |> attention(x, x) |> reduce_mean(axes = [1]) |> dense@head(3)
}
"""


def test_what_was_frozen_is_thawed() -> None:
    graph = load_text(TEXT)
    weights = initial_weights(graph, 2)
    thawed, values = thaw(bind(graph, weights))
    before, after = ({op.result.name: op.attributes for op in g.parameters} for g in (graph, thawed))
    assert after.keys() == before.keys()
    for name, attributes in after.items():
        wanted = before[name]
        assert (name, attributes["trainable"]) == (name, wanted["trainable"])
        assert (name, attributes["checkpoint"]) == (name, wanted["checkpoint"])
        np.testing.assert_array_equal(values[name or ""], weights[name or ""])
    x = np.random.default_rng(0).normal(size=(1, 6, 6, 4)).astype(np.float32)
    np.testing.assert_array_equal(evaluate(thawed, (x,), values)[0], evaluate(graph, (x,), weights)[0])


def _two_layers(second: np.ndarray) -> Graph:
    b = GraphBuilder("g")
    x = b.input("x", TensorType(DType.F32, (1, 8)))
    first = np.arange(64, dtype=np.float32).reshape(8, 8)
    y = b.emit("dense", b.emit("dense", x, b.constant(first)), b.constant(second))
    return b.finish([b.emit("add", y, b.constant(np.ones((8,), np.float32)))])


@pytest.mark.parametrize(("turned", "count"), [(True, 1), (False, 2)])
def test_a_matrix_and_its_transpose_are_one_weight(turned: bool, count: int) -> None:
    first = np.arange(64, dtype=np.float32).reshape(8, 8)
    graph = _two_layers(np.ascontiguousarray(first.T) if turned else first + 1)
    thawed, values = thaw(graph)
    assert list(values) == ["dense_1.weight", "dense_2.weight"][:count]
    x = np.ones((1, 8), np.float32)
    np.testing.assert_array_equal(evaluate(thawed, (x,), values)[0], evaluate(graph, (x,))[0])
