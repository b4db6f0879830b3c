"""Layers find their integer forms, and read at single places what the whole operator reads there."""

from dataclasses import replace

import numpy as np
import pytest

from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.verifier import verify
from netc.compiler.quantization import Scheme, quantize
from netc.compiler.quantization.layers import IntegerLayer, Rows, layers, with_biases, with_constants
from tests.quantized_nets import NETS, PICTURE, Net, calibrated, integers

CONTRACTIONS = [name for name in NETS if name.startswith(("conv", "depthwise", "dense"))]


def pair(net: Net, scheme: Scheme | None = None) -> tuple[tuple[IntegerLayer, ...], Rows]:
    """The layers of a network, and all places of the first one's output."""
    prepared, calibration = calibrated(net.graph(), net.samples())
    quantized = quantize(prepared, calibration.ranges("minmax"), scheme or net.scheme)
    found = layers(prepared, quantized)
    x = integers(net.samples(), quantized.inputs[0].type)
    places = found[0].places(10**9, (0,))
    (y,) = evaluate(replace(prepared, outputs=(found[0].original.result,)), [net.samples()])
    return found, Rows(found[0].read(x, places), y.reshape(-1, found[0].filters))


@pytest.mark.parametrize("name", CONTRACTIONS)
def test_rows_give_the_results_of_the_operator(name: str) -> None:
    (layer,), rows = pair(NETS[name])
    bias = layer.bias * (layer.scales * layer.x.scale)
    got = layer.results(rows.x, layer.weight) + bias
    np.testing.assert_allclose(got, rows.y, atol=0.05 * np.abs(rows.y).max())
    steps = layer.scales * layer.x.scale
    error = layer.error(rows.x, rows.y, layer.rounded, layer.bias)
    assert np.abs(error).max() < 0.05 * np.abs(rows.y).max()
    assert np.abs(error / steps).max() > 1  # It is the error of rounding that is seen, not that of nothing.


def test_places_are_different_and_depend_on_the_seed() -> None:
    (layer,), _ = pair(NETS["conv"])
    first, again, other = (layer.places(20, seed) for seed in ((1, 2), (1, 2), (1, 3)))
    np.testing.assert_array_equal(first, again)
    assert len(set(first.tolist())) == 20
    assert first.tolist() != other.tolist()
    assert layer.places(1000, (1,)).tolist() == list(range(81))


def test_layers_that_stay_floats_are_left_out() -> None:
    net = Net(PICTURE, lambda n, x: n.conv(n.conv(x, 1, 1, 8, 4), 1, 1, 4, 4))
    assert [layer.name for layer in pair(net)[0]] == ["conv2d", "conv2d_1"]
    found, _ = pair(net, Scheme(keep_float=("conv2d_1",)))
    assert [layer.name for layer in found] == ["conv2d"]


def test_biases_of_zeros_change_nothing() -> None:
    net = NETS["conv without bias"]
    prepared, calibration = calibrated(net.graph(), net.samples())
    quantized = quantize(prepared, calibration.ranges("minmax"))
    biased = with_biases(quantized)
    verify(biased)
    (layer,) = layers(prepared, biased)
    assert len(layer.integer.operands) == 3
    x = [integers(net.samples(), quantized.inputs[0].type)]
    np.testing.assert_array_equal(evaluate(biased, x)[0], evaluate(quantized, x)[0])
    assert with_biases(biased).operations == biased.operations


def test_constants_are_replaced() -> None:
    net = NETS["conv"]
    prepared, calibration = calibrated(net.graph(), net.samples())
    quantized = quantize(prepared, calibration.ranges("minmax"))
    (layer,) = layers(prepared, quantized)
    changed = with_constants(quantized, {layer.integer.operands[1]: np.zeros_like(layer.rounded)})
    verify(changed)
    (again,) = layers(prepared, changed)
    assert not again.rounded.any()
    np.testing.assert_array_equal(again.bias, layer.bias)


@pytest.mark.parametrize(("count", "held_out"), [(1, 0), (2, 1), (4, 1), (10, 2), (81, 16)])
def test_some_rows_are_held_out(count: int, held_out: int) -> None:
    for name in ("conv", "depthwise"):
        (layer,), rows = pair(NETS[name])
        rows = Rows(rows.x[np.arange(count) % len(rows.x)], rows.y[np.arange(count) % len(rows.y)])
        learnt, judged = rows.split()
        assert (len(learnt.y), len(judged.y)) == (count - held_out, held_out)
        assert layer.error(judged.x, judged.y, layer.rounded, layer.bias).shape == (held_out, 16)
