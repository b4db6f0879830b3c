"""`netc import`: files of every format become text and weights, which give the file's numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import netc as package
from netc.compiler.errors import Note
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
        (["-o", "."], "call it imported.net"),
        (["-o", ""], "-o/--output is empty"),
        (["-o", "/"], "call it /imported.net"),
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


def test_integers_become_text_and_their_scales_lie_beside_weights(netc: Call, small: Path, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).random((4, 8, 8, 3), np.float32)
    file, mine = tmp_path / "q.tflite", tmp_path / "mine.net"
    write_tflite(package.quantize(small, calibration=samples), file)
    result = netc("import", file, "-o", mine)
    assert result.code == 0, result.err
    assert mine.read_text(encoding="utf-8").startswith('import "mine.safetensors"\n')
    one = package.compile(file, threads=1)
    other = package.compile(mine, weights=tmp_path / "mine.safetensors", threads=1)
    x = np.random.default_rng(1).integers(-128, 128, (1, 8, 8, 3), np.int8)
    np.testing.assert_array_equal(one(x), other(x))
    shown = netc("check", mine)
    assert shown.code == 0, shown.err


def test_what_a_file_says_about_pictures_and_classes(netc: Call, small: Path, tmp_path: Path) -> None:
    small.write_text(
        NET + 'preprocess small { divide = 127.5; mean = [1, 0.5, 1]; labels = ["a", "b", "c", "d", "e"] }'
    )
    write_tflite(small, tmp_path / "model.tflite", seed=4)
    assert netc("import", tmp_path / "model.tflite", "-o", tmp_path / "mine.net").code == 0
    text = (tmp_path / "mine.net").read_text(encoding="utf-8")
    assert '  labels = ["a", "b", "c", "d", "e"]\n' in text
    assert package.load(tmp_path / "mine.net").attributes["preprocess"]["mean"] == (1, 0.5, 1)
    given = netc("import", small, "-o", tmp_path / "mine.net", "--preprocess", "divide=255")
    assert given.code == 0, given.err
    assert "  divide = 255\n" in (tmp_path / "mine.net").read_text(encoding="utf-8")


def test_a_long_list_of_classes_becomes_a_file(netc: Call, tmp_path: Path) -> None:
    names = [f"name {i}" for i in range(30)]
    (tmp_path / "names.txt").write_text("\n".join(names), encoding="utf-8")
    (tmp_path / "m.net").write_text(
        "net m(x: f32[N, 8, 8, 3]) { return x |> global_avg_pool |> dense@fc(30) }\n"
        'preprocess m { labels = "names.txt" }',
        encoding="utf-8",
    )
    (tmp_path / "else").mkdir()
    assert netc("import", tmp_path / "m.net", "-o", tmp_path / "else" / "mine.net").code == 0
    assert 'labels = "mine.labels.txt"' in (tmp_path / "else" / "mine.net").read_text(encoding="utf-8")
    assert (tmp_path / "else" / "mine.labels.txt").read_text(encoding="utf-8").splitlines() == names


def test_onnx_metadata_about_pictures(netc: Call, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from ..frontend.onnx.small_models import classifier

    made = classifier()
    said = {"Image.NominalPixelRange": "Normalized_1_1", "names": str({i: f"class {i}" for i in range(5)})}
    onnx.helper.set_model_props(made, said)
    onnx.save(made, tmp_path / "model.onnx")
    found = package.load(tmp_path / "model.onnx").attributes["preprocess"]
    assert found == {"divide": 127.5, "mean": 1.0, "labels": tuple(f"class {i}" for i in range(5))}
    assert netc("import", tmp_path / "model.onnx", "-o", tmp_path / "mine.net").code == 0
    assert "preprocess mine {" in (tmp_path / "mine.net").read_text(encoding="utf-8")
    onnx.helper.set_model_props(made, {"Image.BitmapPixelFormat": "Bgr8"})
    onnx.save(made, tmp_path / "model.onnx")
    with pytest.warns(Note, match="pixels of Bgr8"):
        package.load(tmp_path / "model.onnx", batch=2)
