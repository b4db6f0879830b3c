"""Reductions of floats along rows: a vector of accumulators for each, unless its lanes would hold too many terms."""

from __future__ import annotations

import numpy as np
import pytest

import netc
from netc.compiler.backends import find_target, lower, optimize
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.ir import Graph
from netc.compiler.loops.ir import Allocate, Space, statements
from netc.compiler.passes import pipelines
from netc.compiler.types import DType, TensorType


def reduction(op: str, shape: tuple[int, ...], axes: tuple[int, ...]) -> Graph:
    b = GraphBuilder("net")
    return b.finish([b.emit(op, b.input("x", TensorType(DType.F32, shape)), axes=axes)])


def widest_accumulator(graph: Graph) -> int:
    target = find_target("x86-64-v3")
    (kernel,) = lower(optimize(graph, pipelines.INFERENCE, target), target, 1).kernels
    made = [s.buffer for s in statements(kernel.body) if isinstance(s, Allocate)]
    return max(buffer.lanes for buffer in made if buffer.space is Space.REGISTER)


@pytest.mark.parametrize("op", ["reduce_sum", "reduce_mean", "reduce_max"])
@pytest.mark.parametrize(
    ("shape", "axes"), [((3, 5, 4, 196), (3,)), ((2, 9, 8191), (2,)), ((7, 3, 5, 37), (1, 3))], ids=str
)
def test_rows_are_combined_by_vectors(op: str, shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    graph = reduction(op, shape, axes)
    assert widest_accumulator(graph) == 8
    x = np.random.default_rng(0).standard_normal(shape, np.float32)
    function = {"reduce_sum": np.sum, "reduce_mean": np.mean, "reduce_max": np.max}[op]
    with netc.compile(graph, threads=1) as program:
        np.testing.assert_allclose(program(x), function(x.astype(np.float64), axis=axes), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("shape", "axes"), [((4, 8200), (1,)), ((6, 16, 5), (1, 2)), ((2, 30, 6), (1,))], ids=str)
def test_other_sums_go_term_by_term(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    """More than 1024 terms for a lane, rows shorter than a vector, and places side by side."""
    graph = reduction("reduce_sum", shape, axes)
    assert widest_accumulator(graph) == (4 if axes == (1,) and len(shape) == 3 else 1)
    x = np.random.default_rng(0).standard_normal(shape, np.float32)
    with netc.compile(graph, threads=1) as program:
        np.testing.assert_allclose(program(x), x.astype(np.float64).sum(axis=axes), rtol=0, atol=1e-4)
