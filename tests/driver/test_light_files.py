"""Files smaller than those of floats: dynamic range, half precision, 16-bit activations with 8-bit weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netc
from netc.cli import main
from netc.compiler.graph import Graph, evaluate
from netc.compiler.quantization import dynamic_range
from netc.compiler.tflite import to_tflite
from netc.compiler.tflite.reading import read_model
from netc.frontend.tflite import graph_of
from netc.quantization import frozen
from netc.runtime.weights import initial_weights

NETWORK = """
net small(image: f32[N, 8, 8, 3], classes = 10) {
  x = image |> conv(48, 3) |> batch_norm |> relu6 |> conv(96, 3, stride = 2, groups = 48) |> relu
  return x |> conv(32, 1) |> relu |> global_avg_pool |> dense(64) |> relu |> dense(classes) |> softmax
}
"""
FORMS = ("float16", "dynamic_range", "int16x8")


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "small.net"
    path.write_text(NETWORK, encoding="utf-8")
    return path


def pictures(count: int) -> list[Any]:
    rng = np.random.default_rng(4)
    return [rng.standard_normal((1, 8, 8, 3)).astype(np.float32) for _ in range(count)]


def light(network: Path, form: str) -> Graph:
    given: dict[str, Any] = {"calibration": pictures(4)} if form == "int16x8" else {}
    return netc.quantize(network, form=form, inputs="f32", outputs="f32", **given)


@pytest.mark.parametrize("form", FORMS)
def test_answers_are_those_of_floats_and_of_the_file(network: Path, form: str) -> None:
    graph = light(network, form)
    again = graph_of(read_model(to_tflite(graph)), "again")
    with netc.compile(network, threads=1) as floats, netc.compile(again, threads=1) as program:
        for x in pictures(3):
            (wanted,) = evaluate(graph, [x])
            np.testing.assert_allclose(program(x), wanted, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(wanted, floats(x), atol=0.02)


@pytest.mark.parametrize("form", FORMS)
def test_litert_gives_the_same(network: Path, form: str) -> None:
    pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
    from ..frontend.tflite.litert import run

    # With 8 bits in all weights no float sum is left whose order could differ before the last layers.
    graph = (
        dynamic_range(frozen(netc.load(network), None), smallest=1) if form == "dynamic_range" else light(network, form)
    )
    rows = [[x] for x in pictures(3)]
    for row, (wanted,) in zip(rows, run(to_tflite(graph), rows), strict=True):
        (found,) = evaluate(graph, row)
        tolerance = 0.0 if form == "int16x8" else 1e-6
        np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance)


def test_files_are_smaller(network: Path, tmp_path: Path) -> None:
    sizes = {}
    for name, form in (("float", None), ("half", "--float16"), ("eighth", "--dynamic-range")):
        output = tmp_path / f"{name}.tflite"
        if form is None:
            netc.write_tflite(network, output)
        else:
            assert main(["quantize", str(network), form, "-o", str(output)]) == 0
        sizes[name] = output.stat().st_size
        assert main(["run", str(output), "--json"]) == 0
    assert sizes["eighth"] < sizes["half"] < sizes["float"]


def test_small_weights_and_those_that_are_named_stay_floats(network: Path) -> None:
    kinds = [op.name for op in light(network, "dynamic_range").operations]
    assert kinds.count("hybrid_conv2d") == 2  # the first and the last convolution have 1024 weights or more
    assert kinds.count("conv2d") == 1
    assert (kinds.count("hybrid_dense"), kinds.count("dense")) == (1, 1)
    kept = netc.quantize(network, form="dynamic_range", keep_float=["*"])
    assert "hybrid" not in str(kept)


def test_one_scale_for_a_weight_is_symmetric_as_litert_has_it(network: Path) -> None:
    graph = netc.quantize(network, form="dynamic_range", per_channel=False)
    symmetric = {op.name: op.attributes["symmetric"] for op in graph.operations if op.name.startswith("hybrid_")}
    assert symmetric == {"hybrid_conv2d": True, "hybrid_dense": False}


def test_numbers_beyond_half_precision_stay_floats() -> None:
    from netc.compiler.graph.builder import GraphBuilder
    from netc.compiler.passes import half_constants
    from netc.compiler.types import DType, TensorType

    b = GraphBuilder("net")
    x = b.input("x", TensorType(DType.F32, (1, 64)))
    large, small = np.full((64, 32), 0.1, np.float32), np.full((32, 32), 0.1, np.float32)
    large[0, 0] = 1e5
    y = b.emit("dense", b.emit("dense", x, b.constant(large)), b.constant(small))
    graph = half_constants(b.finish([y]))
    values = [op.attributes["value"] for op in graph.operations if op.name == "constant"]
    assert values[0][1, 1] == np.float32(0.1)
    assert values[1][1, 1] == np.float32(np.float16(0.1))
    written = to_tflite(graph)
    for data in (written, to_tflite(graph_of(read_model(written), "net"))):
        constants = [t.type.dtype for t in read_model(data).tensors if t.type is not None and t.data is not None]
        assert constants.count(DType.F16) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dynamic-range", "--float16"], "--dynamic-range and --float16 are different forms"),
        (["--dynamic-range", "--input", "u8"], "--dynamic-range leaves no choice of --input"),
        (["--float16", "--keep-float", "*"], "float16 leaves no choice of keep_float"),
        (["--int16x8", "--calibrate", "x", "--adaround"], "--int16x8 leaves no choice of --adaround"),
        ([], "takes samples to calibrate with"),
    ],
)
def test_what_means_nothing_is_refused(
    network: Path, tmp_path: Path, arguments: Sequence[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "small.tflite"
    assert main(["quantize", str(network), *arguments, "-o", str(output)]) == 2
    assert said in capsys.readouterr().err
    assert not output.exists()


def test_a_form_that_does_not_exist_is_named(network: Path) -> None:
    with pytest.raises(netc.NetcError, match="int8, int16x8, dynamic_range, float16, not 'int4'"):
        netc.quantize(network, form="int4")
    with pytest.raises(netc.NetcError, match="can be quantized to int8, int16x8"):
        netc.compile(network, quantize="int4")


@pytest.mark.parametrize("form", ["float16", "dynamic_range"])
def test_weights_that_are_no_numbers_are_refused(network: Path, form: str) -> None:
    weights = dict(initial_weights(netc.load(network), 0))
    for name in ("dense_1.bias", "conv_2.weight"):
        damaged = {**weights, name: np.full_like(weights[name], np.nan)}
        with pytest.raises(netc.NetcError, match=rf"small\.net:\d+:\d+: error: `{name}` holds NaNs"):
            netc.quantize(network, form=form, weights=damaged)


def test_infinite_weights_have_no_scale_but_are_numbers_of_half_precision(network: Path) -> None:
    weights = dict(initial_weights(netc.load(network), 0))
    weights["dense_1.weight"] = np.full_like(weights["dense_1.weight"], -np.inf)
    netc.quantize(network, form="float16", weights=weights)
    with pytest.raises(netc.NetcError, match=r"`dense_1\.weight` holds infinities or NaNs"):
        netc.quantize(network, form="dynamic_range", weights=weights)
    netc.quantize(network, form="dynamic_range", weights=weights, keep_float=["dense_1/*"])


@pytest.mark.parametrize("form", FORMS)
def test_programs_are_quantized_in_one_call(network: Path, tmp_path: Path, form: str) -> None:
    given: dict[str, Any] = {"calibration": pictures(4)} if form == "int16x8" else {}
    x = pictures(1)[0]
    with netc.compile(network, quantize=form, threads=1, **given) as program:
        program.save(tmp_path / "small.tflite")
        with netc.compile(tmp_path / "small.tflite", threads=1) as again:
            np.testing.assert_allclose(again(x), program(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", ["int8", "int16x8"])
def test_what_is_quantized_already_is_refused(network: Path, tmp_path: Path, form: str) -> None:
    made = netc.quantize(network, form=form, calibration=pictures(4))
    for again in ("float16", "dynamic_range", "int8", "int16x8"):
        given: dict[str, Any] = {"calibration": pictures(4)} if again in ("int8", "int16x8") else {}
        with pytest.raises(netc.NetcError, match="net small is quantized already: `image` is i"):
            netc.quantize(made, form=again, **given)
    netc.write_tflite(made, tmp_path / "made.tflite")
    assert main(["quantize", str(tmp_path / "made.tflite"), "--float16", "-o", str(tmp_path / "again.tflite")]) == 2
    assert not (tmp_path / "again.tflite").exists()


def test_settings_of_pictures_are_written(network: Path, tmp_path: Path) -> None:
    output = tmp_path / "small.tflite"
    options = ["--preprocess", "divide=127.5", "--preprocess", "mean=1"]
    assert main(["quantize", str(network), "--dynamic-range", *options, "-o", str(output)]) == 0
    settings = netc.load(output).attributes["preprocess"]
    assert (settings["divide"], settings["mean"]) == (127.5, 1)
