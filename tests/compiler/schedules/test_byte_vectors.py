"""Operators that pick some of the bytes that they read take as many at a time as a register has."""

from __future__ import annotations

import numpy as np
import pytest

import netc
from netc.compiler.backends import find_target, lower
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.modules.printer import print_module
from netc.compiler.types import DType, TensorType

POOL = {"size": (3, 3), "strides": (2, 2), "padding": ((1, 1), (1, 1))}
WORK = {
    "pad": {"padding": ((0, 0), (1, 2), (0, 1), (0, 0))},
    "pad channels": {"padding": ((0, 0), (0, 0), (0, 0), (3, 5))},
    "max_pool": POOL,
}


def graph_of(name: str, channels: int, dtype: DType) -> Graph:
    b = GraphBuilder("f")
    x = b.input("x", TensorType(dtype, (1, 5, 6, channels)))
    return b.finish([b.emit(name.split()[0], x, **WORK[name])])


@pytest.mark.parametrize("dtype", [DType.I8, DType.U8, DType.BOOL])
@pytest.mark.parametrize("channels", [3, 32, 45, 64])
@pytest.mark.parametrize("name", WORK)
def test_bytes_are_picked(name: str, channels: int, dtype: DType) -> None:
    if dtype is DType.BOOL and name == "max_pool":
        pytest.skip("there is no largest truth")
    graph = graph_of(name, channels, dtype)
    x = np.random.default_rng(channels).integers(0, 256, (1, 5, 6, channels)).astype(np.uint8)
    x = x > 100 if dtype is DType.BOOL else x.view(dtype.numpy)
    (expected,) = evaluate(graph, [x])
    np.testing.assert_array_equal(netc.compile(graph, threads=1)(x), expected)


@pytest.mark.parametrize("name", ["pad", "max_pool"])
def test_vectors_hold_bytes_alone(name: str) -> None:
    graph = graph_of(name, 64, DType.I8)
    for cpu, width in (("haswell", 32), ("alderlake", 32), ("znver5", 64), ("cortex-a76", 4)):
        assert f"load i8x{width} %x0" in print_module(lower(graph, find_target(cpu), 1))
