"""Equalisation changes no float, and recovers a network whose channels have very different ranges."""

import numpy as np
from numpy.typing import NDArray

from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.quantization import Noise, Scheme, comparable, equalize, measure, quantize
from netc.compiler.types import DType, TensorType
from tests.quantized_nets import calibrated, integers

WINDOW = {"strides": (1, 1), "padding": "same", "dilations": (1, 1)}


POOLING = {"size": (2, 2), "strides": (2, 2), "padding": ((0, 1), (1, 0))}


def uneven(groups: int = 1, pool: str | None = None) -> Graph:
    """Two convolutions whose channels between them differ by factors of up to 1000."""
    random = np.random.default_rng(2)
    b = GraphBuilder("uneven")
    x = b.input("x", TensorType(DType.F32, (1, 8, 8, 4)))
    factors = np.logspace(-1.5, 1.5, 16)
    first = (random.standard_normal((3, 3, 4, 16)) * factors).astype(np.float32)
    bias = (random.standard_normal(16) * factors).astype(np.float32)
    y = b.emit("relu", b.emit("conv2d", x, b.constant(first), b.constant(bias), groups=1, **WINDOW))
    if pool is not None:
        y = b.emit(pool, y, **POOLING)
    shape = (3, 3, 1, 16) if groups > 1 else (3, 3, 16, 8)
    spread = 1 / factors if groups > 1 else 1 / factors[:, np.newaxis]
    second = (random.standard_normal(shape) * spread).astype(np.float32)
    return b.finish([b.emit("conv2d", y, b.constant(second), groups=groups, **WINDOW)])


def samples() -> NDArray[np.float32]:
    return np.random.default_rng(4).standard_normal((1, 8, 8, 4)).astype(np.float32)


def last_noise(graph: Graph, *, per_channel: bool) -> Noise:
    x = samples()
    prepared, calibration = calibrated(graph, x)
    floats, quantized = comparable(
        prepared, quantize(prepared, calibration.ranges("minmax"), Scheme(per_channel=per_channel))
    )
    runs = [(evaluate(floats, [x]), evaluate(quantized, [integers(x, quantized.inputs[0].type)]))]
    return measure(floats, quantized, runs)[-1]


def test_floats_stay() -> None:
    for groups, pool in ((1, None), (16, None), (1, "max_pool"), (16, "avg_pool")):
        graph = uneven(groups, pool)
        changed = equalize(graph)
        assert changed is not graph
        (wanted,), (got,) = (evaluate(g, [samples()]) for g in (graph, changed))
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-3)


def test_uneven_channels_are_recovered() -> None:
    for per_channel in (False, True):
        before = last_noise(uneven(), per_channel=per_channel).decibels
        after = last_noise(equalize(uneven()), per_channel=per_channel).decibels
        assert before < 25
        assert after > before + 8


def test_what_others_read_is_left_alone() -> None:
    b = GraphBuilder("shared")
    x = b.input("x", TensorType(DType.F32, (1, 8, 8, 4)))
    weights = [b.constant(np.random.default_rng(i).standard_normal((1, 1, 4, 4)).astype(np.float32)) for i in range(2)]
    y = b.emit("conv2d", x, weights[0], groups=1, **WINDOW)
    z = b.emit("conv2d", y, weights[1], groups=1, **WINDOW)
    graph = b.finish([b.emit("add", y, z)])
    assert equalize(graph) is graph


def test_noise_is_measured_for_each_result() -> None:
    x = samples()
    prepared, calibration = calibrated(uneven(), x)
    floats, quantized = comparable(prepared, quantize(prepared, calibration.ranges("minmax")))
    outputs = evaluate(floats, [x])
    same = measure(floats, floats, [(outputs, outputs)])
    assert [n.operator for n in same] == ["relu", "conv2d"]
    assert all(n.decibels == np.inf for n in same)
    worse = measure(floats, quantized, [(outputs, evaluate(quantized, [integers(x, quantized.inputs[0].type)]))])
    assert 0 < worse[1].decibels < worse[0].decibels < 60
