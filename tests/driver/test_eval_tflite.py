"""`netc eval` of TFLite files, beside the float networks they came from, and `netc quantize --eval`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from netc.loading import load
from netc.runtime.weights import initial_weights, write_weights

from .conftest import NET, Call


@pytest.fixture
def model(netc: Call, tiny: Path, tiny_weights: Path, mnist: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small net as int8, calibrated on two of the five pictures."""
    monkeypatch.setenv("NETC_DATA", str(mnist))
    path = tiny.with_suffix(".tflite")
    options = ("--calibrate", "mnist", "--samples", "2", "-o", path)
    assert netc("quantize", tiny, "--weights", tiny_weights, *options).code == 0
    return path


def test_a_tflite_file_is_evaluated_like_a_net(netc: Call, model: Path, tiny: Path, tiny_weights: Path) -> None:
    own = json.loads(netc("eval", model, "--data", "mnist", "--json").out)
    floats = json.loads(netc("eval", tiny, "--weights", tiny_weights, "--data", "mnist", "--json").out)
    assert own["samples"] == 5
    assert own["top5_correct"] == pytest.approx(floats["top5_correct"], abs=1)


def test_compare_with_the_float_network(netc: Call, model: Path, tiny: Path, tiny_weights: Path) -> None:
    arguments = ("eval", model, "--data", "mnist", "--compare", tiny_weights, "--compare-net", tiny)
    result = netc(*arguments)
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0] == "mnist: 5 samples"
    assert [line.split()[0] for line in lines[4:6]] == ["tiny,", "tiny"]
    assert "4 of 4 activations found in both" in result.out
    data = json.loads(netc(*arguments, "--json").out)
    assert [row["name"] for row in data["layers"]] == ["conv1/relu", "conv1/max_pool", "conv1/reshape", "fc/dense"]
    assert all(row["decibels"] > 20 for row in data["layers"])
    assert data["agreement"] == 1
    assert data["float"]["samples"] == data["integer"]["samples"] == 5


def test_other_weights_have_more_noise(netc: Call, model: Path, tiny: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    graph = load(tiny)
    write_weights(other, graph, initial_weights(graph, seed=6))
    result = netc("eval", model, "--data", "mnist", "--compare", other, "--compare-net", tiny, "--json")
    assert json.loads(result.out)["layers"][-1]["decibels"] < 3


def test_what_does_not_fit_is_one_error(
    netc: Call, model: Path, tiny: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    wide = tmp_path / "wide.net"
    wide.write_text(NET.replace("tiny", "wide").replace("12, 12, 1]", "12, 16, 1]"), encoding="utf-8")
    weights = tmp_path / "wide.safetensors"
    graph = load(wide)
    write_weights(weights, graph, initial_weights(graph, 0))
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(model.read_bytes()[:100])
    given = ("--data", "mnist")
    compare = (model, *given, "--compare", tiny_weights)
    cases = [
        ((tiny, *given), "a net is evaluated with its weights"),
        ((model, *given, "--weights", tiny_weights), "holds no weights of floats"),
        ((tiny, *given, "--weights", tiny_weights, "--compare", tiny_weights), "--compare is for .tflite files"),
        ((model, *given, "--compare-net", tiny), "--compare-net needs the float network's weights"),
        (compare, "tiny"),
        ((*compare, "--compare-net", "mlp_mnist"), "does not fit net mlp_mnist"),
        ((*compare, "--compare-net", model), "is a TFLite model, not a net to put weights into"),
        ((model, *given, "--compare", weights, "--compare-net", wide), "net wide takes and gives [1, 12, 16, 1]"),
        ((broken, *given), "broken.tflite"),
    ]
    for arguments, problem in cases:
        result = netc("eval", *arguments)
        assert (result.code, result.out) == (2, ""), problem
        assert problem in result.err
        assert "Traceback" not in result.err


def test_quantize_evaluates_on_what_calibration_has_not_seen(
    netc: Call, tiny: Path, tiny_weights: Path, model: Path, tmp_path: Path
) -> None:
    page, data = tmp_path / "report.html", tmp_path / "report.json"
    options = ("--weights", tiny_weights, "--calibrate", "mnist", "--samples", "2", "-o", model, "--eval", "mnist")
    result = netc("quantize", tiny, *options, "--report", page)
    assert "mnist, 3 samples, without 2 seen in calibration: top-1 " in result.out
    assert "mnist, 3 samples, without 2 of the calibration" in page.read_text(encoding="utf-8")
    assert netc("quantize", tiny, *options, "--report", data).code == 0
    found = json.loads(data.read_text(encoding="utf-8"))["accuracy"]
    assert (found["samples"], found["left_out"], found["agreement"]) == (3, 2, 1)


def test_reports_hold_accuracy_where_calibration_data_has_labels(
    netc: Call, tiny: Path, tiny_weights: Path, model: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    options = ("--weights", tiny_weights, "--calibrate", "mnist", "-o", model, "--report", report)
    assert "mnist, 3 samples, without 2 seen" in netc("quantize", tiny, *options, "--samples", "2").out
    assert json.loads(report.read_text(encoding="utf-8"))["accuracy"]["samples"] == 3
    assert netc("quantize", tiny, *options, "--samples", "5").code == 0  # nothing is left to judge by
    assert json.loads(report.read_text(encoding="utf-8"))["accuracy"] is None


def test_quantize_checks_before_it_starts(netc: Call, tiny: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.tflite"
    for options, problem in (
        (("--report", "report.pdf"), "can't tell the form of report report.pdf"),
        (("--eval", "imagenet"), "there is no data set `imagenet`"),
    ):
        result = netc("quantize", tiny, "--calibrate", "no-such-data", "-o", output, *options)
        assert result.code == 2
        assert problem in result.err
        assert not output.exists()


def test_a_report_that_can_t_be_written_leaves_nothing(netc: Call, tiny: Path, model: Path, tmp_path: Path) -> None:
    options = ("--calibrate", "mnist", "--samples", "2", "-o", model)
    result = netc("quantize", tiny, *options, "--report", tmp_path / "none" / "report.html")
    assert result.code == 2
    assert "can't write" in result.err
    assert not list(tmp_path.rglob("*.part"))
    assert np.all([not p.name.startswith(".") for p in tmp_path.iterdir()])
