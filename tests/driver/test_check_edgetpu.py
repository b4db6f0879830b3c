"""`netc check --target edgetpu`."""

from __future__ import annotations

import json
from pathlib import Path

from .conftest import Call


def test_a_net_as_text(netc: Call, tiny: Path) -> None:
    result = netc("check", tiny, "--target", "edgetpu")
    assert result.code == 0
    assert result.out.startswith("Prediction for Edge TPU Compiler version 16.0\nInput model: tiny\n")
    assert "FULLY_CONNECTED                1          Mapped to Edge TPU" in result.out


def test_data_page_settings_and_release(netc: Call, tiny: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    options = ("--set", "classes=7", "--release", "15.0", "--report", page, "--json")
    result = netc("check", tiny, "--target", "edgetpu", *options)
    data = json.loads(result.out)
    assert data["compiler_release"] == "15.0"
    assert data["operators"][-1]["output"] == ["int8[1,7]"]
    assert "<title>tiny on the Edge TPU</title>" in page.read_text(encoding="utf-8")


def test_a_shipped_net(netc: Call) -> None:
    result = netc("check", "mlp_mnist", "--target", "edgetpu")
    assert "Number of operations that will run on CPU: 0" in result.out


def test_advice_to_rewrite(netc: Call, tmp_path: Path) -> None:
    path = tmp_path / "leaky.net"
    path.write_text(
        "net leaky(image: f32[N, 8, 8, 3]) { return image |> conv(4, 3) |> leaky_relu |> conv(4, 3) }", encoding="utf-8"
    )
    result = netc("check", path, "--target", "edgetpu")
    assert "leaky.net:1:67: leaky_relu: the Edge TPU has no leaky_relu" in result.out
    assert result.out.endswith("rewrites what it can; 4 of 4 operators would run on the Edge TPU then.\n")


def test_errors(netc: Call, tiny: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.tflite"
    model.write_bytes(b"not a flatbuffer")
    result = netc("check", model, "--target", "edgetpu")
    assert (result.code, result.err.splitlines()[0]) == (
        2,
        "model.tflite:1:1: error: this is not a TFLite model: bytes 4 to 8 should be 'TFL3'",
    )
    assert "need --target" in netc("check", tiny, "--release", "16.0").err
    assert "not a release" in netc("check", tiny, "--target", "edgetpu", "--release", "sixteen").err
    unwritable = netc("check", tiny, "--target", "edgetpu", "--report", tmp_path / "none" / "page.html")
    assert (unwritable.code, "can't write" in unwritable.err) == (2, True)
    assert "is predicted as it is" in netc("check", model, "--target", "edgetpu", "--net", "x").err
