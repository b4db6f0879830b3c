"""ONNX files: what is read, what is refused and how that is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper  # noqa: E402

import netc  # noqa: E402
from netc.compiler.errors import Note  # noqa: E402
from netc.compiler.graph.interpreter import evaluate  # noqa: E402
from netc.frontend.onnx import graph_of  # noqa: E402
from netc.pipeline import compile_graph  # noqa: E402

from .agreement import X, agrees, problems  # noqa: E402
from .small_models import classifier, model  # noqa: E402


def test_a_classifier_has_one_transpose_left() -> None:
    graph = agrees(classifier(), X, batch=2)
    assert [op.name for op in graph.operations].count("transpose") == 1  # of the input


def test_a_batch_that_was_assumed_is_told(tmp_path: Path) -> None:
    path = tmp_path / "small.onnx"
    onnx.save(classifier(), path)
    with pytest.warns(Note, match="the file leaves the batch open: batch = 1"):
        netc.load(path)


def test_outputs_of_another_rank_than_the_file_declares(tmp_path: Path) -> None:
    made = model([helper.make_node("Relu", ["x"], ["y"])], {"x": [2, 3]}, ["y"])
    made.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, []))
    onnx.save(made, tmp_path / "small.onnx")
    with pytest.warns(Note, match=r"output `y` is f32\[2,3\], though the file declares 0 dimensions"):
        netc.load(tmp_path / "small.onnx")
    made.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    assert "not of the type that the file declares" in problems(made)


def test_one_tensor_may_be_several_outputs() -> None:
    made = model([helper.make_node("Relu", ["x"], ["y"])], {"x": [2, 3]}, ["y", "x", "y", "y"])
    graph, x = graph_of(made, "small"), np.arange(-3, 3, dtype=np.float32).reshape(2, 3)
    assert graph.attributes["signature"]["outputs"] == ("y", "x", "y.1", "y.2")
    with compile_graph(graph, threads=1) as program:
        for results in (evaluate(graph, [x]), program(x)):
            for result, wanted in zip(results, [np.maximum(x, 0), x, *[np.maximum(x, 0)] * 2], strict=True):
                np.testing.assert_array_equal(result, wanted)


def test_copies_of_an_output_take_no_name_that_the_file_has() -> None:
    nodes = [helper.make_node("Relu", ["y.2"], ["y"]), helper.make_node("Neg", ["y.2"], ["y.1"])]
    graph = graph_of(model(nodes, {"y.2": [2, 3]}, ["y", "y", "y.1"]), "small")
    assert graph.attributes["signature"]["outputs"] == ("y", "y.3", "y.1")


def test_nodes_in_another_order() -> None:
    zero = helper.make_graph(
        [helper.make_node("Identity", ["a"], ["z"])], "then", [], [helper.make_tensor_value_info("z", 1, None)]
    )
    nodes = [
        helper.make_node("If", ["yes"], ["y"], then_branch=zero, else_branch=zero),
        helper.make_node("Relu", ["b"], ["a"]),
        helper.make_node("Neg", ["x"], ["b"]),
    ]
    made = model(nodes, {"x": [2, 3]}, ["y"], {"yes": np.array(True)})
    x = np.arange(-3, 3, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(evaluate(graph_of(made, "small"), [x])[0], np.maximum(-x, 0))


def test_nodes_that_wait_for_each_other_are_refused() -> None:
    nodes = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Neg", ["a"], ["b"])]
    assert "is used before anything gives it a value" in problems(model(nodes, {"x": [2]}, ["b"]))


def test_shapes_are_computed_at_once() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "axes"], ["first"]),
        helper.make_node("Concat", ["first", "rest"], ["new"], axis=0),
        helper.make_node("Reshape", ["x", "new"], ["y"]),
    ]
    weights = {"zero": np.int64(0), "axes": np.array([0]), "rest": np.array([-1])}
    graph = agrees(model(nodes, {"x": X.shape}, ["y"], weights), X)
    assert [op.name for op in graph.operations] == ["reshape"]


def test_all_problems_at_once() -> None:
    nodes = [
        helper.make_node("Convolve", ["x"], ["a"], "one"),
        helper.make_node("Relu", ["x"], ["b"], "two", slope=1.0),
        helper.make_node("Strange", ["x"], ["c"], "three", domain="com.example"),
        helper.make_node("Relu", ["a"], ["d"], "four"),
        helper.make_node("StringNormalizer", ["a"], ["e"], "five"),
        helper.make_node("MatMul", ["x", "x"], ["f"], "six"),
    ]
    text = problems(model(nodes, {"x": (2, 3)}, ["d", "f"], domains={"com.example": 1}))
    assert "node 0 `one` (Convolve, opset 20): there is no operator Convolve in operator set 20" in text
    assert "node 1 `two` (Relu, opset 20): Relu-14 has no attribute `slope`" in text
    assert "node 2 `three` (com.example.Strange, opset 1): there is no operator Strange in the domain" in text
    assert "`four`" not in text  # depends on the first
    assert "node 4 `five` (StringNormalizer, opset 20): the operator StringNormalizer-10 is not supported" in text
    assert "node 5 `six` (MatMul, opset 20)" in text
    assert "inputs: f32[2,3], f32[2,3]" in text


@pytest.mark.parametrize("opset", [0, 99])
def test_operator_sets(opset: int) -> None:
    made = model([helper.make_node("Relu", ["x"], ["y"])], {"x": (2,)}, ["y"])
    made.opset_import[0].version = opset
    assert f"operator set {opset} is not supported" in problems(made)


def test_old_operators_are_read_if_they_stayed_as_they_were() -> None:
    agrees(
        model([helper.make_node("Softmax", ["x"], ["y"])], {"x": (2, 3)}, ["y"], opset=1),
        np.eye(2, 3, dtype=np.float32),
    )
    assert "Relu-1 is older than the rules of netc (6)" in problems(
        model([helper.make_node("Relu", ["x"], ["y"])], {"x": (2,)}, ["y"], opset=1)
    )


def test_an_attribute_that_netc_passes_over_is_refused() -> None:
    node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.BFLOAT16)
    assert "elements of type BFLOAT16 are not supported" in problems(model([node], {"x": (2,)}, ["y"]))
