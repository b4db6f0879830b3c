"""State between runs: `state(...)` and `next(...) = ...`."""

from __future__ import annotations

import numpy as np
import pytest

import netc
from netc.compiler.errors import NetcError
from netc.compiler.graph.ir import Graph
from netc.compiler.graph.state import Session
from netc.frontend import load_text
from netc.frontend.writing import written

COUNTER = """
block window(x, length, fill = 0) {
  past = state("past", [length, channels(x)], value = fill)
  all = concat(past, x, axis = 0)
  next(past) = all[1:]
  return all
}
net t(x: f32[1, 2]) {
  count = state("count", [], dtype = "i32")
  next(count) = count + 1
  return {sum: x |> window@w(2, fill = 1) |> reduce_sum(axes = [0]), runs: count}
}
"""


def graph() -> Graph:
    return load_text(COUNTER, "t.net")


def test_each_run_begins_with_what_the_last_one_left() -> None:
    session = Session(graph())
    assert {name: value.shape for name, value in session.state.items()} == {"count": (), "w.past": (2, 2)}
    x = np.array([[1, 2]], np.float32)
    sums, runs = zip(*(session([x * k]) for k in (1, 10, 100)), strict=True)
    np.testing.assert_array_equal(np.stack(sums), [[3, 4], [12, 23], [111, 222]])
    assert [int(n) for n in runs] == [0, 1, 2]
    session.reset()
    np.testing.assert_array_equal(session([x])[0], [3, 4])


def test_compiled_programs_keep_state_and_begin_anew() -> None:
    program = netc.compile(graph(), threads=1)
    x = np.ones((1, 2), np.float32)
    first, second = program(x), program(x)
    assert (int(first["runs"]), int(second["runs"])) == (0, 1)
    program.reset()
    assert int(program(x)["runs"]) == 0


@pytest.mark.parametrize("value", ["-7", "[3, 1]"])
def test_states_of_integers_begin_with_any_numbers(value: str) -> None:
    text = f"""net t(x: i8[2]<0.5:3>) {{
      last = state("last", [2], value = {value}, dtype = "i8<0.5:3>")
      next(last) = x
      return last
    }}"""
    session = Session(load_text(text, "t.net"))
    np.testing.assert_array_equal(session([np.zeros(2, np.int8)])[0], np.broadcast_to(eval(value), 2))
    assert written(load_text(text, "t.net")).text.count("next(") == 1


def test_text_of_states_gives_the_graph_again() -> None:
    result = written(graph())
    assert result.text.count("next(") == 2
    assert result.graph.attributes["updates"] == graph().attributes["updates"]


def test_states_in_loops_and_blocks_are_written_where_they_stand() -> None:
    text = """
    block step(x, fill) { h = state("h", [4], value = fill); next(h) = h + x; return x * h }
    net t(x: f32[4]) {
      for i in range(4) { x = step@"s{i}"(x, i) |> relu }
      return x
    }
    """
    source = load_text(text, "t.net")
    result = written(source)
    assert result.text.count("state(") == 1
    x = np.arange(4, dtype=np.float32)
    one, other = Session(source), Session(result.graph)
    for _ in range(3):
        np.testing.assert_array_equal(one([x])[0], other([x])[0])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('h = state("h", [2]); return x + h', "nothing says what comes next in the state `h`"),
        ('h = state("h", [2]); next(h) = x; next(h) = h; return x', "`h` has two next values"),
        ('h = state("h", [3]); next(h) = x; return x', r"next value of `h` must be f32\[3\], not a tensor f32\[2\]"),
        ("next(x) = x; return x", "next takes a state, not a tensor"),
        ('h = state("h", [2]); next(h, h) = x; return x', "next takes one state"),
        ('h = state("h", [2]); g = state("h", [2]); next(h) = x; return x', "two parameters are called `h`"),
        ('h = state("h", [2], value = [1, 2, 3]); next(h) = x; return x', "can't begin with numbers of shape"),
        ('h = state("h", [2], value = 1.5, dtype = "i8"); next(h) = x; return x', "can't begin with 1.5"),
        ('h = state("h", [2], value = 300, dtype = "i8"); next(h) = x; return x', "out of the range of i8"),
        ('h = state("h", [0]); next(h) = x; return x', "sizes of a state must be positive"),
    ],
)
def test_misuse_of_states(body: str, message: str) -> None:
    with pytest.raises(NetcError, match=message):
        load_text(f"net t(x: f32[2]) {{ {body} }}", "t.net")


def test_a_number_is_the_next_value_of_all_elements() -> None:
    session = Session(load_text('net t(x: f32[2]) { h = state("h", [2]); next(h) = 5; return h + x }', "t.net"))
    x = np.zeros(2, np.float32)
    assert [session([x])[0].tolist() for _ in range(2)] == [[0, 0], [5, 5]]
