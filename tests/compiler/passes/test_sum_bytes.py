"""Products of bytes in doubles become sums of integers, which are the same."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph, Value
from netc.compiler.passes import pipelines, run, sum_bytes
from netc.compiler.passes.known import known
from netc.compiler.types import DType, Quantization, TensorType
from netc.pipeline import compile_graph

Arrays = list[np.ndarray[Any, Any]]

WEIGHTS = {"signed": (-128, 128), "unsigned": (0, 256), "off centre": (-200, 56), "one": (7, 8)}
WINDOWS: tuple[dict[str, Any], ...] = (
    {"strides": (1, 1), "padding": "valid"},
    {"strides": (2, 1), "padding": "same"},
    {"strides": (1, 2), "padding": ((2, 0), (0, 1)), "dilations": (1, 2)},
    {"strides": (1, 1), "padding": ((1, 1), (1, 1)), "groups": 2},
    {"strides": (1, 1), "padding": "same", "groups": 4},
)


def _less(b: GraphBuilder, x: Value, zero: str, dtype: DType, inputs: Arrays) -> Value:
    """A value as doubles, less a zero point that is none, known, or computed."""
    wide = b.emit("cast", x, dtype="f64")
    if zero == "none":
        return wide
    if zero == "known":
        return b.emit("sub", wide, b.constant(np.array([117.0 if dtype is DType.U8 else -3.0])))
    inputs.append(np.array([17], dtype.numpy))
    term = b.emit("cast", b.input("z", TensorType(dtype, (1,))), dtype="f64")
    return b.emit("sub", wide, b.emit("reshape", term, shape=()))


def _graph(kind: str, dtype: DType, zero: str, span: tuple[int, int], window: dict[str, Any]) -> tuple[Graph, Arrays]:
    rng, b = np.random.default_rng(3), GraphBuilder("net")
    shape = (2, 5, 9) if kind == "dense" else (2, 4, 6, 7)
    info = np.iinfo(dtype.numpy)
    inputs: Arrays = [rng.integers(info.min, info.max, shape, dtype.numpy, endpoint=True)]
    x = _less(b, b.input("x", TensorType(dtype, shape)), zero, dtype, inputs)
    if kind == "dense":
        sums = b.emit("dense", x, b.constant(rng.integers(*span, (9, 6)).astype(np.float64)))
    else:
        weight = rng.integers(*span, (3, 2, 4 // window.get("groups", 1), 8)).astype(np.float64)
        given = {"dilations": (1, 1), **window}
        sums = b.emit("conv2d", b.emit("transpose", x, permutation=(0, 2, 3, 1)), b.constant(weight), **given)
    return b.finish([b.emit("cast", sums, dtype="i32")]), inputs


@pytest.mark.parametrize("dtype", [DType.U8, DType.I8], ids=str)
@pytest.mark.parametrize("zero", ["none", "known", "computed"])
@pytest.mark.parametrize("span", WEIGHTS)
def test_sums_are_the_same(span: str, zero: str, dtype: DType) -> None:
    cases = itertools.product(("conv2d",), WINDOWS)
    for kind, window in (("dense", {}), *cases):
        graph, inputs = _graph(kind, dtype, zero, WEIGHTS[span], dict(window))
        (expected,) = evaluate(graph, inputs)
        result = run(graph, [sum_bytes])
        names = {op.name for op in result.operations}
        assert f"{kind}_sum" in names
        assert kind not in names
        np.testing.assert_array_equal(evaluate(result, inputs)[0], expected)


@pytest.mark.parametrize("kind", ["dense", "conv2d"])
def test_compiled_sums_are_the_same(kind: str) -> None:
    graph, inputs = _graph(kind, DType.U8, "computed", (-128, 128), dict(WINDOWS[1]))
    (expected,) = evaluate(graph, inputs)
    with compile_graph(graph, threads=2) as program:
        np.testing.assert_array_equal(program(*inputs), expected)
        assert any(f"{kind}_sum" in call.label for call in program.module.calls)


@pytest.mark.parametrize(
    ("span", "change"),
    [
        ((-300, 300), 0.0),  # too far apart for bytes
        ((-128, 128), 0.25),  # no whole numbers
        ((300, 310), 0.0),  # near each other, but sums of products might not fit
    ],
)
def test_other_weights_stay_as_they_are(span: tuple[int, int], change: float) -> None:
    b, rng = GraphBuilder("net"), np.random.default_rng(5)
    x = b.emit("cast", b.input("x", TensorType(DType.U8, (3, 8))), dtype="f64")
    weight = np.concatenate([np.array([span]) - np.array([0, 1]), rng.integers(*span, (7, 2))]) + change
    graph = b.finish([b.emit("cast", b.emit("dense", x, b.constant(weight)), dtype="i32")])
    assert run(graph, [sum_bytes]) is graph


def test_zero_points_that_no_byte_holds_stay_doubles() -> None:
    b = GraphBuilder("net")
    x = b.emit("cast", b.input("x", TensorType(DType.U8, (3, 8))), dtype="f64")
    x = b.emit("sub", x, b.input("z", TensorType(DType.F64, ())))
    graph = b.finish([b.emit("cast", b.emit("dense", x, b.constant(np.ones((8, 2)))), dtype="i32")])
    assert run(graph, [sum_bytes]) is graph


def test_it_is_part_of_inference() -> None:
    graph, _ = _graph("dense", DType.U8, "computed", (0, 256), {})
    names = [op.name for op in run(graph, pipelines.INFERENCE).operations]
    assert "dense" not in names


def test_weights_too_large_to_be_folded_are_known_all_the_same() -> None:
    """As readers of ONNX files leave them: bytes, less a zero point, in another order; inputs have another shape."""
    rng, b = np.random.default_rng(7), GraphBuilder("net")
    x, bytes_ = b.input("x", TensorType(DType.U8, (2, 1, 6, 5))), rng.integers(0, 256, (4, 1, 3, 3), np.uint8)
    zero = b.constant(np.array(120.0))
    image = b.emit(
        "reshape", b.emit("sub", b.emit("cast", x, dtype="f64"), b.constant(np.array(9.0))), shape=(2, 6, 5, 1)
    )
    weight = b.emit("sub", b.emit("cast", b.constant(bytes_), dtype="f64"), zero)
    weight = b.emit("transpose", weight, permutation=(2, 3, 1, 0))
    sums = b.emit("conv2d", image, weight, strides=(1, 1), padding="same", dilations=(1, 1))
    graph = b.finish([b.emit("cast", sums, dtype="i32")])
    inputs = [rng.integers(0, 256, (2, 1, 6, 5), np.uint8)]
    result = run(graph, [sum_bytes])
    assert [op.name for op in result.operations if op.name != "constant"] == ["reshape", "conv2d_sum", "sub"]
    np.testing.assert_array_equal(evaluate(result, inputs)[0], evaluate(graph, inputs)[0])


def test_weights_that_were_quantized_again_are_known() -> None:
    """Quantizers do so to weights of several layers."""
    b, bytes_ = GraphBuilder("net"), np.random.default_rng(7).integers(-128, 128, (4, 6), np.int8)
    grid = Quantization.of(0.5, 3)
    weight = b.emit("mul", b.emit("cast", b.constant(bytes_), dtype="f32"), b.constant(np.float32([[0.25]])))
    again = b.emit("dequantize", b.emit("quantize_even", weight, dtype="i8", y=grid), x=grid)
    graph = b.finish([again])
    numbers = known(graph.outputs[0], graph)
    assert numbers is not None
    np.testing.assert_array_equal(numbers, evaluate(graph, [])[0])
