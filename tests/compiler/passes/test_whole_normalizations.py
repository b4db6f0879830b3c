"""Normalisation of a flattened picture is one of the picture itself."""

from __future__ import annotations

import numpy as np
import pytest

from netc.compiler.graph import evaluate, parse_graph
from netc.compiler.passes import assign_axes
from netc.compiler.passes.whole_normalizations import with_whole_normalizations

FLATTENED = """
graph @flattened(%x: f32[2,4,5,6]) -> (f32[2,4,5,6]) {
  %0 = transpose(%x) {permutation = [0,3,1,2]} : f32[2,6,4,5]
  %1 = reshape(%0) {shape = [2,GROUPS,REST]} : f32[2,GROUPS,REST]
  %2 = normalize(%1) {axes = [2]} : f32[2,GROUPS,REST]
  %3 = constant {value = dense<[3.0]>} : f32[1]
  %4 = mul(%3, %2) : f32[2,GROUPS,REST]
  %5 = reshape(%4) {shape = [2,6,4,5]} : f32[2,6,4,5]
  %6 = transpose(%5) {permutation = [0,2,3,1]} : f32[2,4,5,6]
  return %6
}
"""


@pytest.mark.parametrize(("groups", "left"), [(1, 0), (2, 0), (3, 0), (6, 0)])
def test_reshapes_around_a_normalisation_go(groups: int, left: int) -> None:
    graph = parse_graph(FLATTENED.replace("GROUPS", str(groups)).replace("REST", str(120 // groups)))
    whole = assign_axes(with_whole_normalizations(graph))
    assert sum(op.name == "transpose" for op in whole.operations) == left
    x = np.random.default_rng(1).standard_normal((2, 4, 5, 6), dtype=np.float32)
    ((expected,), (got,)) = (evaluate(g, [x]) for g in (graph, whole))
    np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize(("last", "inside"), [("%x", 0), ("%y", 2)], ids=["channels last", "channels first"])
def test_groups_of_channels(last: str, inside: int) -> None:
    """Each group has a factor; what has its channels in front stays as it is."""
    graph = parse_graph(
        f"""graph @groups(%x: f32[2,4,5,6], %y: f32[2,6,4,5]) -> (f32[2,4,5,6]) {{
          %w = constant {{value = dense<[[[1.0],[2.0],[-3.0]]]>}} : f32[1,3,1]
          %0 = transpose(%x) {{permutation = [0,3,1,2]}} : f32[2,6,4,5]
          %1 = add({"%0" if last == "%x" else "%y"}, {"%0" if last == "%x" else "%y"}) : f32[2,6,4,5]
          %2 = reshape(%1) {{shape = [2,3,40]}} : f32[2,3,40]
          %3 = normalize(%2) {{axes = [2]}} : f32[2,3,40]
          %4 = mul(%3, %w) : f32[2,3,40]
          %5 = reshape(%4) {{shape = [2,6,4,5]}} : f32[2,6,4,5]
          %6 = transpose(%5) {{permutation = [0,2,3,1]}} : f32[2,4,5,6]
          return %6
        }}"""
    )
    whole = assign_axes(with_whole_normalizations(graph))
    assert sum(op.name == "transpose" for op in whole.operations) == inside
    random = np.random.default_rng(1)
    inputs = [random.standard_normal(v.type.shape, dtype=np.float32) for v in graph.inputs]
    ((expected,), (got,)) = (evaluate(g, inputs) for g in (graph, whole))
    np.testing.assert_allclose(got, expected, atol=1e-5)
