"""Long sums: rounding errors must stay those of a few terms, not of all."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import netc

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


def test_weight_gradient_of_many_pixels() -> None:
    x, dy = draw(64, 32, 32, 4), draw(64, 32, 32, 16)
    exact = np.einsum("nhwc,nhwf->cf", x.astype(np.float64), dy.astype(np.float64))[np.newaxis, np.newaxis]
    found = netc.compile(netc.parse_graph(WEIGHT_GRADIENT), threads=1)(x, dy)
    assert error(found, exact) < 8
