"""Custom operators that netc knows: LiteRT's numbers where it runs them, definitions elsewhere; rules of one's own."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from flatbuffers import flexbuffers
from numpy.typing import NDArray

import netc
from netc.compiler.errors import NetcError
from netc.compiler.graph import evaluate
from netc.compiler.graph.ir import Value
from netc.compiler.ops.custom import CustomCall, custom_operator
from netc.compiler.ops.expressions import Formula
from netc.compiler.ops.opaque import runnable
from netc.compiler.tflite.model import Model, Node, Tensor
from netc.compiler.tflite.reading import read_model
from netc.compiler.tflite.serialize import serialize
from netc.compiler.tflite.writer import to_tflite
from netc.compiler.types import DType, TensorType
from netc.frontend.tflite import graph_of

from . import small_models

Array = NDArray[Any]
RNG = np.random.default_rng(7)
Shape = tuple[int, ...]


def custom(
    name: str,
    options: Any,
    inputs: Sequence[Array],
    results: Sequence[Shape],
    constants: Sequence[Array] = (),
    version: int = 1,
) -> bytes:
    """A file with one custom operator of f32 results; the constants come behind the inputs."""
    given = [Tensor(f"x{i}", TensorType(DType.of(x.dtype), x.shape)) for i, x in enumerate(inputs)]
    given += [Tensor(f"c{i}", TensorType(DType.of(x.dtype), x.shape), x) for i, x in enumerate(constants)]
    tensors = [*given, *(Tensor(f"y{i}", TensorType(DType.F32, shape)) for i, shape in enumerate(results))]
    data = bytes(flexbuffers.Dumps(options)) if isinstance(options, dict) else options
    outputs = list(range(len(given), len(tensors)))
    node = Node("CUSTOM", version, tuple(range(len(given))), tuple(outputs), custom_code=name, custom_options=data)
    count = len(inputs)
    names = [f"x{i}" for i in range(count)], [f"y{i}" for i in range(len(results))]
    return serialize(Model("custom", tensors, [node], list(range(count)), outputs, *names, "serving_default", {}))


def answers(data: bytes, inputs: Sequence[Array]) -> list[Array]:
    """What netc's machine code gives; the interpreter gives nearly the same."""
    graph = graph_of(read_model(data), "custom")
    assert read_model(to_tflite(graph)).operators[0].custom_options == read_model(data).operators[0].custom_options
    compiled = netc.compile(graph)(*inputs)
    outputs = list(compiled) if isinstance(compiled, tuple) else [compiled]
    for a, b in zip(evaluate(runnable(graph), list(inputs)), outputs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    return outputs


def litert(data: bytes, inputs: Sequence[Array]) -> list[Array]:
    """What LiteRT's default kernels give."""
    module = pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
    interpreter = module.Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    for detail, array in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], array)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


def floats(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def structure(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}i", *numbers)


# ---- MediaPipe ----


@pytest.mark.parametrize(
    ("extent", "kernel", "strides", "padding"),
    [((4, 6), (2, 2), (2, 2), 1), ((4, 6), (3, 3), (2, 2), 1), ((3, 4), (3, 2), (1, 2), 2)],
)
def test_transposed_convolution_with_bias(extent: Shape, kernel: Shape, strides: Shape, padding: int) -> None:
    cuts = [max(0, k - (n - 1) % s - 1) if padding == 1 else 0 for n, k, s in zip(extent, kernel, strides, strict=True)]
    size = [s * (n - 1) + k - cut for n, k, s, cut in zip(extent, kernel, strides, cuts, strict=True)]
    x, weight, bias = floats(1, *extent, 3), floats(5, *kernel, 3), floats(5)
    options = structure(padding, strides[1], strides[0])
    data = custom("Convolution2DTransposeBias", options, [x], [(1, *size, 5)], [weight, bias])
    np.testing.assert_allclose(answers(data, [x])[0], litert(data, [x])[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kernel", [(2, 2), (3, 2)])
def test_pooling_with_places_and_its_inverse(kernel: Shape) -> None:
    x = floats(2, 6, 8, 4)
    small = (2, 6 // kernel[0], 8 // kernel[1], 4)
    options = structure(2, kernel[1], kernel[0], kernel[1], kernel[0], 0)
    pooled, places = answers(custom("MaxPoolingWithArgmax2D", options, [x], [small, small]), [x])
    windows = x.reshape(2, small[1], kernel[0], small[2], kernel[1], 4).transpose(0, 1, 3, 5, 2, 4).reshape(*small, -1)
    assert np.array_equal(pooled, windows.max(axis=-1))
    assert np.array_equal(places, windows.argmax(axis=-1).astype(np.float32) + np.float32(0.1))
    data = custom("MaxUnpooling2D", options, [pooled, places], [x.shape])
    assert np.array_equal(answers(data, [pooled, places])[0], np.where(x == _spread(pooled, kernel), x, 0))


def _spread(x: Array, kernel: Shape) -> Array:
    return x.repeat(kernel[0], axis=1).repeat(kernel[1], axis=2)


LANDMARKS = {
    "left_rotation_idx": 1,
    "right_rotation_idx": 4,
    "target_rotation_radians": 0.25,
    "output_height": 6,
    "output_width": 8,
    "scale_x": 1.5,
    "scale_y": 1.25,
    "subset_idxs": [0, 2, 3, 5],
}


def _translation(x: float, y: float) -> Array:
    return np.array([[1, 0, 0, x], [0, 1, 0, y], [0, 0, 1, 0], [0, 0, 0, 1]], np.float64)


def _rotation(angle: float) -> Array:
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn


def test_matrix_of_landmarks() -> None:
    points = floats(1, 7, 3) * 40
    found = answers(custom("Landmarks2TransformMatrix", LANDMARKS, [points], [(1, 4, 4)], version=2), [points])[0]
    flat = points[0].astype(np.float64)
    angle = 0.25 - np.arctan2(*(flat[4] - flat[1])[1::-1])
    turned = flat[LANDMARKS["subset_idxs"], :2] @ _rotation(angle)[:2, :2].T
    low, high = turned.min(axis=0), turned.max(axis=0)
    center = _rotation(-angle)[:2, :2] @ ((low + high) / 2)
    step = np.diag([*((high - low) * [1.5, 1.25] / [8, 6]), 1, 1])
    wanted = _translation(*center) @ _rotation(-angle) @ step @ _translation(-4, -3)
    np.testing.assert_allclose(found[0], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_landmarks_after_a_matrix(dimensions: int) -> None:
    points, matrix = floats(1, 9, dimensions), floats(1, 4, 4)
    data = custom("TransformLandmarks", b"", [points, matrix], [points.shape], version=2)
    flat = np.concatenate([points[0, :, :2], np.zeros((9, 1)), np.ones((9, 1))], axis=1)
    wanted = np.concatenate([flat @ matrix[0, :2].T, points[0, :, 2:]], axis=1)
    np.testing.assert_allclose(answers(data, [points, matrix])[0][0], wanted, rtol=1e-5, atol=1e-5)


def test_map_through_a_matrix() -> None:
    x = floats(1, 5, 7, 3)
    matrix = (_translation(2.3, 1.1) @ _rotation(0.3) @ np.diag([0.9, 0.7, 1, 1])).astype(np.float32)[np.newaxis]
    options = {"output_height": 4, "output_width": 6}
    found = answers(custom("TransformTensorBilinear", options, [x, matrix], [(1, 4, 6, 3)], version=2), [x, matrix])
    wanted, outside = np.zeros((4, 6, 3)), 0
    for row, column in np.ndindex(4, 6):
        px, py = matrix[0, :2] @ [column + 0.5, row + 0.5, 0, 1] - 0.5
        if 0 <= px <= 6 and 0 <= py <= 4:
            left, top = int(px), int(py)
            for a, b in np.ndindex(2, 2):
                share = (py - top if a else 1 - py + top) * (px - left if b else 1 - px + left)
                wanted[row, column] += share * x[0, min(top + a, 4), min(left + b, 6)]
        else:
            outside += 1
    assert 0 < outside < 20
    np.testing.assert_allclose(found[0][0], wanted, rtol=1e-4, atol=1e-4)


# ---- audio ----


@pytest.mark.parametrize(("squared", "width", "step"), [(True, 320, 160), (False, 64, 40), (True, 100, 7)])
def test_spectrogram(squared: bool, width: int, step: int) -> None:
    x = floats(1000, 2)
    frames, bins = 1 + (1000 - width) // step, 1 + (1 << (width - 1).bit_length()) // 2
    options = {"window_size": width, "stride": step, "magnitude_squared": squared}
    data = custom("AudioSpectrogram", options, [x], [(2, frames, bins)])
    np.testing.assert_allclose(answers(data, [x])[0], litert(data, [x])[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("high", "bands", "kept"), [(4000.0, 40, 40), (7600.5, 26, 13), (8100.0, 20, 4)])
def test_cepstrum(high: float, bands: int, kept: int) -> None:
    x, rate = floats(1, 3, 257) ** 2, np.array([16000], np.int32)
    options = {
        "upper_frequency_limit": high,
        "lower_frequency_limit": 20.0,
        "filterbank_channel_count": bands,
        "dct_coefficient_count": kept,
    }
    data = custom("Mfcc", options, [x, rate], [(1, 3, kept)])
    found, wanted = answers(data, [x, rate])[0], litert(data, [x, rate])[0]
    assert wanted.any() == (high < 8000)  # frequencies that the sound can't have
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)


# ---- rules of one's own ----


def test_a_rule_of_ones_own() -> None:
    @netc.tflite.custom_operator("TestScaled")
    def scaled(call: CustomCall) -> Value:
        (x,) = call.operands
        return call.emit("mul", x, call.builder.scalar(call.number("factor", 1.0), x.type.dtype))

    x = floats(2, 3)
    data = custom("TestScaled", {"factor": 2.5}, [x], [x.shape])
    assert np.array_equal(answers(data, [x])[0], x * np.float32(2.5))
    with pytest.raises(NetcError, match=r"TestScaled gives f32\[2,3\], but its file declares f32\[3,2\]"):
        netc.compile(graph_of(read_model(custom("TestScaled", {}, [x], [(3, 2)])), "custom"))


@pytest.mark.parametrize(
    ("name", "options", "version", "message"),
    [
        ("Convolution2DTransposeBias", b"", 1, "its form for .* is not supported"),
        ("MaxPoolingWithArgmax2D", b"\1\0\0\0", 1, "it has 2 results, not 1"),
        ("AudioSpectrogram", {"window_size": 4}, 1, "it has no option `stride`"),
        ("AudioSpectrogram", {"window_size": "4", "stride": 1}, 1, "its option `window_size` is no number"),
        ("AudioSpectrogram", {"window_size": np.inf, "stride": 1}, 1, "its option `window_size` is no number"),
        ("AudioSpectrogram", {"window_size": 2, "stride": 0}, 1, "windows of 2 samples, 0 apart"),
        ("AudioSpectrogram", b"\xff\x01", 1, "its options (can't be read|are no map)"),
        ("TransformLandmarks", b"", 1, "its version 1 is not supported"),
    ],
)
def test_forms_that_are_refused(name: str, options: Any, version: int, message: str) -> None:
    shape = (1, 4, 4, 2) if name == "MaxPoolingWithArgmax2D" else (8, 2)
    data = custom(name, options, [floats(*shape)], [(1, 1)], version=version)
    with pytest.raises(NetcError, match=f"{name}: {message}"):
        netc.compile(graph_of(read_model(data), "custom"))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (lambda call: 1 / 0, "its rule raised ZeroDivisionError: division by zero"),
        (lambda: None, "its rule raised TypeError: .* takes 0 positional arguments"),
        (lambda call: None, "its rule gave None: it has to give values"),
        (lambda call: np.ones((2, 3)), "its rule gave array"),
        (lambda call: [call.operands[0]], r"its rule gave \[Value"),
        (lambda call: Value(TensorType(DType.F32, (2, 3))), "its rule gave Value"),
        (lambda call: (call.operands[0],) * 2, "its rule gave 2 results, not 1"),
        (lambda call: call.emit("relu", "x"), "relu takes values of the graph, not 'x'"),
        (lambda call: call.constant(7), "it has no operand 7, only 1"),
        (lambda call: call.formula(-1), "it has no operand -1, only 1"),
        (lambda call: call.number("factor"), "it has no option `factor`"),
        (lambda call: call.keep(3, call.operands[0]), "it keeps a value in what `call.state` didn't make"),
        (
            lambda call: call.keep(call.state(np.zeros(6, np.float32)), call.operands[0]),
            r"its state is f32\[6\], and can't become f32\[2,3\]",
        ),
    ],
)
def test_faults_of_rules_name_the_operator(rule: Any, message: str) -> None:
    custom_operator("TestFaulty")(rule)
    graph = graph_of(read_model(custom("TestFaulty", b"", [floats(2, 3)], [(2, 3)])), "custom")
    with pytest.raises(NetcError, match=f"TestFaulty: {message}"):
        netc.compile(graph)


def test_a_rule_may_have_several_states() -> None:
    @custom_operator("TestCounts")
    def counts(call: CustomCall) -> Any:
        calls, total = call.state(np.zeros((2, 3), np.float32)), call.state(np.ones((2, 3), np.float32))
        call.state(np.zeros(1, np.float32))  # which stays as it is
        call.keep(calls, call.emit("add", calls, call.builder.scalar(1.0, DType.F32)))
        call.keep(total, call.emit("add", total, call.operands[0]))
        return call.formula(0) + Formula(call.builder, call.emit("mul", calls, total))

    x = floats(2, 3)
    program = netc.compile(graph_of(read_model(custom("TestCounts", b"", [x], [(2, 3)])), "custom"))
    np.testing.assert_allclose([program(x) for _ in range(3)], [x + n * (1 + n * x) for n in range(3)], rtol=1e-6)


@pytest.mark.parametrize("name", [5, "", None, custom])
def test_an_operator_without_a_name_is_refused(name: Any) -> None:
    with pytest.raises(NetcError, match="a custom operator has a name"):
        custom_operator(name)
    with pytest.raises(NetcError, match="takes a function, not 3"):
        custom_operator("TestNumber")(3)


def test_a_rule_of_a_name_is_the_last_one() -> None:
    for factor in (2.0, 3.0):

        @custom_operator("TestTwice")
        def rule(call: CustomCall, factor: float = factor) -> Value:
            return (call.formula(0) * factor).value

    x = floats(4)
    assert np.array_equal(answers(custom("TestTwice", {}, [x], [(4,)]), [x])[0], x * 3)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16])
def test_numeric_verify_gives_what_quantization_loses(dtype: Any) -> None:
    m = small_models.Model()
    x, y = m.tensor("x", (2, 5), np.float32), m.tensor("y", (2, 5), np.float32)
    q = m.tensor("q", (2, 5), dtype, scale=0.25)
    m.operator("QUANTIZE", (x,), (q,))
    options = bytes(flexbuffers.Dumps({"tolerance": 5.0, "log_if_failed": False}))
    m.operator("CUSTOM", (q, x), (y,), custom="NumericVerify", custom_options=options)
    data, given = m.data((x,), (y,)), [floats(2, 5)]
    np.testing.assert_array_equal(answers(data, given)[0], litert(data, given)[0])
