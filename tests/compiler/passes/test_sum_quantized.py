"""Products of quantized numbers become sums of integers, which give the same but for what floats round."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from netc.compiler.backends import find_target, lower, optimize
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph, Value
from netc.compiler.ops.quantized.grids import scales_of
from netc.compiler.passes import pipelines, run, sum_quantized
from netc.compiler.types import DType, Quantization, TensorType
from netc.pipeline import compile_graph

Array = np.ndarray[Any, Any]

X = Quantization.of(0.02, 117)
WINDOWS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "dense": ((2, 5, 9), (9, 6), {}),
    "conv1d": ((2, 9, 4), (3, 4, 6), {"strides": (2,), "padding": ((1, 2),), "dilations": (1,)}),
    "conv1d same": ((1, 9, 6), (3, 1, 6), {"strides": (1,), "padding": "same", "dilations": (2,), "groups": 6}),
    "conv2d": ((2, 6, 7, 4), (3, 2, 4, 8), {"strides": (1, 2), "padding": ((2, 0), (0, 1)), "dilations": (1, 2)}),
    "conv2d grouped": ((1, 6, 7, 4), (3, 3, 2, 8), {"strides": (1, 1), "padding": "same", "groups": 2}),
    "conv3d": (
        (2, 4, 5, 6, 3),
        (2, 3, 2, 3, 8),
        {"strides": (1, 2, 1), "padding": ((1, 0), (0, 2), (1, 1)), "dilations": (2, 1, 1)},
    ),
    "conv3d grouped": ((1, 3, 4, 5, 8), (3, 1, 3, 4, 6), {"strides": (2, 1, 1), "padding": "same", "groups": 2}),
    "conv2d depthwise": ((1, 6, 7, 8), (3, 3, 1, 8), {"strides": (1, 1), "padding": "same", "groups": 8}),
    "conv2d narrow": ((1, 6, 7, 12), (3, 3, 3, 8), {"strides": (1, 1), "padding": "same", "groups": 4}),
    "conv2d multiplied": ((1, 5, 7, 8), (3, 3, 1, 24), {"strides": (1, 1), "padding": "same", "groups": 8}),
    "transpose_conv2d doubled": (
        (2, 3, 4, 8),
        (2, 2, 8, 5),
        {"strides": (2, 2), "padding": ((0, 0), (0, 0)), "size": (6, 8)},
    ),
    "transpose_conv2d": (
        (1, 5, 4, 6),
        (4, 3, 6, 8),
        {"strides": (2, 3), "padding": ((1, 2), (0, 0)), "dilations": (1, 2), "size": (9, 14)},
    ),
    "transpose_conv2d grouped": (
        (1, 4, 5, 8),
        (3, 3, 4, 6),
        {"strides": (2, 2), "padding": ((1, 0), (1, 1)), "groups": 2, "size": (8, 9)},
    ),
    "transpose_conv2d stretched": (  # some results have no taps
        (1, 3, 3, 4),
        (1, 2, 4, 8),
        {"strides": (2, 2), "padding": ((0, 0), (0, 0)), "size": (5, 6)},
    ),
    "transpose_conv2d beyond the input": (  # so lie some results
        (1, 1, 3, 8),
        (2, 3, 8, 5),
        {"strides": (2, 2), "padding": ((3, 0), (1, 1)), "dilations": (3, 1), "size": (2, 6)},
    ),
    "conv3d narrow": ((1, 3, 4, 5, 4), (3, 1, 3, 2, 6), {"strides": (2, 1, 1), "padding": "same", "groups": 2}),
}
WEIGHTS = {"symmetric": (-127, 128), "unsigned": (0, 256), "off centre": (-200, 56)}
BIASES = ("none", "whole", "real")
ENDS = ("real", "quantized", "relu", "limits")


def _draw(b: GraphBuilder, kind: str, span: str, bias: str, dtype: DType) -> Value:
    """A contraction of dequantized numbers, with a scale for each filter, or one where the zero point isn't 0."""
    rng = np.random.default_rng(7)
    shape, weights, given = WINDOWS[kind]
    x = b.emit("dequantize", b.input("x", TensorType(DType.U8, shape, quantization=X)), x=X)
    whole = rng.integers(*WEIGHTS[span], weights)
    scales = rng.uniform(0.001, 0.002, weights[-1]).astype(np.float32)
    scales[:] = scales if span == "symmetric" else scales[0]
    weight = (whole * scales.astype(dtype.numpy)).astype(dtype.numpy)
    x = x if dtype is DType.F32 else b.emit("cast", x, dtype="f64")
    more = []
    if bias != "none":
        steps = rng.integers(-1000, 1000, weights[-1]) + (0.3 if bias == "real" else 0)
        more = [b.constant((steps * scales.astype(np.float64) * X.scale).astype(dtype.numpy))]
    name = kind.split()[0]
    ones = (1,) * int(name[-2]) if name != "dense" else ()
    attributes = {"dilations": ones, **given} if ones else given
    return b.emit(name, x, b.constant(weight), *more, **attributes)


def _finish(b: GraphBuilder, y: Value, end: str) -> Graph:
    scale = Quantization.of(0.01, 3 if end == "relu" else 120)
    if end == "relu":
        y = b.emit("relu", y)
    if end == "limits":
        y = b.emit("clamp", b.emit("clamp", y, low=-0.5, high=9.0), low=-3.0, high=0.7)
    return b.finish([y if end == "real" else b.emit("quantize_even", y, dtype="u8", y=scale)])


def _input(kind: str) -> Array:
    return np.random.default_rng(1).integers(0, 256, WINDOWS[kind][0], np.uint8)


def _check_near(result: Array, expected: Array) -> None:
    """Floats differ by roundings, quantized ones by a step where these are near its middle."""
    if expected.dtype == np.uint8:
        steps = np.abs(result.astype(int) - expected.astype(int))
        assert steps.max() <= 1
        assert (steps > 0).mean() < 0.01
    else:
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("kind", WINDOWS)
def test_sums_of_integers_stand_for_the_same(kind: str, bias: str, end: str) -> None:
    for span in WEIGHTS:
        for dtype in (DType.F32, DType.F64):
            b = GraphBuilder("net")
            graph = _finish(b, _draw(b, kind, span, bias, dtype), end)
            result = run(graph, [sum_quantized])
            names = [op.name for op in result.operations]
            made = {"dense": "dense_sum", "conv3d": "conv3d_sum"}.get(kind.split()[0], "conv2d_sum")
            assert made in names
            assert kind.split()[0] not in names
            assert ("add" in names) is (bias == "real")
            _check_near(evaluate(result, [_input(kind)])[0], evaluate(graph, [_input(kind)])[0])


@pytest.mark.parametrize("kind", WINDOWS)
def test_compiled_sums_are_those_of_the_graph(kind: str) -> None:
    b = GraphBuilder("net")
    graph = _finish(b, _draw(b, kind, "symmetric", "whole", DType.F32), "relu")
    (expected,) = evaluate(run(graph, pipelines.INFERENCE), [_input(kind)])
    with compile_graph(graph, threads=2) as program:
        np.testing.assert_array_equal(program(_input(kind)), expected)
        assert any("_sum" in call.label for call in program.module.calls)


@pytest.mark.parametrize(("cpu", "lanes"), [("znver5", 64), ("alderlake", 8)])
def test_ends_pack_whole_vectors_of_bytes(cpu: str, lanes: int) -> None:
    target = find_target(cpu)
    assert target is not None
    b = GraphBuilder("net")
    x = b.emit("dequantize", b.input("x", TensorType(DType.U8, (9, 8), quantization=X)), x=X)
    weight = np.random.default_rng(0).integers(-127, 128, (8, 64)).astype(np.float32)
    graph = _finish(b, b.emit("dense", x, b.constant(weight)), "quantized")
    text = str(lower(optimize(graph, pipelines.INFERENCE, target), target))
    factors = {int(found) for found in re.findall(r"load f32x(\d+)", text)}
    assert factors == {lanes}


def test_limits_are_those_of_the_integers() -> None:
    b = GraphBuilder("net")
    graph = run(_finish(b, _draw(b, "dense", "symmetric", "whole", DType.F32), "limits"), [sum_quantized])
    (clamp,) = (op for op in graph.operations if op.name == "clamp")
    assert (clamp.attributes["low"], clamp.attributes["high"]) == (70, 190)
    (result,) = evaluate(graph, [_input("dense")])
    assert (result.min(), result.max()) == (70, 190)
    assert str(result.dtype) == "uint8"


def test_a_result_that_is_read_elsewhere_stays_real() -> None:
    b = GraphBuilder("net")
    y = _draw(b, "dense", "symmetric", "whole", DType.F32)
    quantized = b.emit("quantize_even", y, dtype="u8", y=Quantization.of(0.01, 9))
    graph = b.finish([b.emit("dequantize", quantized, x=Quantization.of(0.01, 9)), b.emit("tanh", y)])
    result = run(graph, [sum_quantized])
    assert [op.name for op in result.operations].count("dense_sum") == 1
    for got, wanted in zip(evaluate(result, [_input("dense")]), evaluate(graph, [_input("dense")]), strict=True):
        np.testing.assert_allclose(got, wanted, atol=0.0101)


def _with_weight(weight: Array, given: Quantization = X) -> Graph:
    b = GraphBuilder("net")
    x = b.input("x", TensorType(DType.U8, (3, len(weight)), quantization=given))
    return b.finish([b.emit("dense", b.emit("dequantize", x, x=given), b.constant(weight))])


@pytest.mark.parametrize(
    "weight",
    [
        np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32),  # floats
        np.array([[-200.0, 3.0], [90.0, -7.0]], np.float32),  # further apart than bytes
        np.full((9, 1), 0.5, np.float32),  # one filter: tiles of results would have one lane
        np.full((20_000, 2), 0.5, np.float32),  # sums of products might not fit
        np.array([[np.inf, 1.0]], np.float32),
        np.zeros((0, 3), np.float32),
        np.zeros((4, 0), np.float32),
    ],
    ids=["floats", "far apart", "one filter", "long", "infinite", "no features", "no filters"],
)
def test_other_weights_stay_as_they_are(weight: Array) -> None:
    graph = _with_weight(weight)
    assert run(graph, [sum_quantized]) is graph


@pytest.mark.parametrize(("scale", "step"), [(1e30, 1e30), (1e-20, 1e-20), (1e-44, 0.01), (3e38, 1.0)])
def test_scales_that_floats_have_not_all_digits_of_stay_as_they_are(scale: float, step: float) -> None:
    """Sums of 0 times infinity would be no numbers, and small scales lose digits, or all of them."""
    graph = _with_weight(np.array([[1, 100], [-3, 7]], np.float32) * np.float32(step), Quantization.of(scale, 117))
    assert run(graph, [sum_quantized]) is graph


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [1e-39, 1e-30])
def test_scales_of_results_may_be_small(scale: float) -> None:
    b, end = GraphBuilder("net"), Quantization.of(scale, 3)
    x = b.emit("dequantize", b.input("x", TensorType(DType.U8, (2, 2), quantization=X)), x=X)
    bias = b.constant(np.array([0, 0.1234567], np.float32))
    y = b.emit("dense", x, b.constant(np.array([[1, 127], [-3, 7]], np.float32)), bias)
    graph = b.finish([b.emit("quantize_even", y, dtype="u8", y=end)])
    for values in (np.full((2, 2), 117, np.uint8), np.array([[3, 5], [200, 190]], np.uint8)):
        np.testing.assert_array_equal(evaluate(run(graph, [sum_quantized]), [values])[0], evaluate(graph, [values])[0])


@pytest.mark.filterwarnings("error")
def test_doubles_that_singles_do_not_have_are_no_multiples() -> None:
    assert scales_of(np.array([[1e300, 2e300], [3e300, 5e300]]), -255, 255) is None


def test_casts_that_round_are_not_passed_over() -> None:
    b = GraphBuilder("net")
    x = b.emit("dequantize", b.input("x", TensorType(DType.U8, (2, 4), quantization=X)), x=X)
    rounded = b.emit("cast", b.emit("cast", x, dtype="i32"), dtype="f32")
    graph = b.finish([b.emit("dense", rounded, b.constant(np.ones((4, 2), np.float32)))])
    assert run(graph, [sum_quantized]) is graph


def test_real_biases_of_doubles_join_results_of_scale_one() -> None:
    b = GraphBuilder("net")
    x = b.emit("dequantize", b.input("x", TensorType(DType.U8, (2, 4), quantization=X)), x=X)
    y = b.emit("dense", b.emit("cast", x, dtype="f64"), b.constant(np.ones((4, 2))), b.constant(np.array([0.3, 7.1])))
    graph = b.finish([b.emit("quantize_even", y, dtype="u8", y=Quantization.of(1.0, 5))])
    values, result = [np.full((2, 4), 240, np.uint8)], run(graph, [sum_quantized])
    assert "dense_sum" in [op.name for op in result.operations]
    np.testing.assert_array_equal(evaluate(result, values)[0], evaluate(graph, values)[0])


def test_numbers_of_sixteen_bits_stay_as_they_are() -> None:
    b, given = GraphBuilder("net"), Quantization.of(0.5)
    x = b.emit("dequantize", b.input("x", TensorType(DType.I16, (3, 4), quantization=given)), x=given)
    graph = b.finish([b.emit("dense", x, b.constant(np.ones((4, 2), np.float32)))])
    assert run(graph, [sum_quantized]) is graph


def test_filters_of_zeros_give_their_bias() -> None:
    b = GraphBuilder("net")
    x = b.emit("dequantize", b.input("x", TensorType(DType.U8, (3, 4), quantization=X)), x=X)
    weight = np.array([[0, 1], [0, -2], [0, 3], [0, 127]], np.float32)
    y = b.emit("dense", x, b.constant(weight), b.constant(np.array([0.123, 4.0], np.float32)))
    graph = b.finish([b.emit("quantize_even", y, dtype="u8", y=Quantization.of(0.01, 5))])
    result, values = run(graph, [sum_quantized]), [np.full((3, 4), 200, np.uint8)]
    np.testing.assert_array_equal(evaluate(result, values)[0], evaluate(graph, values)[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scales_of_weights_are_found(dtype: type[np.floating[Any]]) -> None:
    rng = np.random.default_rng(3)
    for _ in range(40):
        low, high = (-128, 127) if rng.random() < 0.5 else (-255, 255)
        whole = rng.integers(low, high, (3, 3, 4, 6), endpoint=True)
        whole[..., rng.integers(6)] = 0
        whole[..., rng.integers(6)] //= 9  # a filter of few steps
        scales = np.exp(rng.uniform(-12, 3, 1 if rng.random() < 0.3 else 6)).astype(np.float32)
        weight = whole.astype(dtype) * scales.astype(dtype)
        found = scales_of(weight, low, high)
        assert found is not None
        steps = np.rint(weight / np.where(found > 0, found, 1).astype(dtype))
        assert low <= steps.min()
        assert steps.max() <= high
        np.testing.assert_array_equal(steps.astype(dtype) * found.astype(dtype), weight)
        assert not weight[..., found == 0].any()
