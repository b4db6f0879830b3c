"""Transposes of bytes go by tiles of sixteen rows, whose vectors are interleaved."""

from __future__ import annotations

import numpy as np
import pytest

from netc.compiler.backends import find_target, lower, optimize
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.ir import Graph
from netc.compiler.modules.printer import print_module
from netc.compiler.modules.verifier import verify_module
from netc.compiler.passes import pipelines
from netc.compiler.types import DType, TensorType
from netc.pipeline import compile_graph
from netc.runtime.host import runs_here

CASES = [
    ((37, 50), (1, 0)),
    ((16, 16), (1, 0)),
    ((1, 196, 48), (0, 2, 1)),
    ((2, 17, 5, 33), (0, 3, 2, 1)),
    ((2, 19, 3, 21), (3, 1, 0, 2)),
    ((31, 2, 16), (2, 1, 0)),
]


def _graph(shape: tuple[int, ...], permutation: tuple[int, ...], dtype: DType) -> Graph:
    b = GraphBuilder("net")
    return b.finish([b.emit("transpose", b.input("x", TensorType(dtype, shape)), permutation=permutation)])


@pytest.mark.parametrize("cpu", ["host", "haswell", "x86-64"])
@pytest.mark.parametrize("dtype", [DType.U8, DType.I8, DType.BOOL], ids=str)
@pytest.mark.parametrize(("shape", "permutation"), CASES)
def test_elements_are_where_they_belong(
    shape: tuple[int, ...], permutation: tuple[int, ...], dtype: DType, cpu: str
) -> None:
    if not runs_here(find_target(cpu)):
        pytest.skip(f"code for {cpu} doesn't run on this machine")
    x = np.random.default_rng(0).integers(0, 2 if dtype is DType.BOOL else 100, shape).astype(dtype.numpy)
    with compile_graph(_graph(shape, permutation, dtype), cpu=cpu, threads=2) as program:
        np.testing.assert_array_equal(program(x), x.transpose(permutation))


@pytest.mark.parametrize(("cpu", "count"), [("znver5", True), ("haswell", True), ("cortex-a72", False)])
def test_processors_that_interleave_bytes_do_so(cpu: str, count: bool) -> None:
    graph, target = _graph((1, 196, 48), (0, 2, 1), DType.U8), find_target(cpu)
    module = lower(optimize(graph, pipelines.INFERENCE, target), target, 1)
    verify_module(module)
    assert ("interleave(" in print_module(module)) is count
