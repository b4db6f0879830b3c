"""`netc import`: files of every format become text and weights, which give the file's numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import netc as package
from netc.export import write_tflite

from .conftest import Call

NET = """
block unit(x, filters) { return x |> conv@conv(filters, 3, bias = false) |> batch_norm@bn |> relu }
net small(image: f32[N, 8, 8, 3]) {
  for i in range(4) { image = unit@"stage.{i}"(image, 4 * (i + 1)) }
  return image |> global_avg_pool |> dense@fc(5)
}
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.net"
    path.write_text(NET, encoding="utf-8")
    return path


def outputs(model: Path, x: np.ndarray, weights: Path | None = None) -> np.ndarray:
    return np.asarray(package.compile(model, weights=weights, batch=x.shape[0])(x))


def test_onnx_files(netc: Call, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from ..frontend.onnx.small_models import classifier

    onnx.save(classifier(), tmp_path / "model.onnx")
    result = netc("import", tmp_path / "model.onnx", "-o", tmp_path / "mine.net")
    assert "which give all" in result.out
    text = (tmp_path / "mine.net").read_text(encoding="utf-8")
    assert text.startswith("net mine(image: f32[N, 3, 8, 8]) {")
    assert "conv@conv(6, 3, pad = 1)" in text
    assert "dense@fc(5)" in text
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    mine = outputs(tmp_path / "mine.net", x, tmp_path / "mine.safetensors")
    np.testing.assert_array_equal(mine, outputs(tmp_path / "model.onnx", x))


def test_tflite_files(netc: Call, small: Path, tmp_path: Path) -> None:
    write_tflite(small, tmp_path / "model.tflite", seed=4)
    netc("import", tmp_path / "model.tflite", "-o", tmp_path / "mine.net")
    x = np.random.default_rng(0).standard_normal((1, 8, 8, 3)).astype(np.float32)
    mine = outputs(tmp_path / "mine.net", x, tmp_path / "mine.safetensors")
    np.testing.assert_array_equal(mine, outputs(tmp_path / "model.tflite", x))


def test_nets_and_graphs_have_no_weights_of_their_own(netc: Call, small: Path, tmp_path: Path) -> None:
    netc("import", small, "-o", tmp_path / "mine.net")
    assert not (tmp_path / "mine.safetensors").exists()
    (tmp_path / "small.ir").write_text(str(package.load(small)), encoding="utf-8")
    netc("import", tmp_path / "small.ir", "-o", tmp_path / "other.net")
    texts = [(tmp_path / name).read_text(encoding="utf-8") for name in ("mine.net", "other.net")]
    assert "for (i, filters) in [[0, 4], [1, 8], [2, 12], [3, 16]] {" in texts[0]
    assert texts[1].count("\n") == texts[0].count("\n")


def test_weights_that_are_given_get_the_names_of_the_text(netc: Call, small: Path, tmp_path: Path) -> None:
    graph = package.load(small)
    weights = tmp_path / "weights.safetensors"
    package.runtime.weights.write_weights(weights, graph, package.runtime.weights.initial_weights(graph, 7))
    netc("import", small, "--weights", weights, "-o", tmp_path / "mine.net")
    x = np.random.default_rng(0).standard_normal((1, 8, 8, 3)).astype(np.float32)
    mine = outputs(tmp_path / "mine.net", x, tmp_path / "mine.safetensors")
    np.testing.assert_array_equal(mine, outputs(small, x, weights))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "mine.txt"], "the file is a .net file"),
        (["-o", "small.net"], "would replace what it is made from"),
        (["-o", "mine.net", "--weights", "none.safetensors"], "none.safetensors"),
        (["-o", "no/such/folder.net"], "can't write"),
    ],
)
def test_errors_leave_nothing_behind(
    netc: Call, small: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(small.parent)
    result = netc("import", "small.net", *arguments)
    assert result.code == 2
    assert message in result.err
    assert [p.name for p in small.parent.iterdir()] == ["small.net"]
    assert small.read_text(encoding="utf-8") == NET


def test_integers_are_refused_by_name(netc: Call, small: Path, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).random((4, 8, 8, 3), np.float32)
    write_tflite(package.quantize(small, calibration=samples), tmp_path / "q.tflite")
    result = netc("import", tmp_path / "q.tflite", "-o", tmp_path / "mine.net")
    assert result.code == 2
    assert "the language has no quantized tensors" in result.err
    assert not (tmp_path / "mine.net").exists()
