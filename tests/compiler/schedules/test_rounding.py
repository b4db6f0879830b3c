"""Long sums: rounding errors must stay those of a few terms, not of all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import netc
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.ir import Graph
from netc.compiler.types import DType, TensorType

STATISTICS = """
graph @g(%x: f32[16,128,128,8]) -> (f32[8], f32[8]) {
  %0 = reduce_mean(%x) {axes = [0,1,2]} : f32[8]
  %1 = channel_variance(%x, %0) : f32[8]
  return %0, %1
}
"""
WEIGHT_GRADIENT = """
graph @g(%x: f32[64,32,32,4], %dy: f32[64,32,32,16]) -> (f32[1,1,4,16]) {
  %0 = conv2d_weight_gradient(%x, %dy) {
    kernel = [1,1], strides = [1,1], padding = [[0,0],[0,0]], dilations = [1,1], groups = 1
  } : f32[1,1,4,16]
  return %0
}
"""


def draw(*shape: int) -> NDArray[np.float32]:
    """Numbers from 0 to 1: sums that grow all the time round worst."""
    return np.random.default_rng(0).random(shape, np.float32)


def error(found: Any, exact: NDArray[np.float64]) -> float:
    """The largest relative error, in units of the last place."""
    return float(np.abs(found / exact - 1).max() / np.finfo(np.float32).eps)


def test_statistics_of_many_pixels() -> None:
    x = draw(16, 128, 128, 8)
    wide = x.astype(np.float64)
    mean, variance = netc.compile(netc.parse_graph(STATISTICS), threads=1)(x)
    assert error(mean, wide.mean((0, 1, 2))) < 4
    assert error(variance, wide.var((0, 1, 2))) < 4


@pytest.mark.parametrize(
    ("shape", "axis"), [((2_500_000,), 0), ((3, 50_001), 1), ((50_001, 20), 0), ((1, 9000, 20, 3), 1)]
)
def test_sums_along_one_long_dimension(shape: tuple[int, ...], axis: int) -> None:
    b = GraphBuilder("g")
    x = b.input("x", TensorType(DType.F32, shape))
    graph = b.finish([b.emit(name, x, axes=(axis,)) for name in ("reduce_sum", "reduce_mean")])
    array = draw(*shape)
    found, mean = netc.compile(graph, threads=1)(array)
    assert error(found, array.sum(axis, np.float64)) < 24
    assert error(mean, array.mean(axis, np.float64)) < 24


def test_weight_gradient_of_many_pixels() -> None:
    x, dy = draw(64, 32, 32, 4), draw(64, 32, 32, 16)
    exact = np.einsum("nhwc,nhwf->cf", x.astype(np.float64), dy.astype(np.float64))[np.newaxis, np.newaxis]
    found = netc.compile(netc.parse_graph(WEIGHT_GRADIENT), threads=1)(x, dy)
    assert error(found, exact) < 8


def convolution(x: NDArray[np.float32], w: NDArray[np.float32]) -> Graph:
    """One of stride 2 without padding, with a constant weight."""
    b = GraphBuilder("g")
    rules = {"strides": (2, 2), "padding": ((0, 0), (0, 0)), "dilations": (1, 1)}
    return b.finish([b.emit("conv2d", b.input("x", TensorType(DType.F32, x.shape)), b.constant(w), **rules)])


@pytest.mark.parametrize(
    ("size", "channels"),
    [(1, 6000), (1, 1), (3, 700), (3, 150), (3, 70), (7, 40), (7, 12)],
    ids=["parts of runs", "a product", "parts", "rows", "rows of the window", "more rows", "short rows"],
)
def test_sums_of_many_products(size: int, channels: int) -> None:
    """One long sum of them is off by ten and more; parts of runs, rows or planes of the window are added up."""
    x, w = draw(1, size, 2 * 8 + size, channels), draw(size, size, channels, 24)
    windows = np.stack([x[0, :, 2 * i : 2 * i + size] for i in range(9)]).astype(np.float64)
    exact = np.einsum("nyxc,yxcf->nf", windows, w.astype(np.float64))[np.newaxis, np.newaxis]
    found = netc.compile(convolution(x, w), threads=1)(x)
    assert error(found, exact) < 6
