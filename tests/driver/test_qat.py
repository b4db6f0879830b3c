"""`netc train --qat` from trained weights to a TFLite file, on a small net and three kinds of picture."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import netc as package
from netc.compiler.quantization import Ranges
from netc.runtime.trainer import QatTrainer
from netc.runtime.training.run import read_records

from .conftest import Call

NET = """\
net tiny(image: f32[N, 8, 8, 1], classes = 3) {
  return image |> conv@conv(8, 3, bias = false) |> batch_norm@bn |> relu |> max_pool(2) |> flatten |> dense@fc(classes)
}
preprocess tiny { divide = 255, mean = 0.5 }
train tiny {
  data = "DATA"
  optimizer = sgd(lr = 0.1, momentum = 0.9)
  schedule = cosine(epochs = 3)
  batch = 16
}
"""


@pytest.fixture
def float_weights(netc: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The net, its data and a short run in floats, in the current folder."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for split, count in (("train", 160), ("test", 60)):
        labels = random.integers(0, 3, count)
        pictures = random.integers(0, 120, (count, 8, 8))
        pictures[labels != 0, :, 4:] += 100
        pictures[labels != 1, :, :4] += 100
        arrays |= {f"x_{split}": pictures.astype(np.uint8), f"y_{split}": labels}
    np.savez("data.npz", **arrays)
    Path("tiny.net").write_text(NET.replace("DATA", str(tmp_path / "data.npz")))
    assert netc("train", "tiny.net", "--threads", 2, "--run-dir", "float").code == 0
    return Path("float/best.safetensors")


def qat(netc: Call, weights: Path, folder: str, *options: object) -> str:
    result = netc("train", "tiny.net", "--qat", "--weights", weights, "--threads", 2, "--run-dir", folder, *options)
    assert (result.code, result.err) == (0, "")
    return result.out


@pytest.mark.parametrize("kind", ["moving", "learned"])
def test_from_weights_to_a_file_of_integers(netc: Call, float_weights: Path, kind: str) -> None:
    out = qat(netc, float_weights, "run", "--qat-ranges", kind)
    assert f"quantization-aware: adam(lr=0.0001), cosine(epochs=2), ranges {kind}" in out
    assert "tiny: 2 epochs of 10 steps of 16" in out
    figures = re.search(r"float ([\d.]+)% \(before\), fake-quantized ([\d.]+)%, int8 ([\d.]+)%", out)
    assert figures is not None
    assert max(abs(float(figures[1]) - float(f)) for f in figures.groups()) < 5
    assert json.loads(Path("run/run.json").read_text())["recipe"]["qat"] == kind
    assert package.load("run/best.tflite").inputs[0].type.shape == (1, 8, 8, 1)
    assert netc("eval", "tiny.net", "--weights", "run/best.safetensors", "--data", "data.npz").code == 0


def test_what_a_run_keeps_is_what_quantize_takes(netc: Call, float_weights: Path) -> None:
    qat(netc, float_weights, "run")
    graph = package.quantize("tiny.net", weights="run/best.safetensors", ranges="run/ranges.json")
    package.write_tflite(graph, "again.tflite")
    assert Path("again.tflite").read_bytes() == Path("run/best.tflite").read_bytes()
    assert Ranges.read("run/ranges.json").samples == 512
    before, after = (load_file(path) for path in (float_weights, "run/best.safetensors"))
    assert before.keys() == after.keys()
    np.testing.assert_array_equal(before["bn.running_mean"], after["bn.running_mean"])
    assert (before["conv.weight"] != after["conv.weight"]).any()


def test_an_interrupted_run_goes_on_to_the_same_bits(
    netc: Call, float_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    qat(netc, float_weights, "whole")
    steps = iter(range(100))
    with monkeypatch.context() as patch:
        step = QatTrainer.step

        def interrupted(self: QatTrainer, x: Any, labels: Any) -> float:
            if next(steps) == 6:
                os.kill(os.getpid(), signal.SIGINT)
            return step(self, x, labels)

        patch.setattr(QatTrainer, "step", interrupted)
        options = ("--weights", float_weights, "--threads", 2, "--run-dir", "parts", "--qat")
        assert netc("train", "tiny.net", *options).code == 130
    result = netc("train", "--resume", "parts", "--qat")
    assert (result.code, result.err) == (0, "")
    assert "going on from" in result.out
    for name in ("best.safetensors", "last.safetensors", "best.tflite", "ranges.json"):
        assert Path("parts", name).read_bytes() == Path("whole", name).read_bytes(), name


def test_flags_replace_the_settings_of_fine_tuning(netc: Call, float_weights: Path) -> None:
    options = ("--epochs", 1, "--optimizer", "adam(lr=1e-4)", "--ema", 0.5)
    out = qat(netc, float_weights, "run", *options)
    assert "quantization-aware: adam(lr=1e-4), cosine(epochs=1), ranges moving" in out
    *_, epoch, quantized = read_records(Path("run"))
    assert (epoch["kind"], epoch["epoch"], quantized["kind"]) == ("epoch", 1, "quantized")
    assert f"fake-quantized {epoch['test_accuracy']:.2%}, int8 {quantized['int8']:.2%}" in out


def test_what_is_refused(netc: Call, float_weights: Path) -> None:
    result = netc("train", "tiny.net", "--qat")
    assert result.code == 2
    assert "quantization-aware training goes on from trained weights" in result.err
    qat(netc, float_weights, "run", "--epochs", 1)
    result = netc("train", "--resume", "run", "--qat-ranges", "learned")
    assert result.code == 2
    assert "started with qat = moving, it can't go on with learned" in result.err
    text = Path("tiny.net").read_text()
    Path("tiny.net").write_text(text.replace("|> relu", "|> relu |> erf"))
    result = netc("train", "tiny.net", "--qat", "--weights", float_weights)
    assert result.code == 2
    assert "erf (`conv/erf`) has no integer form" in result.err
