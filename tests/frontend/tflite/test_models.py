"""Public TFLite models: they are read, say what they are, and give LiteRT's bytes; skipped where they are missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import netc
from netc.classes import best_classes, class_labels, gives_probabilities
from netc.compiler.errors import NetcError
from netc.compiler.graph import evaluate, parse_graph, verify
from netc.compiler.signature import real
from netc.compiler.tflite import to_tflite
from netc.compiler.tflite.reading import read_model
from netc.frontend.tflite import graph_of
from netc.picture import as_batch, load_picture
from netc.runtime.data.folder import data_folder

from .make_vectors import answers
from .operators import samples
from .small_models import Model, classifier, mixture

LIGHT = ("keras_lstm_mnist_ptq", "looming_128x128_3x3", "mobilenet_v1_0.25_128_quant", "split_concat")
"""Models that take well under a second."""


def folder() -> Path:
    try:
        found = data_folder().parent / "edgetpu" / "models"
    except NetcError:
        pytest.skip("the reference data is missing")
    if not found.is_dir():
        pytest.skip(f"there is no {found}")
    return found


def test_every_model_is_read() -> None:
    for path in sorted(folder().glob("*.tflite")):
        graph = netc.load(path)
        verify(graph)
        assert graph.name == path.stem
        assert graph.outputs


@pytest.mark.parametrize("name", LIGHT)
def test_text_round_trip(name: str) -> None:
    text = str(netc.load(folder() / f"{name}.tflite"))
    assert str(parse_graph(text)) == text


@pytest.mark.parametrize("name", LIGHT)
def test_bytes_of_litert(name: str) -> None:
    pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
    path = folder() / f"{name}.tflite"
    graph = netc.load(path)
    if len(graph.outputs) > 1:
        pytest.skip("several outputs: benchmarks/bit_exact.py compares them all")
    rows = samples([(v.type.dtype.numpy, v.type.shape) for v in graph.inputs])
    for row, expected in zip(rows, answers(path.read_bytes()), strict=True):
        np.testing.assert_array_equal(evaluate(graph, row)[0], expected)


def test_panda() -> None:
    path = folder() / "mobilenet_v1_0.25_128_quant.tflite"
    graph = netc.load(path)
    photo = data_folder() / "photos" / "giant_panda.jpg"
    if not photo.is_file():
        pytest.skip(f"there is no {photo}")
    tensor = as_batch(graph, [load_picture(graph, str(photo)).tensor])
    assert tensor.dtype == np.uint8
    scores = real(evaluate(graph, [tensor])[0][0], graph.results[0])
    assert gives_probabilities(graph)
    (best,) = best_classes(scores, class_labels(graph, str(path)), 1, probable=True)
    assert best.name.startswith("giant panda")
    assert 0.5 < best.probability < 1


def test_names_and_scales_come_from_the_file() -> None:
    graph = graph_of(read_model(classifier()), "classifier")
    assert [op.name for op in graph.operations if op.name != "constant"] == [
        "q_conv2d",
        "q_conv2d",
        "q_avg_pool",
        "reshape",
        "q_dense",
        "q_softmax",
    ]
    named = {v.name: v for v in graph.producers}
    assert str(named["conv"].type) == "i8[1,4,4,4]<0.05:-128>"
    weight = graph.producers[named["depthwise"]].operands[1]
    assert str(weight.type) == "i8[3,3,1,4]<axis=3 0.01,0.02,0.03,0.01>"
    assert graph.producers[named["conv"]].attributes["high"] == -8  # relu6 at scale 0.05, zero point -128


def test_older_models_and_unknown_operators() -> None:
    graph = graph_of(read_model(mixture()), "mixture")
    (odd,) = (op for op in graph.operations if op.name == "opaque")
    assert odd.attributes["operator"] == "Strange"
    assert str(odd.result.type) == "f32[1,3]"
    x = np.zeros((1, 4, 4, 2), np.float32)
    with pytest.raises(NetcError, match="can't run the operator Strange"):
        evaluate(graph, [x])
    with pytest.raises(NetcError, match="can't run the operator Strange"):
        netc.compile(graph)


def test_pixels_go_in_as_they_are_unless_the_file_says_otherwise() -> None:
    m = Model()
    x = m.tensor("x", (1, 4, 4, 1), scale=0.5, zero=-128)
    y = m.tensor("y", (1, 4, 4, 1), scale=0.5, zero=-128)
    m.operator("RESHAPE", (x,), (y,), ("ReshapeOptions", {}))
    graph = graph_of(read_model(m.data((x,), (y,))), "pixels")
    assert graph.attributes["preprocess"] == {"divide": 1.0, "mean": 0.0, "std": 2.0}


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_scales_that_are_none_of_pixels_tell_no_normalisation(scale: float) -> None:
    m = Model()
    x, y = (m.tensor(name, (1, 4, 4, 1), np.uint8, scale=scale, zero=3) for name in "xy")
    m.operator("RESHAPE", (x,), (y,), ("ReshapeOptions", {}))
    graph = graph_of(read_model(m.data((x,), (y,))), "pixels")
    assert "preprocess" not in graph.attributes
    to_tflite(graph)


def test_missing_file_and_settings(tmp_path: Path) -> None:
    with pytest.raises(NetcError, match="there is no file"):
        netc.load(tmp_path / "none.tflite")
    path = tmp_path / "classifier.tflite"
    path.write_bytes(classifier())
    with pytest.raises(NetcError, match="the file has no signature `x`"):
        netc.load(path, net="x")
    assert netc.load(path, batch=4).inputs[0].type.shape[0] == 4
    path.write_bytes(classifier()[:100])
    with pytest.raises(NetcError, match=r"classifier\.tflite:1:1: error: the file is damaged"):
        netc.load(path)
