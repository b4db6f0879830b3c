"""`netc run` with LiteRT and for the Edge TPU: what is missing or doesn't fit is one error."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from netc.classes import gives_probabilities
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.registry import lookup
from netc.compiler.tflite import to_tflite
from netc.compiler.types import DType, Quantization, TensorType
from netc.loading import load

from .conftest import Call


@pytest.fixture
def model(netc: Call, tiny: Path, tiny_weights: Path, picture: Path) -> Path:
    """The small net as int8."""
    path = tiny.with_suffix(".tflite")
    assert netc("quantize", tiny, "--weights", tiny_weights, "--calibrate", picture.parent, "-o", path).code == 0
    return path


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    """A file like those that edgetpu_compiler writes."""
    scale = Quantization.of(1 / 256, -128)
    b = GraphBuilder("compiled")
    x = b.input("x", TensorType(DType.I8, (1, 4, 4, 3), None, scale))
    attributes = {"operator": "edgetpu-custom-op", "results": ("i8[1,10]",), "options": np.zeros(4, np.uint8)}
    y = b.operation(lookup("opaque"), [x], attributes).result
    path = tmp_path / "compiled.tflite"
    path.write_bytes(to_tflite(b.finish([b.emit("reinterpret", y, y=scale)])))
    return path


def test_without_litert(netc: Call, model: Path, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    for engine in ("litert", "litert-reference"):
        result = netc("run", model, "--image", picture, "--engine", engine)
        assert (result.code, result.out) == (2, "")
        assert "pip install 'netc[litert]'" in result.err


def test_engines_say_the_same(netc: Call, model: Path, picture: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    ours = netc("run", model, "--image", picture)
    assert netc("run", model, "--image", picture, "--engine", "litert-reference").out == ours.out
    assert netc("run", model, "--image", picture, "--engine", "litert").out.splitlines()[0].split()[-1].isdigit()


def test_what_does_not_fit_is_one_error(
    netc: Call, model: Path, compiled: Path, tiny: Path, picture: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(picture.read_bytes()[:50])
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(model.read_bytes()[:100])
    cases = [
        ((tiny, "--engine", "litert"), "LiteRT runs .tflite files, not"),
        ((model, "--engine", "litert", "--weights", "w.safetensors"), "are for netc's own engine"),
        ((model, "--engine", "litert-reference", "--device", "edgetpu"), "an Edge TPU has no reference kernels"),
        ((model, "--device", "edgetpu"), "is not compiled for the Edge TPU"),
        ((compiled, "--engine", "litert"), "add --device edgetpu"),
        ((compiled,), "netc can't run the operator edgetpu-custom-op"),
        ((broken, "--engine", "litert"), "broken.tflite"),
        ((tmp_path / "none.tflite", "--engine", "litert"), "there is no file"),
        ((model, "--image", damaged), "can't read picture"),
    ]
    for arguments, problem in cases:
        result = netc("run", *arguments)
        assert (result.code, result.out) == (2, ""), problem
        assert problem in result.err
        assert "Traceback" not in result.err


def test_the_scale_tells_probabilities_of_an_unknown_operator(compiled: Path) -> None:
    assert gives_probabilities(load(compiled))
