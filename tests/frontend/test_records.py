"""Records: their syntax and fields, records as hyperparameters and as named outputs; blocks as hyperparameters."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.errors import NetcError
from netc.compiler.graph.parser import parse_graph
from netc.compiler.passes import differentiate
from netc.compiler.signature import output_names
from netc.compiler.tflite.reading import read_model
from netc.frontend import check_text, load_text, parse_source
from netc.frontend.tflite import load_tflite

OUTPUTS = "net n(x: f32[N, 4]) { y = x |> dense@a(3); return {boxes: y, scores: relu(y)} }"


def shape(body: str, **hyperparameters: Any) -> tuple[int, ...]:
    """The shape that a net gives whose body computes a number `n` of units."""
    head = ", ".join(["x: f32[N, 2]", *(f"{name}" for name in hyperparameters)])
    graph = load_text(f"net n({head}) {{ {body}\nreturn dense(x, n) }}", hyperparameters=hyperparameters)
    return graph.outputs[0].type.shape[1:]


def problem(body: str) -> tuple[str, str | None]:
    (found,) = check_text(f"net n(x: f32[N, 2]) {{\n{body}\nreturn x }}")
    assert found.location is not None
    return found.message, found.hint


@pytest.mark.parametrize(
    "body",
    [
        "n = {a: 3, b: 4}.a",
        "r = {a: {b: [1, 3]}}; n = r.a.b[1]",
        "r = {\n  a: 1\n  b: 6 // 2\n}\nn = r.b",
        "r = {\n\n  a: 1,\n\n  b: 3, // a comment of words\n}\nn = r.b",
        "r = {a: max}; n = r.a(1, 3)",
        "r = {a: relu}; y = x |> r.a |> r.a(); n = 3",
        "n = 0; for s in [{a: 1}, {a: 2}] { n += s.a }",
        "r = {n: 7}; n = r.n // 2",
        'r = {n: 3}; n = len("{r.n}__")',
        "n = if {a: 1, b: [2]} == {b: [2], a: 1} and {a: 1} != {a: 2} and {} != {a: 1} and {a: 1} != 1 then 3 else 4",
        "if {a: true}.a { n = 3 } else { n = 4 }",
    ],
)
def test_records(body: str) -> None:
    assert shape(body) == (3,)


def test_a_comment_after_a_value_may_end_in_a_full_stop() -> None:
    comments = parse_source("net n(x: f32[N, 2]) {\n  y = 3 // x.\n  z = y // y . \n return x }", "t").comments
    assert [c.text for c in comments] == ["// x.", "// y ."]


@pytest.mark.parametrize(
    ("body", "message", "hint"),
    [
        ("r = {filters: 1}; y = r.filter", "the record has no field `filter`", "did you mean filters?"),
        ("r = {filters: 1}; y = r.kind", "the record has no field `kind`", "it has filters"),
        ("y = x.shape", "only records have fields, not a tensor f32[1,2]", "write shape(...)"),
        ("y = {a: 1, a: 2}", "`a` is given twice", "first at <text>:2:6"),
        ("y = {a: 1, b: [1]} + 1", "`+` can't combine the record {a: 1, b: ...} and the number 1", None),
        ("y = dense(x, {a: 1})", "`units` of dense must be a whole number, not the record {a: 1}", None),
        ("y = 1.", "`1.` is not a number", None),
    ],
)
def test_misuse(body: str, message: str, hint: str | None) -> None:
    assert problem(body) == (message, hint)


def test_records_and_blocks_from_outside() -> None:
    assert shape("n = stages[1].n", stages=[{"n": 1}, {"n": 3}]) == (3,)
    assert shape("n = depths[0][1]", depths=[[1, 3], [2]]) == (3,)
    text = "block double(x) { return 2 * x } net n(x: f32[N, 2], act = relu, units: block[] = [relu]) {\n"
    text += "for u in units { x = u(x) }\nreturn act(x) }"
    graph = load_text(text, hyperparameters={"act": "double", "units": ["tanh", "relu"]})
    assert [op.name for op in graph.operations if op.name != "constant"] == ["tanh", "relu", "mul"]
    with pytest.raises(NetcError, match="there is no block, layer or function `rel`"):
        load_text(text, hyperparameters={"act": "rel"})
    with pytest.raises(NetcError, match="the fields of a record in `act` need names"):
        load_text(text, hyperparameters={"act": {1: 2}})
    with pytest.raises(NetcError, match="`r` of n must be a record, not the number 1"):
        load_text("net n(x: f32[N, 2], r: record = {}) { return x }", hyperparameters={"r": 1})


def test_outputs_have_names_everywhere(tmp_path: Path) -> None:
    graph = load_text(OUTPUTS)
    assert output_names(graph) == ("boxes", "scores")
    assert output_names(parse_graph(str(graph))) == ("boxes", "scores")
    with netc.compile(graph) as program:
        result = program(np.ones((1, 4), np.float32))
        assert list(program.outputs) == ["boxes", "scores"]
    assert isinstance(result, tuple)
    again = pickle.loads(pickle.dumps(result))
    for outputs in (result, again):
        np.testing.assert_array_equal(outputs["scores"], np.maximum(outputs[0], 0))
        assert outputs["boxes"] is outputs[0]
    with pytest.raises(NetcError, match="there is no output `score`"):
        result["score"]
    netc.write_tflite(graph, tmp_path / "n.tflite")
    model = read_model((tmp_path / "n.tflite").read_bytes())
    assert dict(model.signatures[0].outputs) == dict(zip(["boxes", "scores"], model.outputs, strict=True))
    assert [model.tensors[i].name for i in model.outputs] == ["boxes", "scores"]
    assert output_names(load_tflite(tmp_path / "n.tflite")) == ("boxes", "scores")


def test_other_graphs_made_of_it_have_no_such_names() -> None:
    graph = load_text(OUTPUTS.replace("return {boxes: y, scores: relu(y)}", "return {loss: reduce_sum(y), y: y}"))
    assert output_names(differentiate(graph, 0, ["x"])) == ()


def test_a_net_with_outputs_by_name_as_a_block() -> None:
    graph = load_text(OUTPUTS + "\nnet m(x: f32[N, 4]) { return n@n(x).scores }", net="m")
    assert output_names(graph) == ()
    assert [p.result.name for p in graph.parameters] == ["n.a.weight", "n.a.bias"]


@pytest.mark.parametrize(("value", "what"), [("{}", "returns an empty list"), ("{a: 1}", "must return tensors, not")])
def test_outputs_must_be_tensors(value: str, what: str) -> None:
    assert what in check_text(f"net n(x: f32[N, 4]) {{ return {value} }}")[0].message


def test_blocks_in_given_records_go_by_name() -> None:
    text = """
    block basic(x, n) { return x |> dense@a(n) }
    block wide(x, n) { return x |> dense@b(n) |> dense@c(n) }
    net m(x: f32[N, 4], stages = [{unit: basic, n: 3}], act = {f: relu, note: "basic"}) {
      for (i, s) in enumerate(stages) { x = s.unit@"s{i}"(x, s.n) |> act.f }
      return dense@"{act.note}"(x, 2)
    }
    """
    given = {"stages": [{"unit": "wide", "n": 5}, {"unit": "basic", "n": 6}], "act": {"f": "tanh", "note": "wide"}}
    names = [p.result.name for p in load_text(text, hyperparameters=given).parameters]
    expected = ["s0.b", "s0.c", "s1.a", "wide"]
    assert names == [f"{path}.{name}" for path in expected for name in ("weight", "bias")]
    with pytest.raises(NetcError, match="there is no block, layer or function `nope`"):
        load_text(text, hyperparameters={"stages": [{"unit": "nope", "n": 5}]})
