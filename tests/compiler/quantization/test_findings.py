"""What quantization loses or guesses is said, with operand, place and cure; what loses nothing that matters is not."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import netc
from netc.calibration import Calibrated, layer_noise
from netc.cli import main
from netc.compiler.errors import Diagnostic, NetcError
from netc.compiler.graph import Graph, evaluate
from netc.compiler.quantization import QuantizationWarning, Scheme, findings, quantize
from netc.compiler.tflite import to_tflite
from netc.compiler.tflite.reading import read_model
from netc.frontend.tflite import graph_of

Samples = Sequence[NDArray[np.float32]]
Make = Callable[..., Path]


@pytest.fixture
def text(tmp_path: Path) -> Make:
    """Writes the body of a net over x to a file."""

    def write(body: str, shape: str = "N, 8") -> Path:
        path = tmp_path / "net.net"
        path.write_text(f"net small(x: f32[{shape}]) {{\n  {body}\n}}\n", encoding="utf-8")
        return path

    return write


def samples(*shape: int, count: int = 16, scale: float = 1.0) -> list[NDArray[np.float32]]:
    random = np.random.default_rng(0)
    return [(random.standard_normal(shape or (1, 8)) * scale).astype(np.float32) for _ in range(count)]


def found(path: Path, given: Samples, scheme: Scheme | None = None) -> tuple[Diagnostic, ...]:
    calibrated = netc.calibrate(path, given)
    return findings(calibrated.graph, calibrated.calibration.ranges("minmax"), scheme)


LOST = {
    "concat": ("return concat(320 * sigmoid(x), sigmoid(x))", r"operand 2 of concat, `sigmoid` .* covers 1 of 256", 10),
    "joined by concat": ("return concat(320 * relu(x), relu(x + 1))", r"operand 2 of concat, `relu_1`", 10),
    "through reshapes": (
        "y = reshape(relu(x + 1), shape = [N, 4, 2])\n  return concat(320 * reshape(x, shape = [N, 4, 2]), y)",
        r"operand 2 of concat, `reshape_?1?` .* covers [01] of 256 levels on the scale of the whole",
        10,
    ),
    "input": ("return concat(x, 320 * relu(x))", r"operand 1 of concat, `x`", 10),
    "pad": ("return pad(x, padding = [[0, 0], [1, 0]], value = 300)", r"operand 1 of pad, `x` .* of 256 levels", 10),
    "slice": (
        "y = concat(relu(x), 320 * relu(x))\n  return slice(y, begin = [0, 0], size = [N, 8])",
        r"`slice` .* covers \d of 256 levels: slice keeps the scale of `concat`",
        3,
    ),
    "far from zero": ("return relu(x + 1000)", r"`relu` .* covers \d of 256 levels: .* far", 10),
    "fixed scale": ("return sigmoid(0.01 * x)", r"`sigmoid` .* covers \d of 256 levels: TFLite fixes", 10),
    "dead": ("return relu(x - 100) * 3", r"`relu` was 0 throughout all samples: its scale is a guess", 10),
}


@pytest.mark.parametrize("name", LOST)
def test_what_is_lost_is_said(name: str, text: Make) -> None:
    body, message, column = LOST[name]
    last = [d for d in found(text(body), samples()) if re.search(message, d.message)]
    assert len(last) == 1
    assert last[0].hint
    assert last[0].location is not None
    assert str(last[0].location).endswith(f"net.net:{last[0].location.line}:{last[0].location.column}")
    assert last[0].location.column >= column


def test_one_loss_is_said_once(text: Make) -> None:
    body = "y = reshape(relu(x), shape = [N, 4, 2])\n  return concat(320 * y, transpose(y, permutation = [0, 1, 2]))"
    assert len(found(text(body), samples())) == 1
    assert len(found(text("return relu(relu(x - 100) * 3) + 0.0"), samples())) == 1


FINE = {
    "even concat": "return concat(10 * sigmoid(x), sigmoid(x))",
    "maximum": "return maximum(x, 0.001 * x)",
    "minimum": "return minimum(320 * sigmoid(x), sigmoid(x))",
    "add": "return 320 * x + x",
    "mean": "return reduce_mean(x, axes = [1])",
    "pad": "return pad(x, padding = [[0, 0], [1, 0]], value = 3)",
    "zeros": "return concat(x, 0 * x)",
    "joined indices": 'i = cast(8 * sigmoid(x), "i32")\n  return x |> take_along_axis(concat(i, i))',
    "padded truth values": 'return where(pad(cast(x > 0, "i32"), padding = [[0, 0], [0, 0]]) == 1, x, 2 * x)',
}


@pytest.mark.parametrize("name", FINE)
def test_what_loses_nothing_that_matters_is_not_said(name: str, text: Make) -> None:
    assert [d.message for d in found(text(FINE[name]), samples()) if "levels" in d.message] == []


def test_what_stays_in_floats_is_not_said(text: Make) -> None:
    body = "return concat(320 * sigmoid(x), sigmoid(x))"
    assert found(text(body), samples(), Scheme(keep_float=("concat",))) == ()


def test_samples_of_zeros_are_said(text: Make) -> None:
    (only,) = found(text("return x |> dense@fc(4) |> relu"), [np.zeros((1, 8), np.float32)] * 3)
    assert only.message == "`x` was 0 throughout all samples: its scale is a guess"


def test_filters_that_one_scale_rounds_away_are_said(text: Make) -> None:
    path = text("return x |> dense@fc(4)")
    weight = np.full((8, 4), 0.5, np.float32)
    weight[:, 2] = 0.004
    weights = {"fc.weight": weight, "fc.bias": np.zeros(4, np.float32)}
    calibrated = netc.calibrate(path, samples(scale=0.1), weights=weights)
    ranges = calibrated.calibration.ranges("minmax")
    narrow = {**ranges.ranges, "fc/dense": type(ranges["x"])(-0.01, 0.01)}
    narrow_ranges = type(ranges)(narrow, "minmax", 16)
    messages = [d.message for d in findings(calibrated.graph, narrow_ranges)]
    assert messages == ["1 of 4 filters of `fc.weight` keep fewer than 4 of 127 steps, the first is number 2"]
    assert findings(calibrated.graph, narrow_ranges, Scheme(dense_channels=True)) == ()


def test_python_warns_and_the_noise_of_the_operand_is_measured(text: Make) -> None:
    path = text("return concat(320 * sigmoid(x), sigmoid(x))")
    calibrated: Calibrated = netc.calibrate(path, samples())
    with pytest.warns(QuantizationWarning, match=r"net\.net:2:\d+: operand 2 of concat, .*; return the operands"):
        graph = netc.quantize(path, calibration=calibrated)
    noise = {n.title: n.decibels for n in layer_noise(calibrated.graph, graph, samples())}
    assert noise["concat"] > 40
    assert noise["sigmoid for concat"] < 6


def test_the_command_warns_and_reports(text: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.net"
    path.write_text(
        "net small(image: f32[N, 4, 4, 3]) {\n"
        "  return concat(320 * sigmoid(image), sigmoid(image))\n}\n"
        "preprocess small { resize = bilinear, divide = 255, mean = 0.5, std = 0.25 }\n",
        encoding="utf-8",
    )
    (tmp_path / "pictures").mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)).save(
        tmp_path / "pictures" / "0.png"
    )
    files = [str(tmp_path / name) for name in ("pictures", "small.tflite", "report.html")]
    assert main(["quantize", str(path), "--calibrate", files[0], "-o", files[1], "--report", files[2]]) == 0
    out, err = capsys.readouterr()
    assert f"warning: {path}:2:10: operand 2 of concat, `sigmoid`" in err
    assert "note: calibrated on one sample" in err
    assert "sigmoid for concat" in out
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<h2>Warnings</h2>" in page
    assert "covers 1 of 256 levels" in page


# ---- pad -------------------------------------------------------------------------------------------------------------


def padded(path: Path, given: Samples) -> tuple[Graph, NDArray[np.float64]]:
    """The integer network, and what its output stands for on the first sample; LiteRT reads the same file."""
    calibrated = netc.calibrate(path, given)
    graph = quantize(calibrated.graph, calibrated.calibration.ranges("minmax"))
    again = graph_of(read_model(to_tflite(graph)), "again")
    x, y = graph.inputs[0].type.quantization, graph.outputs[0].type.quantization
    assert x is not None
    assert y is not None
    integers = np.clip(np.rint(given[0] / x.scale) + x.zero_point, -128, 127).astype(np.int8)
    (result,) = evaluate(graph, [integers])
    np.testing.assert_array_equal(evaluate(again, [integers])[0], result)
    return graph, (result.astype(np.float64) - y.zero_point) * y.scale


@pytest.mark.parametrize("value", [30, -30, 2, -1, 0])
def test_a_pad_has_its_value(value: float, text: Make) -> None:
    given = samples(1, 8)
    _, got = padded(text(f"return pad(x, padding = [[0, 0], [1, 0]], value = {value})"), given)
    np.testing.assert_allclose(got[0, 0], value, atol=0.15)
    np.testing.assert_allclose(got[0, 1:], given[0][0], atol=0.15)


def test_a_pad_within_the_range_of_its_operand_keeps_its_scale(text: Make) -> None:
    graph, _ = padded(text("return pad(x, padding = [[0, 0], [1, 0]], value = 1)"), samples(1, 8))
    assert [op.name for op in graph.operations] == ["pad"]


@pytest.mark.parametrize("value", ["-10000", "-1e30"])
def test_small_values_that_never_win_a_maximum_cost_nothing(value: str, text: Make) -> None:
    given = samples(1, 4, 4, 2)
    body = f"return pad(x, padding = [[0, 0], [1, 0], [1, 0], [0, 0]], value = {value}) |> max_pool(2)"
    path = text(body, "N, 4, 4, 2")
    calibrated = netc.calibrate(path, given)
    (wanted,) = evaluate(calibrated.graph, [given[0]])
    graph, got = padded(path, given)
    assert graph.inputs[0].type.quantization == graph.outputs[0].type.quantization
    np.testing.assert_allclose(got, wanted, atol=0.05)
    assert found(path, given) == ()


def test_windows_of_nothing_but_padding_keep_its_value(text: Make) -> None:
    body = "return pad(x, padding = [[0, 0], [2, 0], [0, 0], [0, 0]], value = -30) |> max_pool(2)"
    _, got = padded(text(body, "N, 4, 4, 2"), samples(1, 4, 4, 2))
    np.testing.assert_allclose(got[0, 0], -30, atol=0.15)


@pytest.mark.parametrize("value", ["1e30", "-1e30"])
def test_a_value_that_leaves_no_level_is_refused(value: str, text: Make) -> None:
    path = text(f"return pad(x, padding = [[0, 0], [1, 0]], value = {value})")
    with pytest.raises(
        NetcError, match=r"net\.net:2:10: error: pad with -?1e\+30 leaves none of the 256 levels to `x`"
    ):
        netc.quantize(path, calibration=samples())


def test_numbers_that_are_none_are_refused(text: Make) -> None:
    path = text("return x |> dense@fc(4)")
    weights = {"fc.weight": np.full((8, 4), 0.5, np.float32), "fc.bias": np.zeros(4, np.float32)}
    ranges = netc.calibrate(path, samples(), weights=weights).calibration.ranges("minmax")
    weights["fc.weight"][3, 1] = np.nan
    with pytest.raises(NetcError, match=r"net\.net:2:15: error: `fc\.weight` holds infinities or NaNs"):
        netc.quantize(path, ranges=ranges, weights=weights)
    bad = [*samples(count=2), np.full((1, 8), np.nan, np.float32)]
    with pytest.raises(NetcError, match="`x` holds infinities or NaNs in sample 3\n  hint: leave this sample out"):
        netc.quantize(path, calibration=bad)


def test_warnings_survive_pickling() -> None:
    warning = QuantizationWarning(Diagnostic("it is lost", None, "keep it"))
    again = pickle.loads(pickle.dumps(warning))
    assert str(again) == str(warning) == "it is lost; keep it"
    assert again.finding == warning.finding
