"""A short text may state a large constant: nobody makes room for its elements unless they are computed with."""

import tracemalloc

from netc.compiler import passes
from netc.compiler.graph import parse_graph

TEXT = """graph @large(%x: f32[1]) -> (f32[400000000]) {
  %0 = constant {value = dense<1.0>} : f32[400000000]
  %1 = add(%x, %0) : f32[400000000]
  return %1
}
"""


def test_passes_and_text_take_little_memory() -> None:
    tracemalloc.start()
    graph = passes.run(parse_graph(TEXT), "canonicalize,fold-constants,cse,dce")
    text = str(graph)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "dense<1.0>" in text
    assert peak < 50_000_000
