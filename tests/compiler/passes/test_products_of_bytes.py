"""Products of two tensors of bytes in doubles are sums of whole numbers in singles, and give the same bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph, Value
from netc.compiler.passes import run, sum_quantized
from netc.compiler.types import DType, Quantization, TensorType
from netc.pipeline import compile_graph

Arrays = list[np.ndarray[Any, Any]]

A, B = Quantization.of(0.02, 117), Quantization.of(0.01, -9)
SHAPES = (2, 7, 33), (2, 33, 5)


def _real(b: GraphBuilder, name: str, shape: tuple[int, ...], grid: Quantization) -> Value:
    dtype = DType.U8 if grid is A else DType.I8
    x = b.emit("dequantize", b.input(name, TensorType(dtype, shape, quantization=grid)), x=grid)
    return b.emit("cast", x, dtype="f64")


def _graph(kind: str, end: str = "quantized") -> Graph:
    b = GraphBuilder("net")
    x, y = _real(b, "x", SHAPES[0], A), _real(b, "y", SHAPES[1], B)
    if kind == "matmul":
        z = b.emit("matmul", x, y)
    elif kind == "turned":
        z = b.emit("matmul", b.emit("transpose", y, permutation=(0, 2, 1)), x, transpose_b=True)
    else:
        z = b.emit("contract", x, y, a_axes="nxk", b_axes="nkz", axes="xnz")
    z = b.emit("clamp", z, low=-1.0, high=3.0) if end == "limits" else z
    return b.finish([z if end == "real" else b.emit("quantize_even", z, dtype="u8", y=Quantization.of(0.05, 100))])


def _inputs() -> Arrays:
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, SHAPES[0], np.uint8), rng.integers(-128, 128, SHAPES[1], np.int8)]


@pytest.mark.parametrize("end", ["quantized", "limits"])
@pytest.mark.parametrize("kind", ["matmul", "turned", "contract"])
def test_bytes_are_the_same(kind: str, end: str) -> None:
    graph, inputs = _graph(kind, end), _inputs()
    result = run(graph, [sum_quantized])
    assert not any(v.type.dtype is DType.F64 for op in result.operations for v in op.results)
    (found,), (expected,) = evaluate(result, inputs), evaluate(graph, inputs)
    steps = np.abs(found.astype(int) - expected.astype(int))
    assert steps.max() <= 1
    assert steps.sum() <= 1  # a number half way between two bytes
    with compile_graph(graph, threads=2) as program:
        np.testing.assert_array_equal(program(*inputs), found)


@pytest.mark.parametrize("kind", ["matmul", "contract"])
@pytest.mark.parametrize(("length", "parts"), [(257, 1), (259, 2), (1025, 4), (40_000, 0)])
def test_long_sums_are_exact(kind: str, length: int, parts: int) -> None:
    """Of the largest numbers: no part of them adds up to more than singles hold."""
    b, grids = GraphBuilder("net"), (Quantization.of(0.5, 0), Quantization.of(0.5, 127))
    shapes, kinds = ((1, 3, length), (1, length, 2)), (DType.U8, DType.I8)
    named = zip("xy", kinds, shapes, grids, strict=True)
    given = [b.input(name, TensorType(dtype, shape, quantization=g)) for name, dtype, shape, g in named]
    x, y = (b.emit("cast", b.emit("dequantize", v, x=v.type.quantization), dtype="f64") for v in given)
    axes = {"a_axes": "nxk", "b_axes": "nkz", "axes": "zxn"} if kind == "contract" else {}
    z = b.emit(kind, x, y, **axes)
    graph = b.finish([b.emit("quantize_even", z, dtype="u8", y=Quantization.of(0.25 * length * 255, 255))])
    inputs = [np.full(shapes[0], 255, np.uint8), np.random.default_rng(0).integers(-128, -126, shapes[1], np.int8)]
    result = run(graph, [sum_quantized])
    assert sum(op.name == kind for op in result.operations if op.result.type.dtype is DType.F32) == parts
    (found,), (expected,) = evaluate(result, inputs), evaluate(graph, inputs)
    np.testing.assert_array_equal(found, expected)
    with compile_graph(graph, threads=2) as program:
        np.testing.assert_array_equal(program(*inputs), expected)


def test_results_that_are_not_rounded_stay_doubles() -> None:
    graph = _graph("matmul", "real")
    assert run(graph, [sum_quantized]) is graph
