"""Constants that a file holds in fewer bytes, or with scales in unusual places: netc gives what LiteRT gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.errors import NetcError
from netc.compiler.graph import Graph, GraphBuilder, evaluate
from netc.compiler.ops.opaque import unknown_operators
from netc.compiler.passes.float_weights import float_weights
from netc.compiler.tflite import to_tflite
from netc.compiler.tflite.reading import read_model
from netc.compiler.types import DType, TensorType
from netc.frontend.tflite import graph_of

from .litert import run
from .small_models import Model

INT4, INT2 = 17, 19
SCALES = (0.1, 0.2, 0.05, 0.3)
Made = tuple[Model, int, int]


def packed(integers: Any, bits: int) -> Any:
    """Integers of a few bits, the first in the lowest ones."""
    count = 8 // bits
    flat = integers.reshape(-1) & (1 << bits) - 1
    rows = np.concatenate([flat, np.zeros(-len(flat) % count, flat.dtype)]).reshape(-1, count).astype(np.uint8)
    return np.bitwise_or.reduce(rows << np.arange(0, 8, bits, dtype=np.uint8), axis=1).astype(np.uint8)


def narrow(m: Model, shape: tuple[int, ...], bits: int, scale: Any) -> int:
    """A constant of 4 or 2 bits."""
    values = np.random.default_rng(bits).integers(-1 << bits - 1, 1 << bits - 1, shape).astype(np.int8)
    w = m.constant("w", values, scale=scale, code=INT4 if bits == 4 else INT2)
    m.tensors[w]["data"] = packed(values, bits)
    return w


def dense(bits: int, scale: Any) -> Made:
    m = Model()
    x, y = m.tensor("x", (2, 7), scale=0.05, zero=3), m.tensor("y", (2, 4), scale=0.2, zero=-4)
    b = m.constant("b", np.arange(-2, 2, dtype=np.int32), scale=0.005)
    w = narrow(m, (4, 7), bits, scale)
    m.operator("FULLY_CONNECTED", (x, w, b), (y,), ("FullyConnectedOptions", {}), version=10)
    return m, x, y


def convolution(scale: Any) -> Made:
    m = Model()
    x, y = m.tensor("x", (1, 5, 5, 3), scale=0.05, zero=3), m.tensor("y", (1, 5, 5, 4), scale=0.2, zero=-4)
    b = m.constant("b", np.arange(-2, 2, dtype=np.int32), scale=0.005)
    window = ("Conv2DOptions", {"StrideW": 1, "StrideH": 1})
    m.operator("CONV_2D", (x, narrow(m, (4, 3, 3, 3), 4, scale), b), (y,), window, version=7)
    return m, x, y


def added(m: Model, w: int, shape: tuple[int, ...]) -> Made:
    """A float constant beside the input."""
    x, y = m.tensor("x", shape, np.float32), m.tensor("y", shape, np.float32)
    m.operator("ADD", (x, w), (y,), ("AddOptions", {}))
    return m, x, y


def dequantized(bits: int) -> Made:
    m = Model()
    w, d = narrow(m, (4, 9), bits, SCALES), m.tensor("d", (4, 9), np.float32)
    m.operator("DEQUANTIZE", (w,), (d,), version=6)
    return added(m, d, (4, 9))


def along(axis: int) -> Made:
    """Per-channel integers along any dimension."""
    m = Model()
    w = m.constant("w", np.arange(-32, 32, dtype=np.int8).reshape(4, 4, 4), scale=SCALES, axis=axis)
    d = m.tensor("d", (4, 4, 4), np.float32)
    m.operator("DEQUANTIZE", (w,), (d,), version=5)
    return added(m, d, (4, 4, 4))


def filters_along(name: str, axis: int) -> Made:
    """A convolution whose filter names another dimension for its scales than that of the filters."""
    rng, m = np.random.default_rng(7), Model()
    x, y = m.tensor("x", (1, 5, 5, 4), scale=0.05, zero=3), m.tensor("y", (1, 5, 5, 4), scale=3.0, zero=-4)
    shape = (1, 4, 3, 4) if name == "DEPTHWISE_CONV_2D" else (4, 3, 3, 4)
    w = m.constant("w", rng.integers(-127, 128, shape, np.int8), scale=SCALES, axis=axis)
    window: dict[str, int] = {"StrideW": 1, "StrideH": 1}
    if name == "TRANSPOSE_CONV":
        size = m.constant("size", np.array((1, 5, 5, 4), np.int32))
        m.operator(name, (size, w, x), (y,), ("TransposeConvOptions", window), version=3)
        return m, x, y
    b = m.constant("b", np.arange(-2, 2, dtype=np.int32), scale=0.005)
    depthwise = name == "DEPTHWISE_CONV_2D"
    options = ("DepthwiseConv2DOptions", {**window, "DepthMultiplier": 1}) if depthwise else ("Conv2DOptions", window)
    m.operator(name, (x, w, b), (y,), options, version=3)
    return m, x, y


def halves() -> Made:
    m = Model()
    w = m.constant("w", np.linspace(-2, 2, 12, dtype=np.float16).reshape(3, 4))
    d = m.tensor("d", (3, 4), np.float32)
    m.operator("DEQUANTIZE", (w,), (d,), version=3)
    return added(m, d, (3, 4))


def sparse(array: Any, block: int = 1) -> tuple[Any, Any]:
    """The stored elements of a matrix and their layout: rows of which only blocks with elements are kept."""
    segments, indices, stored = [0], [], []
    for row in array.reshape(len(array), -1, block):
        kept = np.flatnonzero(row.any(axis=1))
        indices += kept.tolist()
        stored += [row[i] for i in kept]
        segments.append(len(indices))
    levels = [len(array), (segments, indices)]
    layout = ((0, 1), (), levels) if block == 1 else ((0, 1, 2), (1,), [*levels, block])
    return np.concatenate(stored), layout


def thinned(shape: tuple[int, int], dtype: Any, block: int = 1) -> Any:
    rng = np.random.default_rng(3)
    kept = rng.random((shape[0], shape[1] // block, 1)) < 0.4
    return (rng.integers(-127, 128, (shape[0], shape[1] // block, block)) * kept).reshape(shape).astype(dtype)


def densified(dtype: Any, block: int = 1) -> Made:
    m, full = Model(), thinned((6, 8), dtype, block)
    stored, layout = sparse(full, block)
    w = m.constant("w", full, sparsity=layout)
    m.tensors[w]["data"] = stored
    d = m.tensor("d", (6, 8), dtype)
    m.operator("DENSIFY", (w,), (d,), ("DensifyOptions", {}))
    if dtype is np.float16:
        half, d = d, m.tensor("wide", (6, 8), np.float32)
        m.operator("DEQUANTIZE", (half,), (d,), version=3)
    return added(m, d, (6, 8))


def sparse_dense(dtype: Any) -> Made:
    """A dense layer on a weight that is sparse itself."""
    m = Model()
    is_float = dtype is np.float32
    full = thinned((6, 32), dtype, 4 if is_float else 16)
    stored, layout = sparse(full, 4 if is_float else 16)
    quantized: list[dict[str, Any]] = [{}] * 4 if is_float else [{"scale": s} for s in (0.05, (0.1,) * 6, 0.005, 30.0)]
    x = m.tensor("x", (2, 32), dtype, **quantized[0])
    w = m.constant("w", full, sparsity=layout, **quantized[1])
    m.tensors[w]["data"] = stored
    b = m.constant("b", np.ones(6, np.float32 if is_float else np.int32), **quantized[2])
    y = m.tensor("y", (2, 6), dtype, **quantized[3])
    m.operator("FULLY_CONNECTED", (x, w, b), (y,), ("FullyConnectedOptions", {}), version=8)
    return m, x, y


CASES: dict[str, Callable[[], Made]] = {
    "dense, 4 bits": lambda: dense(4, 0.1),
    "dense, 4 bits, per channel": lambda: dense(4, SCALES),
    "dense, 2 bits, per channel": lambda: dense(2, SCALES),
    "convolution, 4 bits": lambda: convolution(0.1),
    "convolution, 4 bits, per channel": lambda: convolution(SCALES),
    "dequantize, 4 bits": lambda: dequantized(4),
    "dequantize, 2 bits": lambda: dequantized(2),
    "dequantize along 0": lambda: along(0),
    "dequantize along 1": lambda: along(1),
    "dequantize along 2": lambda: along(2),
    "CONV_2D along 3": lambda: filters_along("CONV_2D", 3),
    "DEPTHWISE_CONV_2D along 1": lambda: filters_along("DEPTHWISE_CONV_2D", 1),
    "TRANSPOSE_CONV along 3": lambda: filters_along("TRANSPOSE_CONV", 3),
    "halves": halves,
    "densify": lambda: densified(np.float32),
    "densify halves": lambda: densified(np.float16),
    "densify blocks": lambda: densified(np.float32, 4),
    "sparse dense layer": lambda: sparse_dense(np.float32),
    "sparse dense layer of integers": lambda: sparse_dense(np.int8),
}


@pytest.mark.parametrize("name", CASES)
def test_constants_mean_what_they_mean_to_litert(name: str) -> None:
    pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
    m, x, y = CASES[name]()
    data = m.data((x,), (y,))
    graph = graph_of(read_model(data), "case")
    assert not unknown_operators(graph)
    type_ = graph.inputs[0].type
    rng = np.random.default_rng(1)
    array: Any = rng.standard_normal(type_.shape).astype(np.float32)
    if not type_.dtype.is_float:
        array = rng.integers(-128, 128, type_.shape, np.int8)
    ((wanted,),) = run(data, [[array]])
    (found,) = evaluate(graph, [array])
    ((again,),) = run(to_tflite(graph), [[array]])
    tolerance = 1e-5 if type_.dtype.is_float else 0
    for result in (found, again):
        np.testing.assert_allclose(result, wanted, rtol=tolerance, atol=10 * tolerance)


def test_weights_that_are_unpacked_are_constants() -> None:
    for name in ("halves", "densify halves", "dequantize, 4 bits"):
        m, x, y = CASES[name]()
        graph = graph_of(read_model(m.data((x,), (y,))), "case")
        assert [op.name for op in graph.operations] == ["constant", "add"], name


def test_dense_of_any_order_and_blocks() -> None:
    # Columns first, in blocks of two rows: a tensor [4, 3] of 2 by 3 blocks.
    full = np.array([[0, 5, 0], [1, 6, 0], [0, 0, 0], [0, 0, 9]], np.float32)
    stored = np.array([0, 1, 5, 6, 0, 9], np.float32)
    m = Model()
    w = m.constant("w", full, sparsity=((1, 0, 2), (0,), [3, ([0, 1, 2, 3], [0, 0, 1]), 2]))
    m.tensors[w]["data"] = stored
    d = m.tensor("d", (4, 3), np.float32)
    m.operator("DENSIFY", (w,), (d,), ("DensifyOptions", {}))
    m, x, y = added(m, d, (4, 3))
    graph = graph_of(read_model(m.data((x,), (y,))), "case")
    np.testing.assert_array_equal(evaluate(graph, [np.zeros((4, 3), np.float32)])[0], full)


def test_rows_without_elements() -> None:
    # More rows than elements: a level of a layout may have more nodes than what is stored.
    full = np.zeros((6, 4), np.float32)
    full[4, 1] = 7
    stored, layout = sparse(full)
    m = Model()
    w = m.constant("w", full, sparsity=layout)
    m.tensors[w]["data"] = stored
    m, x, y = added(m, w, (6, 4))
    graph = graph_of(read_model(m.data((x,), (y,))), "case")
    np.testing.assert_array_equal(evaluate(graph, [np.zeros((6, 4), np.float32)])[0], full)


def in_blocks(size: int) -> tuple[Made, Any, Any]:
    """A dense layer of floats on a weight of 4 bits with a scale for each `size` elements of a row."""
    m, rng = Model(), np.random.default_rng(2)
    integers = rng.integers(-8, 8, (3, 64)).astype(np.int8)
    scales = rng.uniform(0.1, 0.3, (3, 64 // 32)).astype(np.float16)
    x, y = m.tensor("x", (2, 64), np.float32), m.tensor("y", (2, 3), np.float32)
    w = m.constant("w", integers, code=INT4)
    m.tensors[w] |= {"data": packed(integers, 4), "blocks": (m.constant("scales", scales), -1, size)}
    m.operator("FULLY_CONNECTED", (x, w, -1), (y,), ("FullyConnectedOptions", {}), version=13)
    return (m, x, y), integers, scales


def test_a_scale_for_each_block() -> None:
    (m, x, y), integers, scales = in_blocks(32)
    data = m.data((x,), (y,))
    graph = graph_of(read_model(data), "case")
    rows = np.random.default_rng(1).standard_normal((2, 64)).astype(np.float32)
    weight = integers * scales.astype(np.float32).repeat(32, axis=1)
    for form in (graph, float_weights.run(graph)):
        np.testing.assert_allclose(evaluate(form, [rows])[0], rows @ weight.T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(netc.compile(graph)(rows), rows @ weight.T, rtol=1e-5, atol=1e-5)
    again = to_tflite(graph)
    kinds = [[op.name for op in g.operations] for g in (graph, graph_of(read_model(again), "case"))]
    assert kinds[0] == kinds[1] == ["constant", "constant", "blocked_dense"]
    pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
    np.testing.assert_array_equal(run(again, [[rows]], "BUILTIN"), run(data, [[rows]], "BUILTIN"))


@pytest.mark.parametrize("wrong", ["weight", "scales"])
def test_blocks_that_a_file_does_not_hold(wrong: str) -> None:
    b = GraphBuilder("case")
    weight, scales = np.full((3, 4), 8 if wrong == "weight" else 7, np.int8), np.full((3, 2), 0.1, np.float32)
    if wrong == "weight":
        scales[:] = 0.5
    x = b.input("x", TensorType(DType.F32, (1, 4)))
    graph = b.finish([b.emit("blocked_dense", x, b.constant(weight), b.constant(scales))])
    with pytest.raises(NetcError, match="weights of 4 bits and scales of half precision"):
        to_tflite(graph)


@pytest.mark.parametrize(
    ("name", "columns", "bits", "reason"),
    [
        ("GATHER", 6, 4, ""),
        ("GATHER", 5, 4, "rows of 5 numbers of 4 bits from wrong places"),
        ("EMBEDDING_LOOKUP", 5, 4, "rows of 5 numbers of 4 bits from wrong places"),
        ("GATHER", 8, 2, "doesn't unpack numbers of 2 bits"),
        ("RESHAPE", 6, 4, "doesn't unpack numbers of 4 bits"),
    ],
)
def test_rows_of_packed_numbers(name: str, columns: int, bits: int, reason: str) -> None:
    m = Model()
    w, i = narrow(m, (4, columns), bits, 0.5), m.tensor("i", (2,), np.int32)
    quantized: dict[str, Any] = {"scale": 0.5}
    y = m.tensor("y", (2, columns), **quantized)
    if name == "EMBEDDING_LOOKUP":
        y = m.tensor("z", (2, columns), np.float32)
        m.operator(name, (i, w), (y,))
    elif name == "GATHER":
        m.operator(name, (w, i), (y,), ("GatherOptions", {}))
    else:
        table = m.tensor("table", (4, columns), **quantized)
        m.operator(name, (w, m.constant("shape", np.array([4, columns], np.int32))), (table,))
        m.operator("GATHER", (table, i), (y,), ("GatherOptions", {}))
    data = m.data((i,), (y,))
    graph, places = graph_of(read_model(data), "case"), np.array([3, 1], np.int32)
    assert [op.attributes["reason"] for op in graph.operations if op.name == "opaque"] == (
        [f"its kernel {'' if 'unpack' in reason else 'reads '}{reason}"] if reason else []
    )
    if not reason:
        pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
        np.testing.assert_array_equal(evaluate(graph, [places]), run(data, [[places]])[0])


def test_packed_weights_beside_16_bits() -> None:
    # LiteRT's kernel reads the packed bytes, and what lies behind them.
    m = Model()
    x, y = (m.tensor(name, (1, 4, 4, 5), np.int16, scale=0.01) for name in "xy")
    options = ("DepthwiseConv2DOptions", {"StrideW": 1, "StrideH": 1, "DepthMultiplier": 1})
    bias = m.constant("b", np.zeros(5, np.int64), scale=0.005)
    m.operator("DEPTHWISE_CONV_2D", (x, narrow(m, (1, 3, 3, 5), 4, 0.5), bias), (y,), options, version=6)
    graph = graph_of(read_model(m.data((x,), (y,))), "case")
    (operator,) = (op for op in graph.operations if op.name == "opaque")
    assert operator.attributes["reason"] == "its kernel for i16 doesn't unpack weights of 4 bits"


@pytest.mark.parametrize("size", [0, -1, 7, 16])
def test_wrong_blocks_are_named(size: int) -> None:
    (m, x, y), *_ = in_blocks(size)
    with pytest.raises(NetcError, match=r"quantization\.details\.block_size .*don't fit blocks of"):
        read_model(m.data((x,), (y,)))


@pytest.mark.parametrize("scale", [0, -1, np.inf, np.nan])
def test_scales_of_blocks_are_positive(scale: float) -> None:
    (m, x, y), *_ = in_blocks(32)
    scales = next(t for t in m.tensors if t["name"] == "scales")
    scales["data"] = np.full((3, 2), scale, np.float16)
    with pytest.raises(NetcError, match=r"details\.scales .*positive and finite"):
        read_model(m.data((x,), (y,)))


WRONG: dict[str, tuple[Any, str]] = {
    "order": (((0, 0), (), [2, ([0, 1, 2], [0, 1])]), r"sparsity\.traversal_order .*doesn't list 2 dimensions"),
    "rank": (((0,), (), [2]), r"sparsity\.traversal_order"),
    "blocks": (((0, 1, 2), (5,), [2, ([0, 1, 2], [0, 1]), 2]), r"sparsity\.block_map .*names dimensions"),
    "block size": (((0, 1, 2), (1,), [2, ([0, 1, 2], [0, 1]), 3]), r"blocks of 3 don't divide dimension 1"),
    "levels": (((0, 1), (), [2]), r"sparsity\.dim_metadata .*1 entries"),
    "size": (((0, 1), (), [3, ([0, 1, 2, 2], [0, 1])]), r"dense_size .*3 is not the size of the dimension, 2"),
    "segments": (((0, 1), (), [2, ([0, 2, 1], [0, 1])]), r"array_segments .*doesn't divide 2 indices among 2 rows"),
    "too few segments": (((0, 1), (), [2, ([0, 2], [0, 1])]), r"array_segments"),
    "indices": (((0, 1), (), [2, ([0, 1, 2], [0, 4])]), r"array_indices .*outside a dimension of 4"),
    "too many": (((0, 1), (), [2, 4]), r"dim_metadata .*more than the 2 elements that are stored"),
    "too many in all": (
        ((0, 1), (), [2, ([0, 5, 10], [0, 1, 2, 3, 3] * 2)]),
        r"dim_metadata .*more elements than \[2, 4\]",
    ),
    "too few": (((0, 1), (), [2, ([0, 0, 1], [0])]), r"buffer .*1 stored elements of .* takes 4 bytes.* has 8"),
}


@pytest.mark.parametrize("name", WRONG)
def test_damaged_layouts_are_named(name: str) -> None:
    layout, message = WRONG[name]
    m = Model()
    w = m.constant("w", np.zeros((2, 4), np.float32), sparsity=layout)
    m.tensors[w]["data"] = np.ones(2, np.float32)
    m, x, y = added(m, w, (2, 4))
    with pytest.raises(NetcError, match=message):
        read_model(m.data((x,), (y,)))


def test_sparse_constants_are_bounded_by_the_file() -> None:
    m = Model()
    size = 1 << 14
    w = m.constant("w", np.zeros((1, 1), np.float32), sparsity=((0, 1), (), [([0, 1], [3]), ([0, 1], [7])]))
    m.tensors[w] |= {"shape": [size, size], "data": np.ones(1, np.float32)}
    m, x, y = added(m, w, (1, 1))
    with pytest.raises(NetcError, match="constants take more than 64 times the file"):
        read_model(m.data((x,), (y,)))


def test_dimension_of_biases_is_theirs() -> None:
    # The converter of some years states that of the weights; LiteRT for microcontrollers doesn't look at it.
    def made(axis: int) -> Graph:
        m = Model()
        x, y = m.tensor("x", (1, 5, 5, 4), scale=0.05, zero=3), m.tensor("y", (1, 3, 3, 4), scale=0.2, zero=-4)
        w = m.constant("w", np.arange(36, dtype=np.int8).reshape(1, 3, 3, 4), scale=SCALES, axis=3)
        b = m.constant("b", np.arange(-2, 2, dtype=np.int32), scale=tuple(0.05 * s for s in SCALES), axis=axis)
        window = {"Padding": 1, "StrideW": 1, "StrideH": 1, "DepthMultiplier": 1}
        m.operator("DEPTHWISE_CONV_2D", (x, w, b), (y,), ("DepthwiseConv2DOptions", window), version=3)
        return graph_of(read_model(m.data((x,), (y,))), "stated")

    assert str(made(3)) == str(made(0))
