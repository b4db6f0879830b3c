"""Programs of networks that keep a state from run to run."""

from __future__ import annotations

import copy
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import netc
from netc.cli import main
from netc.compiler.errors import NetcError
from netc.compiler.graph.ir import Graph
from netc.compiler.graph.state import Session
from netc.compiler.passes.rebatch import rebatch

TEXT = """
graph @acc(%x: f32[1,4], %w: f32[4]) -> (f32[1,4], f32[1,4], f32[1,4], i32[]) attributes {updates = ["sum","old","n"]} {
  %sum = param {trainable = false, value = dense<0.5>} : f32[1,4]
  %old = param {trainable = false, value = dense<[[1.0,2.0,3.0,4.0]]>} : f32[1,4]
  %n = param {trainable = false, value = dense<3>} : i32[]
  %scale = param {init = "ones"} : f32[4]
  %0 = mul(%x, %scale) : f32[1,4]
  %1 = add(%sum, %0) : f32[1,4]
  %2 = mul(%1, %old) : f32[1,4]
  %3 = add(%2, %w) : f32[1,4]
  %4 = constant {value = dense<1>} : i32[]
  %5 = add(%n, %4) : i32[]
  return %3, %1, %sum, %5
}
"""
"""Of the states one is read late, one takes the old value of another, and nothing reads the third."""
RNG = np.random.default_rng(0)


@pytest.fixture
def graph() -> Graph:
    return netc.parse_graph(TEXT)


def rows(count: int) -> list[list[np.ndarray]]:
    return [[RNG.standard_normal((1, 4), np.float32), RNG.standard_normal(4, np.float32)] for _ in range(count)]


def test_text_reads_back(graph: Graph) -> None:
    assert str(netc.parse_graph(str(graph))) == str(graph)
    with pytest.raises(NetcError, match="a list of 1 elements doesn't fit"):
        netc.parse_graph(TEXT.replace("[[1.0,2.0,3.0,4.0]]", "[[1.0]]"))


@pytest.mark.parametrize("threads", [1, 2])
def test_calls_go_on_and_reset_begins_anew(graph: Graph, threads: int) -> None:
    given = rows(5)
    session = Session(graph, {"scale": np.full(4, 2, np.float32)})
    with netc.compile(graph, weights={"scale": np.full(4, 2, np.float32)}, threads=threads) as program:
        for _ in range(2):
            for inputs in given:
                (wanted,) = session(inputs)
                np.testing.assert_allclose(program(*inputs), wanted, rtol=1e-6)
                for name, value in session.state.items():
                    np.testing.assert_allclose(program.state[name], value, rtol=1e-6)
            session.reset()
            program.reset()
        assert program.state["n"] == 3


def test_results_that_are_states() -> None:
    text = TEXT.replace("-> (", "-> (f32[1,4], ").replace("return ", "return %sum, ")
    session = Session(netc.parse_graph(text), {"scale": np.ones(4, np.float32)})
    with netc.compile(netc.parse_graph(text), weights={"scale": np.ones(4, np.float32)}) as program:
        for inputs in rows(3):
            for got, wanted in zip(program(*inputs), session(inputs), strict=True):
                np.testing.assert_allclose(got, wanted, rtol=1e-6)


def test_concurrent_calls_take_turns(graph: Graph) -> None:
    ones = [np.ones((1, 4), np.float32), np.zeros(4, np.float32)]
    with netc.compile(graph, weights={"scale": np.ones(4, np.float32)}) as program, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: program(*ones), range(200)))
        assert len(program._callers.sessions) == 1
        assert program.state["n"] == 203
        np.testing.assert_array_equal(program.state["sum"], np.full((1, 4), 200.5, np.float32))


def test_a_call_amid_a_call_is_refused(graph: Graph) -> None:
    with netc.compile(graph) as program:
        program._session.caller = 1  # as in a signal handler
        with pytest.raises(NetcError, match="keeps a state: it can't be called amid a call of its own"):
            program(*rows(1)[0])
        with pytest.raises(NetcError, match="can't be set back amid a call"):
            program.reset()
        program._session.caller = 0


def test_what_takes_no_state_says_so(graph: Graph) -> None:
    with netc.compile(graph) as program, pytest.raises(TypeError, match="changes its parameters"):
        copy.copy(program)
    for attempt in (
        lambda: netc.quantize(graph, calibration=np.zeros((2, 1, 4), np.float32)),
        lambda: netc.passes.differentiate(graph),
        lambda: netc.compile_training(graph, loss="mean_squared_error"),
    ):
        with pytest.raises(NetcError, match=r"net acc keeps a state from run to run \(sum, old, n\): "):
            attempt()
    with pytest.raises(NetcError, match="acc keeps a state, which is that of one sample"):
        rebatch(graph, 2)


def test_weights_needn_t_hold_the_state(graph: Graph) -> None:
    with pytest.raises(NetcError, match="does not fit net acc; tensors: 1 missing"):
        netc.compile(graph, weights={})
    with pytest.raises(NetcError, match="does not fit net acc; tensors: 1 surplus"):
        netc.compile(graph, weights={"scale": np.ones(4, np.float32), "n": np.array(0, np.int32)})


def test_show_lists_the_state(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "acc.ir"
    file.write_text(TEXT)
    assert main(["show", str(file)]) == 0
    assert "state kept from run to run: sum: f32[1,4], old: f32[1,4], n: i32[]" in capsys.readouterr().out
    assert main(["show", "--json", str(file)]) == 0
    assert json.loads(capsys.readouterr().out)["state"][2] == {"name": "n", "dtype": "i32", "shape": []}
    assert main(["check", str(file)]) == 0
