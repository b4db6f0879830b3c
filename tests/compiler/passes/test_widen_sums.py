"""widen-sums: compiled sums of halves are as exact as those of NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.passes import run, widen_sums
from netc.compiler.types import DType, TensorType
from netc.pipeline import compile_graph

SUMS: dict[str, tuple[str, list[tuple[int, ...]], dict[str, Any]]] = {
    "matmul": ("matmul", [(2, 4, 200), (2, 200, 3)], {}),
    "dense": ("dense", [(4, 200), (200, 3)], {}),
    "conv2d": ("conv2d", [(1, 4, 4, 20), (3, 3, 20, 2)], {"strides": (1, 1), "padding": "same", "dilations": (1, 1)}),
    "sum": ("reduce_sum", [(3, 200)], {"axes": (1,), "keepdims": False}),
    "mean": ("reduce_mean", [(300, 2)], {"axes": (0,), "keepdims": True}),
    "running": ("cumulative_sum", [(2, 200)], {"axis": 1}),
}


def made(name: str, dtype: DType) -> Graph:
    operator, shapes, attributes = SUMS[name]
    b = GraphBuilder(name)
    operands = [b.input(f"x{i}", TensorType(dtype, shape)) for i, shape in enumerate(shapes)]
    return b.finish([b.emit(operator, *operands, **attributes)])


@pytest.mark.parametrize("name", SUMS)
def test_one_rounding(name: str) -> None:
    rng = np.random.default_rng(0)
    inputs = [rng.random(shape).astype(np.float16) for shape in SUMS[name][1]]
    (exact,) = evaluate(made(name, DType.F64), [x.astype(np.float64) for x in inputs])
    found = np.asarray(compile_graph(made(name, DType.F16))(*inputs))
    assert found.dtype == np.float16
    half_a_step = np.spacing(np.abs(exact).astype(np.float16)).astype(np.float64) * 0.51
    assert (np.abs(found - exact) <= half_a_step).all()


def test_others_stay() -> None:
    floats = made("matmul", DType.F32)
    assert widen_sums(floats) is floats
    names = [op.name for op in run(made("mean", DType.F16), "widen-sums").operations]
    assert names == ["cast", "reduce_mean", "cast"]
