"""`netc quantize`, `netc.quantize` and `netc.write_tflite`, on a small network and pictures made of noise."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import netc
from netc.cli import main
from netc.runtime.data.images import Preprocess

NETWORK = """
net small(image: f32[N, 8, 8, 3], classes = 4) {
  return image |> conv(6, 3) |> relu |> conv(6, 3, stride = 2) |> relu6 |> global_avg_pool |> dense(classes)
}

preprocess small {
  crop = 7 / 8, resize = bicubic, divide = 255, mean = [0.5, 0.4, 0.3], std = 0.25, labels = ["a", "b", "c", "d"]
}
"""


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "small.net"
    path.write_text(NETWORK, encoding="utf-8")
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    random = np.random.default_rng(1)
    for i in range(5):
        Image.fromarray(random.integers(0, 256, (12, 10, 3), np.uint8)).save(folder / f"{i}.png")
    return folder


def test_the_command_writes_a_file_that_runs(network: Path, pictures: Path, tmp_path: Path) -> None:
    output, report, ranges = (tmp_path / name for name in ("small.tflite", "report.json", "ranges.json"))
    arguments = ["quantize", str(network), "--calibrate", str(pictures), "-o", str(output)]
    assert main([*arguments, "--report", str(report), "--ranges", str(ranges), "--equalize"]) == 0
    layers = json.loads(report.read_text(encoding="utf-8"))["layers"]
    assert [row["operator"] for row in layers] == ["relu", "relu6", "reduce_mean", "dense"]
    assert all(row["decibels"] > 20 for row in layers)
    assert json.loads(ranges.read_text(encoding="utf-8"))["samples"] == 5
    graph = netc.load(str(output))
    assert str(graph.inputs[0].type.dtype) == "i8"
    assert graph.attributes["preprocess"] == netc.load(str(network)).attributes["preprocess"]
    assert Preprocess.of(graph) == Preprocess.of(netc.load(str(network)))
    assert main(["run", str(output), "--image", str(pictures / "0.png")]) == 0


def test_integers_answer_as_floats_do(network: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(2).standard_normal((1, 8, 8, 3)).astype(np.float32)
    calibrated = netc.calibrate(str(network), [x], seed=3)
    graph = netc.quantize(str(network), calibration=calibrated, inputs="f32", outputs="f32")
    ranges = tmp_path / "ranges.json"
    ranges.write_text(calibrated.calibration.ranges("mse").to_json(), encoding="utf-8")
    again = netc.quantize(str(network), ranges=ranges, inputs="f32", outputs="f32", seed=3)
    wanted = netc.compile(str(network), seed=3)(x)
    got = netc.compile(graph)(x)
    np.testing.assert_allclose(got, wanted, atol=0.05 * np.abs(wanted).max())
    np.testing.assert_array_equal(netc.compile(again)(x), got)


def test_arrays_are_samples_too(network: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    samples = [random.standard_normal((1, 8, 8, 3)).astype(np.float32) for _ in range(3)]
    netc.write_tflite(netc.quantize(str(network), calibration=samples), tmp_path / "small.tflite")
    assert netc.load(str(tmp_path / "small.tflite")).outputs[0].type.quantization is not None


def test_arrays_of_any_type_are_judged_as_in_training(network: Path) -> None:
    """Pixels give the ranges that normalised samples give; what was guessed is a warning."""
    graph = netc.load(str(network))
    pixels = np.random.default_rng(2).integers(0, 256, (3, 8, 8, 3), np.uint8)
    pixels[0, 0, 0, :2] = 0, 255
    mean, std = np.array([0.5, 0.4, 0.3]), 0.25
    wanted = netc.calibrate(graph, ((pixels / 255 - mean) / std).astype(np.float32)[:, np.newaxis]).calibration.ranges()
    declared = {key: value for key, value in graph.attributes["preprocess"].items() if key != "crop"}
    without_crop = replace(graph, attributes={"preprocess": declared})
    for values, said in (
        (pixels, None),
        (pixels.astype("int64"), "the array is int64 from 0 to 255: preprocess is applied"),
        (pixels.astype("f8"), "the array is float64 from 0 to 255: preprocess is applied"),
        ((pixels / 255).astype("f4"), "taken for pixels / 255, preprocess is applied"),
    ):
        with pytest.warns(UserWarning, match=said) if said else warnings.catch_warnings(action="error"):
            found = netc.calibrate(without_crop, values).calibration.ranges()
        for name, range_ in wanted.ranges.items():
            assert (range_.low, range_.high) == pytest.approx((found[name].low, found[name].high), rel=1e-4, abs=1e-5)
    with pytest.raises(netc.NetcError, match="channels come last"):
        netc.calibrate(graph, pixels.transpose(0, 3, 1, 2).copy())


def test_junk_among_pictures_changes_no_byte(
    network: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def quantized(samples: Path, name: str) -> bytes:
        assert main(["quantize", str(network), "--calibrate", str(samples), "-o", str(tmp_path / name)]) == 0
        return (tmp_path / name).read_bytes()

    expected = quantized(pictures, "clean.tflite")
    (pictures / "._0.jpg").write_bytes(b"\0\5\26\7\0\2")
    (pictures / "1b.jpg").write_bytes(b"no picture")
    (pictures / "empty.png").touch()
    (pictures / "dir.jpg").mkdir()
    capsys.readouterr()
    assert quantized(pictures, "junk.tflite") == expected
    said = capsys.readouterr().err
    assert all(said.count(f"{name}") == 1 for name in ("._0.jpg", "1b.jpg", "empty.png", "dir.jpg"))
    with pytest.warns(UserWarning, match="1b.jpg: not a picture"):
        netc.calibrate(str(network), str(pictures))


def test_float_networks_are_written_too(network: Path, tmp_path: Path) -> None:
    netc.write_tflite(str(network), tmp_path / "small.tflite", seed=5)
    x = np.random.default_rng(2).standard_normal((1, 8, 8, 3)).astype(np.float32)
    wanted = netc.compile(str(network), seed=5)(x)
    np.testing.assert_allclose(netc.compile(str(tmp_path / "small.tflite"))(x), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"calibration": "no-such-data"}, "there is no data set `no-such-data`"),
        ({}, "takes samples to calibrate with, or ranges"),
        ({"ranges": "no-such-file"}, "there is no file of calibrated ranges no-such-file"),
        ({"calibration": [], "inputs": "i16"}, "takes and gives i8, u8, f32, not i16"),
        ({"calibration": []}, "there are no samples to calibrate with"),
    ],
)
def test_what_is_missing_is_an_error(network: Path, options: dict[str, object], problem: str) -> None:
    with pytest.raises(netc.NetcError, match=problem):
        netc.quantize(str(network), **options)
