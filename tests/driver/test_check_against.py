"""`netc check --against`: an ONNX file beside another engine, node by node."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

from onnx import helper, numpy_helper  # noqa: E402

from netc.cli import main  # noqa: E402


def write(path: Path) -> None:
    """A network of three nodes: a sum, its hyperbolic tangent, a softmax."""
    nodes = [
        helper.make_node("Add", ["x", "b"], ["sum"], name="first"),
        helper.make_node("Tanh", ["sum"], ["t"], name="second"),
        helper.make_node("Softmax", ["t"], ["y"], name="third"),
    ]
    shape = [onnx.TensorProto.FLOAT, ("batch", 4)]
    x, y = (helper.make_tensor_value_info(n, *shape) for n in "xy")
    bias = numpy_helper.from_array(np.arange(4, dtype=np.float32), "b")
    graph = helper.make_graph(nodes, "three", [x], [y], [bias])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


@pytest.mark.parametrize("engine", ["reference", "onnxruntime"])
def test_engines_agree(engine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "three.onnx")
    assert main(["check", str(tmp_path / "three.onnx"), "--against", engine, "--set", "batch=3"]) == 0
    assert "3 results of nodes agree" in capsys.readouterr().out


def test_the_first_node_that_differs_is_named_with_both_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from netc.frontend.onnx import registry

    write(tmp_path / "three.onnx")
    assert main(["check", str(tmp_path / "three.onnx"), "--against", "reference"]) == 0
    wrong = [(1, lambda c: c.emit("sigmoid", c.value(0)))]
    monkeypatch.setitem(registry._RULES, ("", "Tanh"), wrong)
    assert main(["check", str(tmp_path / "three.onnx"), "--against", "reference"]) == 2
    told = capsys.readouterr().err
    assert "node 1 `second` (Tanh) differs from the ONNX reference evaluator: `t` is " in told
    assert " here and " in told
    assert "1 results of nodes before it agree" in told


def test_where_the_reference_evaluator_fails_its_node_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("it stumbles")

    write(tmp_path / "three.onnx")
    monkeypatch.setattr("onnx.reference.ops.op_tanh.Tanh._run", fail)
    assert main(["check", str(tmp_path / "three.onnx"), "--against", "reference"]) == 2
    told = capsys.readouterr().err
    assert "the ONNX reference evaluator can't run node 1 `second` (Tanh): " in told
    assert "try --against onnxruntime" in told


@pytest.mark.parametrize("engine", ["reference", "onnxruntime"])
def test_halves_may_be_rounded_at_other_places(engine: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    half = onnx.TensorProto.FLOAT16
    weight = numpy_helper.from_array(random.standard_normal((64, 8)).astype(np.float16), "w")
    x, y = helper.make_tensor_value_info("x", half, (4, 64)), helper.make_tensor_value_info("y", half, (4, 8))
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "halves", [x], [y], [weight])
    path = tmp_path / "halves.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    assert main(["check", str(path), "--against", engine]) == 0


def test_other_files_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "lenet5", "--against", "reference"]) == 2
    assert "--against is for ONNX files" in capsys.readouterr().err
    write(tmp_path / "three.onnx")
    assert main(["check", str(tmp_path / "three.onnx"), "--against", "reference", "--net", "a"]) == 2
