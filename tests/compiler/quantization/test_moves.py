"""Operators that move elements keep the scale: integers are near the floats, and LiteRT gives the same bytes."""

from __future__ import annotations

import numpy as np
import pytest

import netc
from netc.compiler.errors import NetcError
from netc.compiler.graph import Array, Graph, evaluate
from netc.compiler.quantization import Calibration, observation_graph, prepare, quantize
from netc.compiler.tflite import to_tflite
from netc.frontend import load_text
from netc.runtime.weights import initial_weights

from ..tflite.test_round_trip import outputs

RNG = np.random.default_rng(4)
PICTURE = "x: f32[2, 8, 8, 4]"
NETS = {
    "embedding": (
        "i: i32[2, 16]",
        "reshape(embedding@e(i, 30, 16), [2, 4, 4, 16]) |> conv@c(8, 3) |> space_to_depth(2)",
    ),
    "mirrors": (
        PICTURE,
        'x |> conv@c(8, 3) |> pad([[0, 0], [1, 1], [1, 1], [0, 0]], mode = "reflect") |> flip(1) |> depth_to_space(2)',
    ),
    "slices": (
        PICTURE,
        "concat(chunk(x |> conv@c(6, 3), 4)) + stack(x[:, ::2, 3], x[:, 1::2, -1], axis = 1)[0, 0, 0, 0]",
    ),
    "picking": ("x: f32[2, 8], i: i32[2, 3]", "take_along_axis(x |> relu, i, axis = 1)"),
    "batches": (
        PICTURE,
        "space_to_batch_nd(x, [2, 2], [[1, 1], [0, 0]]) |> conv@c(4, 3) |> batch_to_space_nd([2, 2], [[1, 1], [0, 0]])",
    ),
    "shuffles": (
        PICTURE,
        "roll(x, 3, 1) |> channel_shuffle(2) |> pixel_shuffle(2) |> conv@c(4, 3) |> tile([1, 1, 1, 2])",
    ),
}


def calibrated(graph: Graph) -> tuple[Graph, list[Array], Graph]:
    """A graph with weights in it, samples for its inputs, and its integer form."""
    prepared = prepare(graph, initial_weights(graph, seed=1))
    given = [
        RNG.standard_normal(v.type.shape).astype(np.float32)
        if v.type.dtype.is_float
        else RNG.integers(0, 8, v.type.shape).astype(np.int32)
        for v in graph.inputs
    ]
    calibration = Calibration(prepared)
    calibration.add(given, evaluate(observation_graph(prepared), given))
    return prepared, given, quantize(prepared, calibration.ranges("minmax"))


@pytest.mark.parametrize("name", NETS)
def test_integers_move_as_floats_do(name: str) -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
    inputs, body = NETS[name]
    prepared, given, integers = calibrated(load_text(f"net n({inputs}) {{ return {body} }}", "n.net"))
    (wanted,) = evaluate(prepared, given)
    scales = [v.type.quantization for v in integers.inputs]
    whole = [
        x if s is None else np.clip(np.round(x / s.scale) + s.zero_point, -128, 127).astype(np.int8)
        for x, s in zip(given, scales, strict=True)
    ]
    (got,) = evaluate(integers, whole)
    y = integers.outputs[0].type.quantization
    assert y is not None
    np.testing.assert_allclose((got.astype(np.float32) - y.zero_point) * y.scale, wanted, atol=6 * y.scale)
    np.testing.assert_array_equal(netc.compile(integers)(*whole), got)
    (answer,) = outputs(litert, to_tflite(integers), whole)
    np.testing.assert_array_equal(answer, got)


def test_the_scale_of_a_table_reaches_rows_that_no_sample_picks() -> None:
    graph = load_text("net n(i: i32[4]) { return embedding@e(i, 9, 2) }", "n.net")
    table = np.full((9, 2), 0.5, np.float32)
    table[8] = 100
    prepared = prepare(graph, {"e.weight": table})
    calibration = Calibration(prepared)
    calibration.add([np.zeros(4, np.int32)], evaluate(observation_graph(prepared), [np.zeros(4, np.int32)]))
    integers = quantize(prepared, calibration.ranges("minmax"))
    y = integers.outputs[0].type.quantization
    assert y is not None
    assert y.scale * (127 - y.zero_point) > 99


def test_space_to_batch_that_pads_with_other_numbers_is_refused() -> None:
    graph = load_text("net n(x: f32[1, 3, 4]) { return space_to_batch_nd(relu(x), [2], [[0, 1]], 1.0) }", "n.net")
    with pytest.raises(NetcError, match="space_to_batch_nd on integers pads with zeros alone"):
        calibrated(graph)
