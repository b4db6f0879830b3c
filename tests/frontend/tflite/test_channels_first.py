"""Files whose convolutions stand between transposes, as exporters of channels-first networks write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import netc
from netc.compiler.graph import Graph, evaluate
from netc.compiler.passes.axis_orders import transposes_left
from netc.compiler.tflite.reading import read_model
from netc.compiler.tflite.writer import to_tflite
from netc.frontend.tflite import graph_of

TEXT = """
graph @planar(%x: f32[1,3,8,8]) -> (f32[1,8,8,8], f32[1,8]) {
  %a = constant {value = dense<0.1>} : f32[3,3,3,8]
  %b = constant {value = dense<0.05>} : f32[3,3,8,8]
  %scale = constant {value = dense<1.5>} : f32[8,1,1]
  %0 = transpose(%x) {permutation = [0,2,3,1]} : f32[1,8,8,3]
  %1 = conv2d(%0, %a) {strides = [1,1], padding = "same", dilations = [1,1]} : f32[1,8,8,8]
  %2 = transpose(%1) {permutation = [0,3,1,2]} : f32[1,8,8,8]
  %3 = mul(%2, %scale) : f32[1,8,8,8]
  %4 = transpose(%3) {permutation = [0,2,3,1]} : f32[1,8,8,8]
  %5 = conv2d(%4, %b) {strides = [1,1], padding = "same", dilations = [1,1]} : f32[1,8,8,8]
  %6 = transpose(%5) {permutation = [0,3,1,2]} : f32[1,8,8,8]
  %7 = add(%6, %3) : f32[1,8,8,8]
  %8 = reduce_mean(%7) {axes = [2,3]} : f32[1,8]
  return %7, %8
}
"""


def written(folder: Path) -> tuple[Path, Graph]:
    """A file, and its graph as it stands there."""
    data = to_tflite(netc.parse_graph(TEXT))
    path = folder / "planar.tflite"
    path.write_bytes(data)
    return path, graph_of(read_model(data), "planar")


def test_transposes_stay_at_the_ends(tmp_path: Path) -> None:
    path, as_it_stands = written(tmp_path)
    graph = netc.load(path)
    assert transposes_left(as_it_stands).inside == 3
    left = transposes_left(graph)
    assert (left.inside, left.rearranging, left.outside) == (0, 0, 2)
    x = np.random.default_rng(1).standard_normal((1, 3, 8, 8), np.float32)
    for wanted, got in zip(evaluate(as_it_stands, [x]), evaluate(graph, [x]), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


def test_a_layout_can_be_asked_for(tmp_path: Path) -> None:
    path, as_it_stands = written(tmp_path)
    graph = netc.load(path, layout="nhwc")
    assert not any(op.name == "transpose" for op in graph.operations)
    assert graph.inputs[0].type.shape == (1, 8, 8, 3)
    x = np.random.default_rng(1).standard_normal((1, 3, 8, 8), np.float32)
    picture, mean = evaluate(as_it_stands, [x])
    last, same = netc.compile(graph)(np.ascontiguousarray(x.transpose(0, 2, 3, 1)))
    np.testing.assert_allclose(last.transpose(0, 3, 1, 2), picture, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(same, mean, rtol=1e-4, atol=1e-5)
