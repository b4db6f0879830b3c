"""Quantized elements that an operator moves stay quantized when it is written as simpler ones."""

from __future__ import annotations

import numpy as np
import pytest

from netc.compiler.graph.interpreter import evaluate
from netc.compiler.passes.decompose import decompose
from netc.frontend.graph_text import graph_of_text


@pytest.mark.parametrize("call", ["top_k_values(%x) {k = 2, axis = 0}", "sort(%x) {axis = 0}"])
def test_sorted_integers_keep_their_scale(call: str) -> None:
    rows = 2 if "top_k" in call else 4
    text = f"""graph @g(%x: i8[4,3]<0.5:1>) -> (i8[{rows},3]<0.5:1>) {{
  %y = {call} : i8[{rows},3]<0.5:1>
  return %y
}}
"""
    graph = graph_of_text(text, "g")
    found = decompose(graph)
    assert found is not graph
    assert found.results[0].type == graph.results[0].type
    x = np.random.default_rng(0).integers(-128, 128, (4, 3)).astype(np.int8)
    np.testing.assert_array_equal(evaluate(found, [x])[0], evaluate(graph, [x])[0])
