"""Products of bytes and a weight in any order of axes are dense layers between transposes of bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.passes import pipelines, run, sum_quantized
from netc.compiler.types import DType, Quantization, TensorType
from netc.pipeline import compile_graph

Array = np.ndarray[Any, Any]

X = Quantization.of(0.02, 117)
CONTRACTS = {
    "turned result": ("nxc", (2, 5, 64), "cf", (64, 48), "nfx"),
    "turned operand": ("ncx", (2, 64, 5), "cf", (64, 48), "nxf"),
    "weight first": ("cf", (64, 48), "nxc", (2, 5, 64), "nfx"),
    "weight turned": ("ncx", (2, 64, 5), "fc", (48, 64), "nfx"),
    "two summed": ("xacb", (5, 4, 3, 16), "bfa", (16, 32, 4), "cfx"),
    "two filters": ("nxc", (1, 5, 64), "cfg", (64, 8, 6), "ngxf"),
    "one of each": ("nxc", (1, 5, 64), "ncf", (1, 64, 48), "nfx"),
}
MATMULS: dict[str, tuple[tuple[int, ...], tuple[int, ...], bool, dict[str, bool]]] = {
    "left": ((48, 64), (2, 64, 5), True, {}),
    "left turned": ((1, 64, 48), (2, 64, 5), True, {"transpose_a": True}),
    "left of turned": ((48, 64), (3, 2, 5, 64), True, {"transpose_b": True}),
    "right": ((2, 5, 64), (64, 48), False, {}),
}


def _weight(shape: tuple[int, ...]) -> Array:
    return (np.random.default_rng(3).integers(-127, 128, shape) * np.float32(0.003)).astype(np.float32)


def _end(b: GraphBuilder, y: Any, end: str) -> Graph:
    y = b.emit("clamp", y, low=-1.0, high=2.0) if end == "limits" else y
    return b.finish([y if end == "real" else b.emit("quantize_even", y, dtype="u8", y=Quantization.of(0.03, 120))])


def _contract(kind: str, end: str = "quantized") -> tuple[Graph, Array]:
    a_axes, a, b_axes, c, axes = CONTRACTS[kind]
    is_first = kind == "weight first"
    b = GraphBuilder("net")
    shape = c if is_first else a
    x = b.emit("dequantize", b.input("x", TensorType(DType.U8, shape, quantization=X)), x=X)
    weight = b.constant(_weight(a if is_first else c))
    operands = (weight, x) if is_first else (x, weight)
    y = b.emit("contract", *operands, a_axes=a_axes, b_axes=b_axes, axes=axes)
    return _end(b, y, end), np.random.default_rng(1).integers(0, 256, shape, np.uint8)


def _matmul(kind: str, end: str = "quantized") -> tuple[Graph, Array]:
    left, right, is_left, given = MATMULS[kind]
    b = GraphBuilder("net")
    shape = right if is_left else left
    x = b.emit("dequantize", b.input("x", TensorType(DType.U8, shape, quantization=X)), x=X)
    weight = b.constant(_weight(left if is_left else right))
    y = b.emit("matmul", *((weight, x) if is_left else (x, weight)), **given)
    return _end(b, y, end), np.random.default_rng(1).integers(0, 256, shape, np.uint8)


def _check(graph: Graph, x: Array) -> None:
    result = run(graph, [sum_quantized])
    assert "dense_sum" in {op.name for op in result.operations}
    found, expected = (evaluate(g, [x])[0] for g in (result, graph))
    assert found.shape == expected.shape
    steps = np.abs(found.astype(int) - expected.astype(int))
    assert steps.max() <= 1
    assert (steps > 0).mean() < 0.01
    assert np.unique(expected).size > 20
    (whole,) = evaluate(run(graph, pipelines.INFERENCE), [x])
    with compile_graph(graph, threads=2) as program:
        np.testing.assert_array_equal(program(x), whole)


@pytest.mark.parametrize("end", ["quantized", "limits"])
@pytest.mark.parametrize("kind", CONTRACTS)
def test_contractions_are_dense_layers(kind: str, end: str) -> None:
    _check(*_contract(kind, end))


@pytest.mark.parametrize("kind", MATMULS)
def test_products_of_matrices_are_dense_layers(kind: str) -> None:
    _check(*_matmul(kind))


def test_results_that_are_not_rounded_stay_as_they_are() -> None:
    graph, _ = _contract("turned result", "real")
    assert run(graph, [sum_quantized]) is graph


def test_few_products_stay_as_they_are() -> None:
    b = GraphBuilder("net")
    x = b.emit("dequantize", b.input("x", TensorType(DType.U8, (6, 4, 9), quantization=X)), x=X)
    y = b.emit("matmul", b.constant(_weight((4, 4))), x)
    graph = _end(b, y, "quantized")
    assert run(graph, [sum_quantized]) is graph


def test_sums_over_an_axis_of_one_element_stay() -> None:
    b = GraphBuilder("net")
    x = b.emit("dequantize", b.input("x", TensorType(DType.U8, (40, 1, 40), quantization=X)), x=X)
    y = b.emit("contract", x, b.constant(_weight((1, 40, 48))), a_axes="xky", b_axes="kyz", axes="zx")
    graph = _end(b, y, "quantized")
    assert run(graph, [sum_quantized]) is graph
