"""Inputs and verdicts of the scoreboard of public ONNX files."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")

import onnx
from onnx import TensorProto, helper


@pytest.fixture
def inputs() -> ModuleType:
    module: ModuleType = pytest.importorskip("public_onnx_inputs")
    return module


@pytest.mark.parametrize(
    ("name", "code", "shape", "sizes"),
    [
        ("x", TensorProto.FLOAT, ["batch", 3, "height", "width"], {"batch": 1, "height": 64, "width": 96}),
        ("x", TensorProto.FLOAT, [None, "h", "w", 3], {"x_0": 1, "h": 64, "w": 96}),
        ("line", TensorProto.FLOAT, ["N", 3, 48, "w"], {"N": 1, "w": 160}),
        ("ids", TensorProto.INT64, ["batch", "sequence"], {"batch": 1, "sequence": 16}),
        ("state", TensorProto.FLOAT, [2, None, 128], {"state_1": 1}),
        ("h", TensorProto.FLOAT, [1, "past"], {"past": 8}),
        ("m", TensorProto.FLOAT, ["past", "past + 1"], {"past": 1, "past + 1": 2}),
    ],
)
def test_sizes(inputs: ModuleType, name: str, code: int, shape: list[Any], sizes: dict[str, int]) -> None:
    info = helper.make_tensor_value_info(name, code, shape)
    assert next(inputs.sizes_to_try([inputs._input(info)])) == sizes


def test_sizes_of_weights_are_tried(inputs: ModuleType, tmp_path: Path) -> None:
    weight = onnx.numpy_helper.from_array(np.zeros((11, 7), np.float32), "w")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["features"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [weight])
    onnx.save(helper.make_model(graph), tmp_path / "m.onnx")
    tried = inputs.sizes_to_try(inputs.inputs_of(tmp_path / "m.onnx"), inputs.sizes_of_weights(tmp_path / "m.onnx"))
    assert {"features": 11} in list(tried)


@pytest.mark.parametrize(
    ("name", "shape", "numbers"),
    [("sr", [], 16000), ("attention_mask", [1, 4], [[1, 1, 1, 1]]), ("lengths", [1], [12])],
)
def test_integers_that_are_named(inputs: ModuleType, name: str, shape: list[Any], numbers: Any) -> None:
    infos = [("signal", TensorProto.FLOAT, [1, 12]), (name, TensorProto.INT64, shape)]
    drawn = [inputs._input(helper.make_tensor_value_info(*info)) for info in infos]
    first, second, third = next(inputs.calls_to_try(drawn, {}))
    for call in (first, second, third):
        np.testing.assert_array_equal(call[1], numbers)
    assert first[0] is third[0]
    assert first[0].min() >= 0 > second[0].min()


def test_a_file_is_judged(tmp_path: Path) -> None:
    file = pytest.importorskip("public_onnx_file")
    pytest.importorskip("onnxruntime")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Softmax", ["x"], ["y"])], "g", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]), tmp_path / "m.onnx")
    case = file.case_of(tmp_path / "m.onnx")
    got = [[np.exp(row[0]) / np.exp(row[0]).sum(-1, keepdims=True)] for row in case.calls]
    assert file._verdict(case, got)["verdict"] in ("exact", "close")
    got[1][0] = got[1][0] + np.float32(0.01)
    assert file._verdict(case, got)["verdict"] == "differs"


def chooser(path: Path, scale: float = 1.0) -> None:
    """The two elements with the largest scores, which are those of another input times a number."""
    nodes = [
        helper.make_node("Mul", ["scores", "scale"], ["s"]),
        helper.make_node("TopK", ["s", "k"], ["best", "places"], axis=1),
        helper.make_node("GatherElements", ["x", "places"], ["y"], axis=1),
    ]
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in ("x", "scores")]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])
    known = [("k", np.array([2], np.int64)), ("scale", np.array(scale, np.float32))]
    weights = [onnx.numpy_helper.from_array(a, n) for n, a in known]
    graph = helper.make_graph(nodes, "g", inputs, [output], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


def test_networks_that_choose_get_the_other_choices(tmp_path: Path) -> None:
    choices, file = pytest.importorskip("public_onnx_choices"), pytest.importorskip("public_onnx_file")
    pytest.importorskip("onnxruntime")
    chooser(tmp_path / "m.onnx")
    rows = [
        {n: np.random.default_rng(i).normal(size=(1, 4)).astype(np.float32) for n in ("x", "scores")} for i in (0, 1)
    ]
    wanted, got, count = choices.with_choices(tmp_path / "m.onnx", rows, {}, file._named)
    assert count == 1
    assert [len(call) for call in got] == [2, 2]  # the file's output, and the scores
    assert file.judged(wanted, None, got)["verdict"] == "exact"

    def turned(model: bytes, row: dict[str, Any]) -> Any:
        """A runtime that chooses the smallest ones."""
        found = file._named(model, row)
        return {**found, "places": np.argsort(row["scores"])[:, :2]}

    assert choices.with_choices(tmp_path / "m.onnx", rows, {}, turned) is None
