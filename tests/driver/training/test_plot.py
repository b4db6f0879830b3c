"""`netc plot`: curves of runs."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ..conftest import Call


def test_plot_draws_runs(netc: Call, net: Path) -> None:
    pytest.importorskip("matplotlib", reason="netc plot needs matplotlib")
    for name in ("one", "two"):
        assert netc("train", net, "--run-dir", name, "--log-every", 2).code == 0
    assert (result := netc("plot", "one")).code == 0, result.err
    with Image.open("one/curves.png") as picture:
        assert picture.width > 1000
        assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 20
    assert netc("plot", "one", "two/", "-o", "both.svg").code == 0
    text = Path("both.svg").read_text()
    assert "<svg" in text
    assert "#1f6fb4" in text
    assert "#d9541e" in text


def test_plot_refuses(netc: Call, net: Path) -> None:
    assert netc("train", net, "--run-dir", "run").code == 0
    assert "there is no run rum" in netc("plot", "rum").err
    assert "give -o FILE.png" in netc("plot", "run", "run").err
    assert "end its name in .png" in netc("plot", "run", "-o", "x.gif").err


def test_plot_without_matplotlib_says_how_to_get_it(netc: Call, net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert netc("train", net, "--run-dir", "run").code == 0

    def missing(name: str) -> None:
        raise ModuleNotFoundError(name="matplotlib")

    monkeypatch.setattr(importlib, "import_module", missing_for("netc.curves", missing))
    result = netc("plot", "run")
    assert result.code == 2
    assert "pip install 'netc[plot]'" in result.err


def missing_for(name: str, missing: Any) -> Any:
    """`import_module` that lacks one module."""
    real = importlib.import_module
    return lambda module: missing(module) if module == name else real(module)


def test_nothing_to_draw_yet(netc: Call, net: Path) -> None:
    pytest.importorskip("matplotlib", reason="netc plot needs matplotlib")
    assert netc("train", net, "--run-dir", "run").code == 0
    Path("run/metrics.jsonl").write_text("")
    result = netc("plot", "run")
    assert (result.code, "nothing to draw yet" in result.err) == (2, True)


_RECORD = {"kind": "epoch", "epoch": 1, "position": 1.0, "loss": 0.5}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"loss": float("inf")}, "loss is inf"),
        ({"loss": 10**400}, "loss is 1000"),
        ({"position": [1]}, "position is [1]"),
        ({"epoch": None}, "epoch is None"),
        ({"test_accuracy": "\x1b[2J"}, r"test_accuracy is '\x1b[2J'"),
    ],
)
def test_damaged_metrics_are_not_drawn(netc: Call, net: Path, changed: dict[str, object], message: str) -> None:
    pytest.importorskip("matplotlib", reason="netc plot needs matplotlib")
    assert netc("train", net, "--run-dir", "run").code == 0
    Path("run/metrics.jsonl").write_text(json.dumps(_RECORD | changed) + "\n")
    result = netc("plot", "run")
    assert (result.code, f"the metrics of run are damaged: {message}" in result.err) == (2, True)


def test_names_of_runs_are_no_formulas(netc: Call, net: Path) -> None:
    pytest.importorskip("matplotlib", reason="netc plot needs matplotlib")
    assert netc("train", net, "--run-dir", r"a$\frac$b").code == 0
    assert (result := netc("plot", r"a$\frac$b")).code == 0, result.err
