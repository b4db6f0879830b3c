"""ONNX files as inputs of commands."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netc.frontend import FORMATS

from .conftest import Call

pytest.importorskip("onnx")


def write(path: Path, made: Any) -> Path:
    path.write_bytes(made.SerializeToString())
    return path


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    from ..frontend.onnx import small_models

    return write(tmp_path / "c.onnx", small_models.classifier(side=16))


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    path = tmp_path / "d.npz"
    np.savez(path, x_test=np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8))
    return path


def test_to_the_edge_tpu_with_the_weights_of_the_file(
    netc: Call, classifier: Path, samples: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", os.fspath(classifier.parent))
    output = classifier.parent / "c_int8.tflite"
    command = ("--target", "edgetpu", "--calibrate", samples, "-o", output)
    made = netc("compile", classifier, *command, "--preprocess", "divide=127.5", "--preprocess", "mean=1")
    assert made.code == 0, made.err
    assert "Mapped to Edge TPU" in made.out
    assert output.exists()
    assert "He initialisation" not in netc("quantize", classifier, "--calibrate", samples, "-o", output).err
    lacking = netc("compile", tiny, *command)
    assert (lacking.code, "needs --weights" in lacking.err) == (2, True)
    assert "--preprocess is for --target edgetpu" in netc("compile", classifier, "--preprocess", "divide=2").err


def test_calibrating_and_training_on_numbers_of_words(netc: Call, tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    from ..frontend.onnx import small_models

    random = np.random.default_rng(0)
    nodes = [
        helper.make_node("Gather", ["words.weight", "t"], ["e"]),
        helper.make_node("ReduceMean", ["e"], ["m"], keepdims=0, axes=[1]),
        helper.make_node("Gemm", ["m", "head.weight", "head.bias"], ["y"]),
    ]
    shapes = {"words.weight": (30, 8), "head.weight": (8, 2), "head.bias": (2,)}
    weights = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    given: dict[str, Any] = {"opset": 13, "kinds": {"t": TensorProto.INT64}}
    net = write(tmp_path / "words.onnx", small_models.model(nodes, {"t": ["batch", 5]}, ["y"], weights, **given))
    t = random.integers(0, 30, (32, 5))
    y = (t[:, 0] > 14).astype(np.int64)
    np.savez(tmp_path / "w.npz", x_train=t, y_train=y, x_test=t, y_test=y)
    data, run = tmp_path / "w.npz", tmp_path / "run"
    made = netc("quantize", net, "--calibrate", data, "--allow-float", "-o", tmp_path / "w.tflite")
    assert made.code == 0, made.err
    trained = netc("train", net, "--data", data, "--batch", 8, "--epochs", 30, "--run-dir", run, "--workers", 0)
    assert trained.code == 0, trained.err
    scored = netc("eval", net, "--data", data, "--weights", run / "best.safetensors", "--json")
    assert json.loads(scored.out)["top1"] > 0.7, scored.out


def test_operands_that_are_computed_have_no_integer_form_as_weights() -> None:
    import netc
    from netc.compiler.errors import NetcError
    from netc.frontend.graph_text import graph_of_text

    graph = graph_of_text(
        """graph @two(%x: f32[2,4], %w: f32[4,3]) -> (f32[2,3]) {
  %s = sigmoid(%w) : f32[4,3]
  %y = dense(%x, %s) : f32[2,3]
  return %y
}
""",
        "two",
    )
    samples = [tuple(np.random.default_rng(i).random(s, np.float32) for s in ((2, 4), (4, 3))) for i in range(3)]
    with pytest.raises(NetcError, match="no integer form with weights that the network computes"):
        netc.quantize(graph, calibration=samples)
    mixed = netc.quantize(graph, calibration=samples, allow_float=True)
    assert "dense" in [op.name for op in mixed.operations]


def test_passes_run_over_it(netc: Call, classifier: Path) -> None:
    result = netc("opt", "cse,dce", classifier)
    assert result.code == 0, result.err
    assert result.out.startswith("graph @c(")


def test_check_binds_open_sizes(netc: Call, tmp_path: Path) -> None:
    from onnx import helper

    from ..frontend.onnx import small_models

    made = small_models.model([helper.make_node("Relu", ["x"], ["y"])], {"x": ["batch", "height/2"]}, ["y"])
    path = write(tmp_path / "open.onnx", made)
    refused = netc("check", path)
    assert (refused.code, "--set height_2=SIZE" in refused.err) == (2, True)
    assert netc("check", path, "--set", "height_2=4").out == f"{path}: no errors\n"
    large = netc("check", path, "--set", "height_2=99999999999")
    assert (large.code, "a whole number from 0 to 2147483647" in large.err) == (2, True)
    (tmp_path / "n.net").write_text("net n(x: f32[N, K]) { return x |> relu }", encoding="utf-8")
    assert "--net, --set and --batch need --target" in netc("check", tmp_path / "n.net", "--set", "K=4").err


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A file that leaves the number of pictures open under a name of its own; its mask has none."""
    from onnx import helper

    from ..frontend.onnx import small_models

    nodes = [helper.make_node("GlobalAveragePool", ["x"], ["p"]), helper.make_node("Flatten", ["p"], ["y"])]
    return write(tmp_path / "many.onnx", small_models.model(nodes, {"x": ["items", 3, 4, 4]}, ["y"]))


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("show", "{}"), "net many(x: f32[3,3,4,4]) -> y: f32[3,3]"),
        (("check", "{}"), "no errors"),
        (("check", "{}", "--against", "reference"), "2 results of nodes agree"),
        (("check", "{}", "--target", "edgetpu"), "Edge TPU"),
        (("compile", "{}", "--emit", "graph"), "f32[3,3,4,4]"),
        (("bench", "{}", "--seconds", "0"), "many, batch 3,"),
        (("opt", "cse", "{}"), "f32[3,3,4,4]"),
        (("quantize", "{}", "--float16", "-o", "q.tflite"), "q.tflite: "),
        (("import", "{}", "-o", "i.net"), "i.net: "),
        (("build", "{}", "-o", "lib"), "many for "),
        (("run", "{}"), "class 0"),
    ],
)
def test_all_commands_take_a_batch(
    netc: Call, many: Path, command: tuple[str, ...], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(many.parent)
    words = [os.fspath(many) if word == "{}" else word for word in command]
    result = netc(*words, "--batch", 3)
    assert (result.code, says in result.out) == (0, True), result.err + result.out
    assert "--set items=SIZE" in netc(*words).err  # nobody said that it is a batch


def test_an_input_without_a_batch_stays_as_it_is(tmp_path: Path) -> None:
    from onnx import helper

    import netc

    from ..frontend.onnx import small_models

    made = small_models.model([helper.make_node("MatMul", ["x", "m"], ["y"])], {"x": ["batch", 5], "m": [5, 2]}, ["y"])
    graph = netc.load(write(tmp_path / "two.onnx", made), batch=4)
    assert [v.type.shape for v in (*graph.inputs, *graph.results)] == [(4, 5), (5, 2), (4, 2)]


def test_several_pictures_share_a_call(netc: Call, many: Path) -> None:
    from PIL import Image

    folder = many.parent / "pictures"
    folder.mkdir()
    for i, colour in enumerate(((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 0, 0))):
        Image.new("RGB", (4, 4), colour).save(folder / f"{i}.png")
    (folder / "1b.png").write_bytes(b"no picture")
    result = netc("run", many, "--batch", 3, "--image", folder, "--image", folder / "3.png", "--json")
    found = [record["answer"][0]["index"] for record in json.loads(result.out) if "answer" in record]
    assert found == [0, 1, 2, 0, 0], result.err


def test_articles_of_formats(netc: Call, classifier: Path) -> None:
    path = classifier.with_suffix(".net")
    path.write_bytes(classifier.read_bytes())
    assert "is named like a .net file, but holds an ONNX model" in netc("show", path).err
    assert "there is no" in netc("show", classifier.parent / "missing.onnx").err
    assert all(f.name[0] in ".gOT" for f in FORMATS.values()), "names begin as `with_article` knows them"


def test_a_constant_that_two_operators_in_floats_read_is_one(tmp_path: Path) -> None:
    import netc
    from netc.frontend.graph_text import graph_of_text

    graph = graph_of_text(
        """graph @two(%x: f32[2,4], %w: f32[2,4]) -> (f32[2,4]) {
  %limit = constant {value = dense<[1.5,2,3,4]>} : f32[4]
  %a = atan2(%x, %limit) : f32[2,4]
  %b = atan2(%w, %limit) : f32[2,4]
  %y = add(%a, %b) : f32[2,4]
  return %y
}
""",
        "two",
    )
    samples = [tuple(np.random.default_rng(i).random((2, 2, 4), np.float32)) for i in range(3)]
    mixed = netc.quantize(graph, calibration=samples, allow_float=True)
    assert [v.name for v in mixed.producers].count("limit") == 1
