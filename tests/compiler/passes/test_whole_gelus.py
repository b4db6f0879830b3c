"""GELU that was spelt out, found again."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from netc.compiler.graph.interpreter import evaluate
from netc.compiler.passes.whole_gelus import with_whole_gelus
from netc.frontend.graph_text import graph_of_text

HEAD = """graph @g(%x: f32[2,3]) -> (f32[2,3]) {
  %h = constant {value = dense<0.5>} : f32[]
  %one = constant {value = dense<1>} : f32[]
  %two = constant {value = dense<2>} : f32[]
  %r = constant {value = dense<1.4142135>} : f32[]
  %s = constant {value = dense<0.70710677>} : f32[]
"""
DIVIDED, MULTIPLIED = "%a = div(%x, %r) : f32[2,3]", "%a = mul(%s, %x) : f32[2,3]"
SHARE = "%b = erf(%a) : f32[2,3]\n  %c = add(%b, %one) : f32[2,3]"


@pytest.mark.parametrize(
    "lines",
    [
        (DIVIDED, SHARE, "%d = mul(%x, %c) : f32[2,3]", "%y = mul(%d, %h) : f32[2,3]"),
        (MULTIPLIED, SHARE, "%d = mul(%h, %x) : f32[2,3]", "%y = mul(%d, %c) : f32[2,3]"),
        (DIVIDED, SHARE, "%d = mul(%c, %h) : f32[2,3]", "%y = mul(%x, %d) : f32[2,3]"),
        (DIVIDED, SHARE, "%d = mul(%c, %x) : f32[2,3]", "%y = div(%d, %two) : f32[2,3]"),
    ],
)
def test_products_in_any_order(lines: tuple[str, ...]) -> None:
    graph = graph_of_text(HEAD + "  " + "\n  ".join(lines) + "\n  return %y\n}\n", "g")
    found = with_whole_gelus(graph)
    assert [op.name for op in found.operations] == ["gelu"]
    x = np.linspace(-4, 4, 6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_allclose(evaluate(found, [x])[0], evaluate(graph, [x])[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "lines",
    [
        (DIVIDED, SHARE, "%d = mul(%x, %c) : f32[2,3]", "%y = mul(%d, %r) : f32[2,3]"),
        ("%a = div(%x, %two) : f32[2,3]", SHARE, "%d = mul(%x, %c) : f32[2,3]", "%y = mul(%d, %h) : f32[2,3]"),
        (DIVIDED, SHARE, "%d = mul(%a, %c) : f32[2,3]", "%y = mul(%d, %h) : f32[2,3]"),
        (DIVIDED, SHARE, "%d = mul(%x, %c) : f32[2,3]", "%e = mul(%d, %h) : f32[2,3]", "%y = add(%e, %d) : f32[2,3]"),
        ("%a = div(%r, %x) : f32[2,3]", SHARE, "%d = mul(%x, %c) : f32[2,3]", "%y = mul(%d, %h) : f32[2,3]"),
        (DIVIDED, SHARE, "%d = mul(%x, %h) : f32[2,3]", "%y = div(%d, %c) : f32[2,3]"),
    ],
)
def test_other_numbers_and_values_that_are_read_again_stay(lines: tuple[str, ...]) -> None:
    graph = graph_of_text(HEAD + "  " + "\n  ".join(lines) + "\n  return %y\n}\n", "g")
    assert "gelu" not in [op.name for op in with_whole_gelus(graph).operations]


def test_long_products_take_no_long_time() -> None:
    names = ["%x", *(f"%m{i}" for i in range(3000))]
    lines = "\n".join(f"  {y} = mul({x}, %h) : f32[2,3]" for x, y in pairwise(names))
    graph = graph_of_text(f"{HEAD}{lines}\n  return {names[-1]}\n}}\n", "g")
    assert with_whole_gelus(graph) is graph
