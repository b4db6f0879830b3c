"""Grouped convolutions on processors that multiply two vectors in a cycle: rows of the window."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from netc.compiler.backends import find_target, lower, optimize
from netc.compiler.backends.cpu.schedules.geometry import Walk
from netc.compiler.backends.cpu.schedules.row_tiles import RowTiling
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.modules.interpreter import run_module
from netc.compiler.modules.module import Module
from netc.compiler.modules.verifier import verify_module
from netc.compiler.passes import pipelines
from netc.compiler.types import DType, TensorType

Shape = tuple[int, ...]
X86 = find_target("haswell")


def convolution(x: Shape, w: Shape, **attributes: Any) -> tuple[Graph, NDArray[Any]]:
    b, random = GraphBuilder("net"), np.random.default_rng(0)
    weight = random.standard_normal(w, np.float32) / np.float32(np.sqrt(w[-2]))
    same = {"strides": (1, 1), "padding": "same", "dilations": (1, 1), "groups": x[-1] // w[-2]}
    result = b.emit("conv2d", b.input("x", TensorType(DType.F32, x)), b.constant(weight), **same | attributes)
    return b.finish([result]), random.standard_normal(x, np.float32)


def lowered(graph: Graph, cpu: str = "haswell") -> Module:
    target = find_target(cpu)
    return lower(optimize(graph, pipelines.INFERENCE, target), target)


@pytest.mark.parametrize("cpu", ["haswell", "skylake-avx512"])
@pytest.mark.parametrize(
    ("x", "w", "attributes"),
    [
        ((1, 5, 9, 16), (3, 3, 8, 16), {}),
        ((1, 7, 8, 16), (3, 3, 8, 16), {"strides": (2, 2)}),
        ((2, 4, 6, 12), (3, 3, 4, 12), {"dilations": (2, 2)}),
        ((1, 5, 6, 16), (3, 2, 8, 8), {}),
        ((1, 4, 5, 9), (2, 3, 3, 6), {"strides": (1, 2)}),
        ((1, 4, 9, 20), (3, 4, 5, 32), {}),
        ((1, 5, 31, 24), (3, 3, 8, 24), {}),
        ((1, 1, 1, 16), (3, 3, 8, 16), {}),
        ((1, 6, 7, 32), (1, 3, 16, 32), {}),
    ],
)
def test_loops_mean_what_the_graph_means(x: Shape, w: Shape, attributes: dict[str, Any], cpu: str) -> None:
    net, given = convolution(x, w, **attributes)
    module = lowered(net, cpu)
    verify_module(module)
    (got,), (want,) = run_module(module, [given], {}), evaluate(net, [given], {})
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("width", "stride", "rows"), [(16, 1, True), (8, 1, True), (4, 1, True), (4, 2, False)])
def test_with_many_registers_rows_pay_where_windows_overlap(width: int, stride: int, rows: bool) -> None:
    """Products wait for a spread element each, without."""
    net, _ = convolution((1, 12, 12, 32), (3, 3, width, 32), strides=(stride, stride))
    text = str(lowered(net, "skylake-avx512"))
    read = text.count("spread<") + text.count("broadcast<")
    assert read > 0
    assert (2 * read < text.count("fma")) == rows


@pytest.mark.parametrize(("width", "read"), [(8, "broadcast"), (4, "spread")])
def test_an_element_serves_all_columns_of_the_window(width: int, read: str) -> None:
    net, _ = convolution((1, 12, 12, 16), (3, 3, width, 16))
    text = str(lowered(net))
    assert 0 < 2 * text.count(f"{read}<") < text.count("fma")
    wide = str(lowered(net, "znver4"))
    assert wide.count("fma") < text.count("fma"), "processors with 32 registers read an element while they multiply"


@pytest.mark.parametrize("size", [1, 7, 12, 14, 28, 56])
def test_tiles_keep_sums_and_weights_in_registers(size: int) -> None:
    walk = Walk(images=1, height=size, width=size, window=(3, 3), channels=8, pitch=8, buffer=(1, size, 8 * size))
    sizes = RowTiling(walk, X86).candidates()
    assert all(rows * columns + 3 + 1 <= X86.vector_registers for rows, columns in sizes)
