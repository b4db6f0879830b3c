"""Conditions and loops of values that are known only at run time: `if` and `while` of tensors."""

from __future__ import annotations

import numpy as np
import pytest

import netc
from netc.compiler.errors import NetcError
from netc.compiler.graph import evaluate, parse_graph
from netc.compiler.graph.ir import Graph
from netc.frontend import load_text
from netc.frontend.writing import written

F32 = np.float32


def net(body: str, more: str = "") -> Graph:
    return load_text(f"{more}\nnet t(x: f32[1, 4], c: i1[]) {{\n{body}\n}}\n", "t.net")


def results(graph: Graph, x: list[float], c: bool) -> list[np.ndarray]:
    """What a graph means; compiled, and after a round trip through both kinds of text, it must be the same."""
    given = [np.array([x], F32), np.array(c)]
    assert str(parse_graph(str(graph))) == str(graph)
    wanted = evaluate(graph, given)
    compiled = netc.compile(graph)(*given)
    again = evaluate(written(graph).graph, given)
    found = compiled if isinstance(compiled, tuple) else (compiled,)
    for a, b, w in zip(found, again, wanted, strict=True):
        np.testing.assert_allclose(a, w, rtol=1e-6)
        np.testing.assert_array_equal(b, w)
    return list(wanted)


CHAIN = "if false { x = 0 } else if c { x = x + 1 } else if reduce_sum(x) > 9 { x = x * 2 }"
LOCAL = "if c { h = x[:, :2]; x = concat(h, h) } else { h = x[:, 1:]; x = concat(h, x[:, :1]) }"
CHOICES = {
    "if c { y = x * 2 } else { y = x + 1 }; return y": ([2, 4, 6, 8], [2, 3, 4, 5]),
    "if c { x = x * 2 }; return x": ([2, 4, 6, 8], [1, 2, 3, 4]),
    "if c { x = 0.5 }; return x": ([0.5] * 4, [1, 2, 3, 4]),
    "return if c then x else -x": ([1, 2, 3, 4], [-1, -2, -3, -4]),
    "if c { return x } else { return x - 1 }": ([1, 2, 3, 4], [0, 1, 2, 3]),
    "if true { if c { x = x * 3 } }; return x": ([3, 6, 9, 12], [1, 2, 3, 4]),
    f"{CHAIN}; return x": ([2, 3, 4, 5], [2, 4, 6, 8]),
    f"{LOCAL}; return x": ([1, 2, 1, 2], [2, 3, 4, 1]),
    "a, b = [x, x * 10]; if c { a, b = [b, a] }; return a - b": ([9, 18, 27, 36], [-9, -18, -27, -36]),
    "if c { r = {a: x, n: 3} } else { r = {a: x * 2, n: 3} }; return r.a * r.n": ([3, 6, 9, 12], [6, 12, 18, 24]),
}


@pytest.mark.parametrize("body", CHOICES)
def test_a_condition_chooses_values(body: str) -> None:
    for c, wanted in zip((True, False), CHOICES[body], strict=True):
        (found,) = results(net(body), [1, 2, 3, 4], c)
        np.testing.assert_allclose(found, [wanted])


COLLATZ = """
block steps(n) {
  turns = tensor(0, dtype = "i32")
  while n != 1 {
    if n % 2 == 0 { n = n / 2 } else { n = 3 * n + 1 }
    turns += 1
  }
  return turns
}
"""


def test_a_loop_counts_its_turns() -> None:
    graph = net('return steps(cast(x[0, 0], "i32"))', COLLATZ)
    for n, wanted in ((1, 0), (6, 8), (27, 111)):
        assert results(graph, [n, 0, 0, 0], True) == [wanted]


def test_what_a_loop_carries_is_exchanged_and_what_it_only_reads_stays() -> None:
    body = """
      a, b, i = [x, x + 1, tensor(0.0)]
      while i < reduce_sum(x) { a, b = [b, a + x]; i += 4 }
      return a, b, i
    """
    a, b, i = results(net(body), [1, 2, 3, 4], False)
    np.testing.assert_array_equal(a, [[3, 5, 7, 9]])
    np.testing.assert_array_equal(b, [[3, 6, 9, 12]])
    assert i == 12


def test_parameters_in_branches_and_turns_are_those_of_the_block() -> None:
    body = """
      i = tensor(0, dtype = "i32")
      while i < 3 { x = x |> dense@step(4) |> tanh; i += 1 }
      if c { y = x |> dense@a(2) } else { y = x |> dense@b(2) }
      return y
    """
    graph = net(body)
    names = [op.result.name for op in graph.parameters]
    assert names == ["step.weight", "step.bias", "a.weight", "a.bias", "b.weight", "b.bias"]
    assert {op.name for op in graph.operations} == {"constant", "param", "while", "if"}
    assert set(written(graph).sources) == set(names)
    with pytest.raises(NetcError, match="known only while"):
        netc.compile_training(graph)


ERRORS = {
    "if x > 0 { x = 1 }; return x": "a condition is one truth value, not a tensor i1[1,4]",
    "if x { x = 1 }; return x": "a condition must be true or false",
    "if c { y = x }; return y": "`y` has no value yet",
    "if c { return x }; return x": "one branch returns and the other doesn't",
    "if c { n = 1 } else { n = 2 }; return x * n": "`n` is the number 1 in one branch and the number 2 in the other",
    "if c { y = x } else { y = x[:, 1:] }; return y": "f32[1,4] in one branch and a tensor f32[1,3] in the other",
    "if c and true { x = x + 1 }; return x": "logical_and",
    "while 1 < 2 { x = x + 1 }; return x": "the condition of `while` is known at compile time",
    "i = 0; while c { i += 1; x = x + i }; return x": "`i` is the number 0, which a loop at run time can't change",
    "while c { x = concat(x, x) }; return x": "f32[1,4] when a turn begins, and a tensor f32[1,8] when it ends",
    "while c { return x }; return x": "`return` can't leave a loop",
    "while c { y = x }; return x": "this loop changes no tensor",
    's = state("s", [1, 4]); if c { next(s) = x }; return s': "a state has one next value",
    "while c { x = zork(x) }; return x": "no block, layer or function `zork`",
}


@pytest.mark.parametrize("body", ERRORS)
def test_errors_name_the_place_and_the_reason(body: str) -> None:
    with pytest.raises(NetcError) as caught:
        net(body)
    (diagnostic,) = caught.value.diagnostics
    assert ERRORS[body] in f"{diagnostic.message} {diagnostic.hint}"
    assert diagnostic.location is not None
    assert diagnostic.location.line == 3


def test_the_text_of_a_loop_reads_as_one_would_write_it() -> None:
    text = written(net('return steps(cast(x[0, 0], "i32"))', COLLATZ)).text
    assert "\n  while x != 1 {\n" in text
    assert "    } else {\n" in text
