"""ONNX files as inputs of commands."""

from __future__ import annotations

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
    assert "--net and --set need --target" in netc("check", tmp_path / "n.net", "--set", "K=4").err


def test_articles_of_formats(netc: Call, classifier: Path) -> None:
    path = classifier.with_suffix(".net")
    path.write_bytes(classifier.read_bytes())
    assert "is named like a .net file, but holds an ONNX model" in netc("show", path).err
    assert "there is no" in netc("show", classifier.parent / "missing.onnx").err
    assert all(f.name[0] in ".gOT" for f in FORMATS.values()), "names begin as `with_article` knows them"
