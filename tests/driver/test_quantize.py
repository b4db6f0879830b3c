"""`netc quantize`, `netc.quantize` and `netc.write_tflite`, on a small network and pictures made of noise."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import netc
from netc.cli import main
from netc.runtime.images import Preprocess

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
        ({"ranges": "no-such-file"}, "can't read no-such-file"),
        ({"calibration": [], "inputs": "i16"}, "takes and gives i8, u8, f32, not i16"),
        ({"calibration": []}, "there are no samples to calibrate with"),
    ],
)
def test_what_is_missing_is_an_error(network: Path, options: dict[str, object], problem: str) -> None:
    with pytest.raises(netc.NetcError, match=problem):
        netc.quantize(str(network), **options)  # type: ignore[arg-type]
