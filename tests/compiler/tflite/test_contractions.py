"""Products over axes in any places become files of TFLite: dense layers, products of matrices and softmax between
transposes."""

from __future__ import annotations

import numpy as np
import pytest

from netc.compiler.graph import Graph, evaluate, parse_graph
from netc.compiler.quantization import prepare
from netc.compiler.tflite.reading import read_model
from netc.compiler.tflite.writer import to_tflite
from netc.frontend.tflite import graph_of

CHANNELS = """
graph @channels(%q: f32[2,49,4,8], %k: f32[2,49,4,8], %v: f32[2,49,4,8]) -> (f32[2,49,4,8]) {
  %0 = contract(%q, %k) {a_axes = "aybx", b_axes = "aybz", axes = "azbx"} : f32[2,8,4,8]
  %1 = softmax(%0) {axis = 1} : f32[2,8,4,8]
  %2 = contract(%1, %v) {a_axes = "aybx", b_axes = "azby", axes = "azbx"} : f32[2,49,4,8]
  return %2
}
"""
TOKENS = """
graph @tokens(%x: f32[2,3,4]) -> (f32[2,2,4]) {
  %w = constant {value = dense<[[1.0,-2.0],[0.5,3.0],[2.0,1.5]]>} : f32[3,2]
  %0 = contract(%x, %w) {a_axes = "ayb", b_axes = "yz", axes = "azb"} : f32[2,2,4]
  return %0
}
"""


def names(graph: Graph) -> set[str]:
    return {op.name for op in graph.operations}


@pytest.mark.parametrize("text", [CHANNELS, TOKENS])
def test_a_float_file_means_the_same(text: str) -> None:
    graph = parse_graph(text)
    read = graph_of(read_model(to_tflite(graph)), "read")
    rng = np.random.default_rng(3)
    inputs = [rng.standard_normal(v.type.shape, dtype=np.float32) for v in graph.inputs]
    for expected, got in zip(evaluate(graph, inputs), evaluate(read, inputs), strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


def test_integers_get_dense_layers_and_products() -> None:
    assert names(prepare(parse_graph(TOKENS), {})) == {"constant", "transpose", "dense"}
    found = names(prepare(parse_graph(CHANNELS), {}))
    assert "contract" not in found
    assert {"transpose", "matmul", "softmax"} <= found
