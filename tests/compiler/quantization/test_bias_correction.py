"""Biases make good what the rounding of weights does to the mean of each filter."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from netc.compiler.errors import NetcError
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph, Operation
from netc.compiler.quantization import Ranges, quantize
from netc.compiler.quantization.bias_correction import shift_of_rounding
from netc.compiler.types import DType, TensorType
from tests.quantized_nets import NETS, calibrated, integers

WINDOWS: list[dict[str, Any]] = [
    {"padding": "same"},
    {"padding": "valid", "strides": (2, 1)},
    {"padding": ((2, 0), (1, 3)), "dilations": (2, 1)},
    {"padding": "same", "groups": 2},
    {"padding": "same", "groups": 6, "strides": (2, 2)},
]


def contraction(shape: tuple[int, ...], weight: np.ndarray, **attributes: Any) -> tuple[Graph, Operation]:
    b = GraphBuilder("one")
    x = b.input("x", TensorType(DType.F32, shape))
    graph = b.finish([b.emit("conv2d" if len(shape) > 2 else "dense", x, b.constant(weight), **attributes)])
    return graph, graph.operations[-1]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_the_shift_is_what_even_channels_give(window: dict[str, Any]) -> None:
    random = np.random.default_rng(0)
    given = {"strides": (1, 1), "dilations": (1, 1), "groups": 1, **window}
    error = random.standard_normal((3, 4, 6 // given["groups"], 12)).astype(np.float32)
    means = random.standard_normal(6).astype(np.float32)
    graph, op = contraction((1, 7, 8, 6), error, **given)
    (results,) = evaluate(graph, [np.broadcast_to(means, (1, 7, 8, 6)).copy()])
    np.testing.assert_allclose(shift_of_rounding(op, error, means), results.mean((0, 1, 2)), rtol=1e-4, atol=1e-5)


def test_the_shift_of_a_dense_layer() -> None:
    error = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    _, op = contraction((4, 3), error)
    np.testing.assert_array_equal(shift_of_rounding(op, error, np.array([1.0, 0, -1])), [-4, -4])


@pytest.mark.parametrize("name", ["conv, grouped", "conv without bias", "conv, one scale", "dense"])
def test_results_have_the_mean_of_the_floats(name: str) -> None:
    net = NETS[name]
    x = net.samples() + 2
    graph, calibration = calibrated(net.graph(), x)
    (wanted,) = evaluate(net.graph(), [x])

    def shift(ranges: Ranges) -> float:
        quantized = quantize(graph, ranges, net.scheme)
        given = quantized.outputs[0].type.quantization
        assert given is not None
        (got,) = evaluate(quantized, [integers(x, quantized.inputs[0].type)])
        error = (got.astype(np.float64) - given.zero_point) * given.scale - wanted
        return float(np.square(error.reshape(-1, error.shape[-1]).mean(0)).sum())

    ranges = calibration.ranges("minmax")
    assert shift(ranges) < shift(replace(ranges, means={})) / 2


def test_means_are_part_of_the_text_form() -> None:
    net = NETS["conv"]
    graph, calibration = calibrated(net.graph(), net.samples())
    ranges = calibration.ranges("minmax")
    assert list(ranges.means) == ["x"]
    assert Ranges.from_json(ranges.to_json()) == ranges
    without = replace(ranges, means={})
    assert Ranges.from_json(without.to_json()) == without
    with pytest.raises(NetcError, match="`x` has 8 channels, not 1 as in the ranges"):
        quantize(graph, replace(ranges, means={"x": (0.5,)}))
    with pytest.raises(NetcError, match="means of `x` aren't all numbers"):
        Ranges.from_json(replace(ranges, means={"x": (np.inf,)}).to_json())
