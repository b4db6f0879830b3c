"""Rows that are shifted and windows that overlap are picked by places; the numbers stay."""

from __future__ import annotations

import numpy as np

from netc.compiler.graph import Graph, evaluate, parse_graph
from netc.compiler.passes.picked_elements import with_picked_elements


def names(graph: Graph) -> list[str]:
    return [op.name for op in graph.operations]


def compared(text: str) -> Graph:
    """The graph with picked elements, which gives the same numbers."""
    graph = parse_graph(text)
    found = with_picked_elements(graph)
    inputs = [np.arange(v.type.size, dtype=np.float32).reshape(v.type.shape) for v in graph.inputs]
    for expected, got in zip(evaluate(graph, inputs), evaluate(found, inputs), strict=True):
        np.testing.assert_array_equal(got, expected)
    return found


SHIFTED = """graph @relative(%x: f32[2,3,4,7]) -> (f32[2,4,3,4]) {{
  %0 = reshape(%x) {{shape = [6,4,7]}} : f32[6,4,7]
  %1 = pad(%0) {{padding = [[0,0],[0,0],[0,1]]}} : f32[6,4,8]
  %2 = reshape(%1) {{shape = [6,32]}} : f32[6,32]
  %3 = pad(%2) {{padding = [[0,0],[0,3]]}} : f32[6,35]
  %4 = reshape(%3) {{shape = [6,5,7]}} : f32[6,5,7]
  %5 = slice(%4) {{begin = [0,0,{begin}], size = [6,4,4]}} : f32[6,4,4]
  %6 = reshape(%5) {{shape = [2,3,4,4]}} : f32[2,3,4,4]
  %7 = transpose(%6) {{permutation = [0,2,1,3]}} : f32[2,4,3,4]
  return %7
}}"""


def test_shifted_rows() -> None:
    """Relative positions (Music Transformer): pads and reshapes shift each row by one more."""
    assert names(compared(SHIFTED.format(begin=3))) == ["constant", "take_along_axis", "transpose"]


def test_rows_that_hold_padding_stay() -> None:
    assert "take_along_axis" not in names(compared(SHIFTED.format(begin=0)))


def test_windows_that_overlap() -> None:
    """Two gathers, of rows and of columns of windows, are one, in the order of places that is wanted."""
    found = compared(
        """graph @unfold(%x: f32[1,5,4,6]) -> (f32[1,5,2,3,2,2]) {
          %i = constant {value = dense<[[0,1],[2,-1]]>} : i64[2,2]
          %j = constant {value = dense<[[0,2],[2,4],[4,5]]>} : i64[3,2]
          %0 = gather(%x, %i) {axis = 2} : f32[1,5,2,2,6]
          %1 = transpose(%0) {permutation = [0,1,2,4,3]} : f32[1,5,2,6,2]
          %2 = gather(%1, %j) {axis = 3} : f32[1,5,2,3,2,2]
          %3 = transpose(%2) {permutation = [0,1,2,3,5,4]} : f32[1,5,2,3,2,2]
          return %3
        }"""
    )
    assert [n for n in names(found) if n != "constant"] == ["reshape", "gather"]
