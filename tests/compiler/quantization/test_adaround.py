"""Adaptive rounding does better than the nearest whole numbers, and never goes further than the next."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from netc.compiler.errors import NetcError
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.quantization import Scheme, quantize
from netc.compiler.quantization.adaround import AdaRound, decided, initial_state, learn, squared_error, step_graph
from netc.compiler.quantization.bias_correction import corrected_bias
from netc.compiler.quantization.layers import IntegerLayer, Rows, layers
from tests.quantized_nets import NETS, PICTURE, Net, calibrated, integers

SETTINGS = AdaRound(steps=200, batch=32)


class Interpreted:
    """A step carried out by the reference interpreter."""

    def __init__(self, graph: Graph, state: Mapping[str, NDArray[Any]]) -> None:
        self.graph = graph
        self.state = dict(state)
        self.losses: list[float] = []

    def __call__(self, *inputs: NDArray[Any]) -> None:
        loss, *new = evaluate(self.graph, inputs, self.state)
        self.losses.append(float(loss))
        self.state |= zip(self.graph.attributes["updates"], new, strict=True)


def _coarse(n: Net, x: Any, groups: int = 1, **window: Any) -> Any:
    """A convolution with one weight so large that one scale leaves few steps for the others."""
    shape = (3, 3, 8 // groups, 16)
    weight = n.random.standard_normal(shape) * 0.1
    weight[0, 0, 0, 0] = 4
    given = {"strides": (1, 1), "padding": "same", "dilations": (1, 1), "groups": groups, **window}
    return n.b.emit("relu", n.b.emit("conv2d", x, n.b.constant(weight.astype(np.float32)), n.constant(16), **given))


COARSE = {
    "conv": Net(PICTURE, _coarse, Scheme(per_channel=False)),
    "depthwise": Net(PICTURE, lambda n, x: _coarse(n, x, groups=8), Scheme(per_channel=False)),
    "grouped": Net(PICTURE, lambda n, x: _coarse(n, x, groups=2), Scheme(per_channel=False)),
}


def correlated(net: Net) -> NDArray[np.float32]:
    """Input whose elements have much in common, as those of pictures and activations have."""
    random = np.random.default_rng(5)
    own, common = random.standard_normal(net.shape), random.standard_normal((*net.shape[:-1], 1))
    return (0.3 * own + 0.5 * common + 1).astype(np.float32)


def problem(net: Net) -> tuple[IntegerLayer, Rows]:
    x = correlated(net)
    prepared, calibration = calibrated(net.graph(), x)
    quantized = quantize(prepared, calibration.ranges("minmax"), net.scheme)
    (layer,) = layers(prepared, quantized)
    x = integers(x, quantized.inputs[0].type)
    rows = layer.read(x, layer.places(10**9, (0,)))
    bias = (layer.bias * layer.scales * layer.x.scale).astype(np.float32)
    return layer, Rows(rows, layer.results(rows, layer.weight) + bias)


def learnt(layer: IntegerLayer, rows: Rows, seed: int = 0) -> tuple[NDArray[np.int8], Interpreted]:
    step = Interpreted(step_graph(layer, SETTINGS), initial_state(layer, layer.bias))
    return learn(layer, rows, layer.bias, SETTINGS, step, seed), step


@pytest.mark.parametrize("name", COARSE)
def test_the_error_falls_and_weights_stay_beside_the_floats(name: str) -> None:
    layer, rows = problem(COARSE[name])
    before = squared_error(layer, rows, layer.rounded, layer.bias)
    rounded, step = learnt(layer, rows)
    assert squared_error(layer, rows, rounded, layer.bias) < 0.7 * before
    steps = layer.weight.astype(np.float64) / layer.scales
    assert np.all((rounded == np.floor(steps)) | (rounded == np.ceil(steps)))
    assert np.any(rounded != layer.rounded)
    up = np.clip(1.2 / (1 + np.exp(-step.state["rounding"])) - 0.1, 0, 1)
    assert np.mean(np.abs(up - 0.5) > 0.4) > 0.9  # The regulariser has decided.


def test_the_seed_decides() -> None:
    layer, rows = problem(COARSE["conv"])
    first, again, other = (learnt(layer, rows, seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


def test_where_nothing_is_lost_nothing_is_learnt() -> None:
    layer, rows = problem(COARSE["conv"])
    exact = Rows(rows.x, rows.y - layer.error(rows.x, rows.y, layer.rounded, layer.bias))
    assert squared_error(layer, exact, layer.rounded, layer.bias) < 1e-12
    zeros = Rows(np.zeros_like(rows.x), np.full_like(rows.y, -1))
    step = Interpreted(step_graph(layer, SETTINGS), initial_state(layer, layer.bias))
    silent = np.full_like(layer.bias, -1000)
    assert learn(layer, zeros, silent, SETTINGS, step, 0) is layer.rounded
    assert not step.losses


def test_soft_weights_begin_at_the_floats() -> None:
    layer, rows = problem(COARSE["conv"])
    state = initial_state(layer, layer.bias)
    up = 1.2 / (1 + np.exp(-state["rounding"].astype(np.float64))) - 0.1
    np.testing.assert_allclose((state["floor"] + up) * state["scale"], layer.weight, atol=1e-5)
    nearest = decided(layer, state["rounding"])
    assert np.mean(nearest == layer.rounded) > 0.999  # All but ties.
    step = Interpreted(step_graph(layer, SETTINGS), state)
    x = rows.x[:32].reshape(32, -1)
    step(x, rows.y[:32], *(np.float32(v) for v in (2.0, 0.0, 1.0)))
    assert step.losses[0] < 1e-6 * np.square(rows.y).mean()


def test_steps_of_equal_shapes_are_the_same_graph() -> None:
    one, other = (problem(Net(PICTURE, _coarse, Scheme(per_channel=p)))[0] for p in (False, True))
    assert str(step_graph(one, SETTINGS)) == str(step_graph(other, SETTINGS))
    depthwise = problem(COARSE["depthwise"])[0]
    assert str(step_graph(one, SETTINGS)) != str(step_graph(depthwise, SETTINGS))


def test_the_regulariser_waits_and_then_sharpens() -> None:
    schedule = list(AdaRound(steps=10, warmup=0.2, strength=3).schedule())
    assert [strength for _, strength in schedule] == [0, 0] + [3] * 8
    sharpness = [s for s, _ in schedule]
    assert sharpness[:3] == [20, 20, 20]
    assert sharpness[-1] == pytest.approx(2)
    assert sharpness == sorted(sharpness, reverse=True)
    assert len(list(AdaRound(steps=1).schedule())) == 1


@pytest.mark.parametrize("setting", [{"steps": 0}, {"batch": 0}, {"rate": 0.0}, {"strength": -1.0}, {"warmup": 1.0}])
def test_settings_are_checked(setting: dict[str, Any]) -> None:
    with pytest.raises(NetcError, match="adaptive rounding"):
        AdaRound(**setting)


@pytest.mark.parametrize("name", ["conv", "depthwise", "dense", "conv, grouped"])
def test_bias_correction_removes_the_mean_error(name: str) -> None:
    layer, rows = problem(NETS[name])
    shifted = np.clip(layer.rounded + 1, -127, 127).astype(np.int8)
    steps = layer.scales * layer.x.scale
    before = layer.error(rows.x, rows.y, shifted, layer.bias).mean(axis=0)
    bias = corrected_bias(layer, rows, shifted)
    after = layer.error(rows.x, rows.y, shifted, bias).mean(axis=0)
    assert np.abs(before / steps).max() > 1
    assert np.all(np.abs(after / steps) < 0.51)


def test_a_correction_that_fits_no_bias_is_cut_off() -> None:
    layer, rows = problem(NETS["conv"])
    far = Rows(rows.x, rows.y + np.float32(1e12))
    assert np.all(corrected_bias(layer, far, layer.rounded) == 1 << 30)
