"""Sizes of ONNX files: those that are open, and inputs that decide on shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper  # noqa: E402

import netc  # noqa: E402
from netc.compiler.errors import NetcError  # noqa: E402
from netc.compiler.graph.interpreter import evaluate  # noqa: E402
from netc.frontend.onnx import graph_of  # noqa: E402
from netc.frontend.onnx.reader import UnknownInputsError  # noqa: E402

from .agreement import problems  # noqa: E402
from .small_models import model  # noqa: E402


def test_parts_of_known_tensors() -> None:
    """A sequence of parts of a weight is read as numbers: none of them is an operation that nobody keeps."""
    nodes = [
        helper.make_node("SplitToSequence", ["w", "sizes"], ["parts"], axis=0),
        helper.make_node("SequenceAt", ["parts", "one"], ["part"]),
        helper.make_node("Add", ["x", "part"], ["y"]),
    ]
    w = np.arange(6, dtype=np.float32).reshape(3, 2)
    known = {"w": w, "sizes": np.array([1, 2]), "one": np.array(1)}
    graph = graph_of(model(nodes, {"x": [2, 2]}, ["y"], known), "small")
    (found,) = evaluate(graph, [np.ones((2, 2), np.float32)])
    np.testing.assert_array_equal(found, w[1:] + 1)


def test_open_sizes_are_bound_by_name() -> None:
    made = model([helper.make_node("Relu", ["x"], ["y"])], {"x": ["N", "height", None]}, ["y"])
    text = problems(made)
    assert "sizes of the inputs are open" in text
    assert "--set height=SIZE --set x_2=SIZE" in text
    graph = graph_of(made, "small", batch=4, settings={"height": 5, "x_2": 6})
    assert graph.inputs[0].type.shape == (4, 5, 6)
    assert "there is no open size or input `heigth`" in problems(made, settings={"heigth": 5, "x_2": 6, "height": 1})
    assert "did you mean height?" in problems(made, settings={"heigth": 5})
    refused = problems(made, settings={"height": "tall", "x_2": 6})
    assert "the size height must be a whole number" in refused
    assert "there is no open size" not in refused  # the other one wasn't reached


def test_sizes_that_differ_in_punctuation_have_names_of_their_own() -> None:
    shape = ["N", "h*2", "h/2", "h_2", "2h"]
    made = model([helper.make_node("Relu", ["x"], ["y"])], {"x": shape, "h.2": ["h/2"]}, ["y"])
    text = problems(made)
    assert "--set h_2=SIZE" in text
    for number, name in ((2, "h*2"), (3, "h/2")):
        assert f"h_2_{number}: dimension {number - 1} of input `x` (`{name}`)" in text
    assert "--set _2h=SIZE" in text
    options = {"h_2": 5, "h_2_2": 6, "h_2_3": 7, "_2h": 8}
    assert [v.type.shape for v in graph_of(made, "small", settings=options).inputs] == [(1, 6, 7, 5, 8), (7,)]
    own = {"h_2": 5, "h*2": 6, "h/2": 7, "2h": 8}
    assert [v.type.shape for v in graph_of(made, "small", settings=own).inputs] == [(1, 6, 7, 5, 8), (7,)]


def test_a_size_and_an_input_of_one_name_are_two_options() -> None:
    made = model([helper.make_node("Relu", ["x"], ["y"])], {"x": [2, "x", None], "x_2": [3]}, ["y"])
    graph = graph_of(made, "small", settings={"x": 4, "x_2": 5})
    assert [v.type.shape for v in graph.inputs] == [(2, 4, 5), (3,)]
    graph = graph_of(made, "small", settings={"x": 4, "x_2": 5, "x_2_2": [1, 2, 3]})
    assert [v.type.shape for v in graph.inputs] == [(2, 4, 5)]


def test_a_fixed_batch_is_said(tmp_path: Path) -> None:
    path = tmp_path / "fixed.onnx"
    onnx.save(model([helper.make_node("Relu", ["x"], ["y"])], {"x": [2, 3]}, ["y"]), path)
    with pytest.raises(NetcError, match="is fixed, it can't be 4"):
        netc.load(path, batch=4)


def test_inputs_that_decide_on_shapes_are_given(tmp_path: Path) -> None:
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    made = model([node], {"x": [2, 3], "shape": [1]}, ["y"], kinds={"shape": TensorProto.INT64})
    text = problems(made)
    assert "input 1, `shape`, must be known when the file is read" in text
    assert "give values of the inputs it depends on: `shape`" in text
    graph = graph_of(made, "small", settings={"shape": [6]})
    assert graph.outputs[0].type.shape == (6,)
    onnx.save(made, tmp_path / "small.onnx")
    with pytest.raises(UnknownInputsError) as raised:
        netc.load(tmp_path / "small.onnx")
    assert raised.value.inputs == {"shape"}


def test_the_ratio_of_dropout_need_not_be_known_where_nothing_is_dropped() -> None:
    node = helper.make_node("Dropout", ["x", "ratio"], ["y"])
    graph = graph_of(model([node], {"x": [2, 3], "ratio": []}, ["y"]), "dropout")
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(evaluate(graph, [x, np.float32(0.5)])[0], x)
