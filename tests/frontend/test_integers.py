"""Networks of integers in text: scales in types, those of weights in the file beside the text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import netc
from netc.compiler.errors import NetcError
from netc.compiler.types import Quantization
from netc.frontend import load_text
from netc.frontend.loading import load_network
from netc.frontend.quantized import Stored
from netc.frontend.writing import written
from netc.frontend.writing.matching import correspondence
from netc.runtime.weights import read_weights, write_weights

SMALL = """
net small(image: f32[N, 8, 8, 3]) {
  x = image |> conv@a(8, 3) |> relu |> conv@b(8, 3) |> relu
  return x + conv@c(x, 8, 1) |> global_avg_pool |> dense@fc(5)
}
"""
DENSE = """
import "w.safetensors"
net t(x: i8[1, 4]<0.5:-3>) {
  return x |> q_dense(param("fc.weight", [4, 2], dtype = "i8"), y = "<0.25:7>", activation = "relu6")
}
"""


@pytest.fixture
def scales(tmp_path: Path) -> Path:
    tensors = {
        "fc.weight": np.arange(8, dtype=np.int8).reshape(4, 2),
        "fc.weight.scales": np.array([0.5, 0.125], np.float32),
    }
    save_file(tensors, tmp_path / "w.safetensors")
    (tmp_path / "t.net").write_text(DENSE, encoding="utf-8")
    return tmp_path


def test_types_say_what_integers_stand_for(scales: Path) -> None:
    graph = load_network(scales / "t.net")
    (op,) = (op for op in graph.operations if op.name == "q_dense")
    assert op.attributes["x"] == Quantization.of(0.5, -3)
    assert op.attributes["weight"] == Quantization((0.5, 0.125), (0, 0), 1)
    assert op.result.type.quantization == op.attributes["y"] == Quantization.of(0.25, 7)
    assert (op.attributes["low"], op.attributes["high"]) == (7, 31)
    assert read_weights(scales / "w.safetensors", graph)["fc.weight"].dtype == np.int8


def test_weights_with_other_scales_than_the_text_are_refused(scales: Path) -> None:
    graph = load_network(scales / "t.net")
    tensors = {"fc.weight": np.zeros((4, 2), np.int8), "fc.weight.scales": np.ones(2, np.float32)}
    save_file(tensors, scales / "other.safetensors")
    with pytest.raises(NetcError, match=r"the scales of `fc.weight` are others than in the net"):
        read_weights(scales / "other.safetensors", graph)


@pytest.mark.parametrize("per_channel", [True, False])
def test_quantized_nets_become_text_that_computes_the_same(tmp_path: Path, per_channel: bool) -> None:
    source = tmp_path / "small.net"
    source.write_text(SMALL if per_channel else SMALL.replace("conv@c", "depthwise_conv@c").replace("x, 8, 1", "x, 3"))
    samples = np.random.default_rng(0).random((4, 8, 8, 3), np.float32)
    graph = netc.quantize(source, calibration=samples)
    result = written(graph, "t")
    assert result.text.startswith('import "t.safetensors"\n')
    (tmp_path / "t.net").write_text(result.text, encoding="utf-8")
    write_weights(tmp_path / "t.safetensors", result.graph, result.arrays(), beside_them=result.scales)
    again = netc.load(tmp_path / "t.net")
    weights = tmp_path / "t.safetensors"
    one, other = netc.compile(graph, threads=1), netc.compile(again, weights=weights, threads=1)
    x = np.random.default_rng(1).integers(-128, 128, graph.inputs[0].type.shape).astype(np.int8)
    x = x if graph.inputs[0].type.dtype.numpy == np.int8 else samples[:1]
    np.testing.assert_array_equal(one(x), other(x))
    netc.write_tflite(graph, tmp_path / "a.tflite")
    netc.write_tflite(again, tmp_path / "b.tflite", weights=weights)
    correspondence(netc.load(tmp_path / "b.tflite"), netc.load(tmp_path / "a.tflite"))


@pytest.mark.parametrize("is_first", [True, False])
def test_scales_go_to_their_weights_in_whatever_order_the_text_makes_them(is_first: bool) -> None:
    first, second = ("b", "a") if is_first else ("a", "b")
    text = f"""
    import "s.safetensors"
    net t(x: i8[1, 4]<0.5>) {{
      {first} = param("{first}", [4, 4], dtype = "i8")
      y = x |> q_dense(param("{second}", [4, 4], dtype = "i8"), y = "<0.5>") |> q_dense({first}, y = "<1>")
      return y |> q_dense(param("c", [4, 4], dtype = "i8"), y = "<2>")
    }}"""
    tensors = {f"{n}.scales": np.float32([i + 1] * 4) for i, n in enumerate("abc")}
    graph = load_text(text, "t.net", stored={"s.safetensors": Stored("s.safetensors", tensors)})
    result = written(graph)
    for name, op in result.sources.items():
        made = next(p for p in result.graph.parameters if p.result.name == name)
        assert made.result.type.quantization == op.result.type.quantization


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("net t(x: f32[2]<0.5>) { return x }", "elements of type f32 have no scale"),
        ("net t(x: i8[2]<0.5:300>) { return x }", "zero point 300 lies outside i8"),
        ("net t(x: i8[2]<0>) { return x }", "scales must be positive"),
        ("net t(x: i8[2]>0.5<) { return x }", "scale and zero point stand in < and >"),
        ("net t(x: i8[2]<0.5:>) { return x }", "expected a number"),
        ('net t(x: f32[2]) { return quantize(x, dtype = "i8", y = "0.5") }', "`y` of quantize can't be '0.5'"),
        ('net t(x: f32[2]) { return quantize(x, dtype = "i8", y = 0.5) }', "`y` of quantize must be text"),
        ('net t(x: f32[2]) { return x + param("w", [2], dtype = "i9") }', "there is no element type `i9`"),
        ('import "none.safetensors"\nnet t(x: f32[2]) { return x }', "there is no weights file"),
        (
            'net t(x: i8[1, 4]) { return q_dense(x, param("w", [4, 2], dtype = "i8"), y = "<1>") }',
            "q_dense must know what the integers of `x` stand for",
        ),
    ],
)
def test_errors_about_integers(text: str, message: str) -> None:
    with pytest.raises(NetcError, match=message):
        load_text(text, "t.net")


def test_a_file_of_weights_lies_where_the_text_may_read_from(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    save_file({"a": np.zeros(1, np.float32)}, tmp_path / "w.safetensors")
    (inner / "t.net").write_text('import "../w.safetensors"\nnet t(x: f32[2]) { return x }', encoding="utf-8")
    with pytest.raises(NetcError, match="lies outside the folder of the network"):
        load_network(inner / "t.net")


def test_scales_of_the_wrong_kind_are_refused(scales: Path) -> None:
    tensors = {"fc.weight.scales": np.ones(2, np.float64)}
    save_file(tensors, scales / "w.safetensors")
    with pytest.raises(NetcError, match=r"the scales of `fc.weight` must be f32"):
        load_network(scales / "t.net")
