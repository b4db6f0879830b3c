"""best_positions against NumPy's sorting: ties, NaN and infinities, every element type, rows in any order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.errors import ShapeError
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.graph.registry import lookup
from netc.compiler.types import DType, TensorType

RNG = np.random.default_rng(4)


def graph(dtype: DType, shape: tuple[int, ...], k: int, largest: bool = True) -> Graph:
    b = GraphBuilder("g")
    x = b.input("x", TensorType(dtype, shape))
    return b.finish([b.operation(lookup("best_positions"), [x], {"k": k, "largest": largest}).result])


def expected(x: Any, k: int, largest: bool) -> Any:
    """By Python's stable sort, with NaN above all numbers."""
    rows = []
    for row in x.tolist():
        keys = [(value != value, 0 if value != value else value) for value in row]
        if largest:
            order = sorted(range(len(row)), key=lambda i: (-keys[i][0], -keys[i][1], i))
        else:
            order = sorted(range(len(row)), key=lambda i: (keys[i], i))
        rows.append(order[:k])
    return np.array(rows, np.int32)


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("dtype", [DType.F32, DType.F64, DType.F16, DType.I8, DType.U8, DType.I32, DType.I64])
def test_order(dtype: DType, largest: bool) -> None:
    x = (RNG.standard_normal((3, 400)) * 20 + 60).round().clip(0, 120).astype(dtype.numpy)
    if dtype.is_float:
        x[0, [3, 200, 399]], x[1, 5:9], x[2, :] = np.nan, [np.inf, -np.inf, np.inf, -np.inf], np.nan
    else:
        x[0, 7], x[1, :] = np.iinfo(dtype.numpy).min, np.iinfo(dtype.numpy).max
    g = graph(dtype, x.shape, 90, largest)
    want = expected(x, 90, largest)
    np.testing.assert_array_equal(evaluate(g, [x], {})[0], want)
    np.testing.assert_array_equal(netc.compile(g, threads=1)(x), want)


@pytest.mark.parametrize("order", ["rising", "falling", "equal"])
def test_rows_in_order(order: str) -> None:
    row = {"rising": np.arange(1000), "falling": -np.arange(1000), "equal": np.zeros(1000)}[order].astype(np.float32)
    (found,) = netc.compile(graph(DType.F32, (1, 1000), 17), threads=1)(row[np.newaxis])
    np.testing.assert_array_equal(found, np.arange(999, 982, -1) if order == "rising" else np.arange(17))


def test_top_k_of_long_rows_takes_one_search() -> None:
    b = GraphBuilder("g")
    x = b.input("x", TensorType(DType.F32, (2, 1000)))
    g = b.finish([b.emit(name, x, k=10, axis=1) for name in ("top_k_values", "top_k_indices")])
    assert str(netc.passes.run(g, "decompose,cse,dce")).count("best_positions(") == 1


def test_too_many() -> None:
    with pytest.raises(ShapeError, match="can't take 6 elements of each row"):
        graph(DType.F32, (2, 5), 6)
