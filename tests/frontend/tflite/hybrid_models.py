"""TFLite files of one operator whose floats meet 8-bit weights, and the inputs on which LiteRT was asked about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .small_models import Model

BIT_FOR_BIT = 0.0
ROUNDED = 1e-6
"""How far results may be from those of LiteRT's reference kernels, relative to their range."""


def _weight(m: Model, shape: Sequence[int], *, scales: int, axis: int = 0, dtype: Any = np.int8, zero: int = 0) -> int:
    data = np.random.default_rng(5).integers(-127, 128, shape, np.int8).view(dtype)
    scale: Any = tuple(float(s) for s in np.linspace(0.004, 0.02, scales, dtype=np.float32)) if scales > 1 else 0.011
    return m.constant("w", data, scale=scale, axis=axis, zero=zero)


def _bias(m: Model, count: int) -> int:
    return m.constant("bias", np.linspace(-2, 3, count, dtype=np.float32))


def _convolution(
    kernel: int = 3,
    *,
    scales: int = 1,
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
    activation: int = 0,
    dtype: Any = np.int8,
) -> bytes:
    m = Model()
    x = m.tensor("x", (2, 7, 6, 4), np.float32)
    w = _weight(m, (8, kernel, kernel, 4 // groups), scales=scales, dtype=dtype)
    sizes = [-(-s // stride) if padding == 0 else (s - kernel) // stride + 1 for s in (7, 6)]
    y = m.tensor("y", (2, *sizes, 8), np.float32)
    options = {"Padding": padding, "StrideW": stride, "StrideH": stride, "FusedActivationFunction": activation}
    m.operator("CONV_2D", (x, w, _bias(m, 8)), (y,), ("Conv2DOptions", options), version=5)
    return m.data((x,), (y,))


def _depthwise(multiplier: int, stride: int, padding: int) -> bytes:
    m = Model()
    x, filters = m.tensor("x", (2, 7, 6, 4), np.float32), 4 * multiplier
    w = _weight(m, (1, 3, 3, filters), scales=filters, axis=3)
    sizes = [-(-s // stride) if padding == 0 else (s - 3) // stride + 1 for s in (7, 6)]
    y = m.tensor("y", (2, *sizes, filters), np.float32)
    options = {"Padding": padding, "StrideW": stride, "StrideH": stride, "DepthMultiplier": multiplier}
    options["FusedActivationFunction"] = 3
    m.operator("DEPTHWISE_CONV_2D", (x, w, _bias(m, filters)), (y,), ("DepthwiseConv2DOptions", options), version=6)
    return m.data((x,), (y,))


def _dense(
    shape: Sequence[int], *, scales: int = 1, asymmetric: bool = False, dtype: Any = np.int8, zero: int = 0
) -> bytes:
    m = Model()
    x = m.tensor("x", shape, np.float32)
    w = _weight(m, (6, shape[-1]), scales=scales, dtype=dtype, zero=zero)
    y = m.tensor("y", (*shape[:-1], 6), np.float32)
    options = {"AsymmetricQuantizeInputs": asymmetric, "KeepNumDims": len(shape) > 2, "FusedActivationFunction": 1}
    inputs = (x, w, _bias(m, 6) if scales > 1 else -1)
    m.operator("FULLY_CONNECTED", inputs, (y,), ("FullyConnectedOptions", options), version=12 if scales > 1 else 9)
    return m.data((x,), (y,))


def _product(
    a: Sequence[int],
    b: Sequence[int],
    result: Sequence[int],
    *,
    asymmetric: bool,
    turned: Sequence[bool] = (False,) * 2,
) -> bytes:
    m = Model()
    x, w, y = m.tensor("x", a, np.float32), _weight(m, b, scales=1), m.tensor("y", result, np.float32)
    options = {"AdjX": turned[0], "AdjY": turned[1], "AsymmetricQuantizeInputs": asymmetric}
    m.operator("BATCH_MATMUL", (x, w), (y,), ("BatchMatMulOptions", options), version=4)
    return m.data((x,), (y,))


def _transposed(scales: int, padding: int) -> bytes:
    m = Model()
    size = m.constant("size", np.array((2, *(9 if padding else 8,) * 2, 3), np.int32))
    w, x = _weight(m, (3, 3, 3, 5), scales=scales), m.tensor("x", (2, 4, 4, 5), np.float32)
    y = m.tensor("y", (2, *(9 if padding else 8,) * 2, 3), np.float32)
    options = {"Padding": padding, "StrideW": 2, "StrideH": 2}
    m.operator("TRANSPOSE_CONV", (size, w, x, _bias(m, 3)), (y,), ("TransposeConvOptions", options), version=3)
    return m.data((x,), (y,))


def _looked_up(scales: int, dtype: Any = np.int8) -> bytes:
    m = Model()
    ids, w = m.tensor("ids", (7,), np.int32), _weight(m, (6, 5), scales=scales, dtype=dtype)
    y = m.tensor("y", (7, 5), np.float32)
    m.operator("EMBEDDING_LOOKUP", (ids, w), (y,), version=3)
    return m.data((ids,), (y,))


Cases = Mapping[str, tuple[Callable[[], bytes], float]]

CASES: Cases = {
    "convolution": (_convolution, BIT_FOR_BIT),
    "convolution with stride": (lambda: _convolution(stride=2, activation=1), BIT_FOR_BIT),
    "convolution of u8": (lambda: _convolution(1, dtype=np.uint8), BIT_FOR_BIT),
    "convolution by channel": (lambda: _convolution(scales=8), BIT_FOR_BIT),
    "convolution by channel, no padding": (lambda: _convolution(scales=8, stride=2, padding=1), BIT_FOR_BIT),
    "convolution of pixels": (lambda: _convolution(1, scales=8, activation=3), BIT_FOR_BIT),
    "convolution in groups": (lambda: _convolution(scales=8, groups=2), BIT_FOR_BIT),
    "depthwise": (lambda: _depthwise(1, 1, 0), BIT_FOR_BIT),
    "depthwise with multiplier": (lambda: _depthwise(2, 2, 1), BIT_FOR_BIT),
    "dense": (lambda: _dense((3, 40)), BIT_FOR_BIT),
    "dense, asymmetric": (lambda: _dense((3, 40), asymmetric=True), BIT_FOR_BIT),
    "dense by channel": (lambda: _dense((2, 3, 17), scales=6), BIT_FOR_BIT),
    "dense by channel, asymmetric": (lambda: _dense((2, 3, 17), scales=6, asymmetric=True), BIT_FOR_BIT),
    "dense of u8": (lambda: _dense((1, 16), dtype=np.uint8, zero=128), BIT_FOR_BIT),
    "dense with a zero point": (lambda: _dense((1, 16), zero=5, asymmetric=True), BIT_FOR_BIT),
    "product": (lambda: _product((3, 16), (16, 8), (3, 8), asymmetric=True), BIT_FOR_BIT),
    "products": (lambda: _product((2, 3, 16), (2, 16, 8), (2, 3, 8), asymmetric=False), BIT_FOR_BIT),
    "long products": (lambda: _product((2, 3, 1100), (2, 1100, 4), (2, 3, 4), asymmetric=True), BIT_FOR_BIT),
    "products, turned": (
        lambda: _product((2, 16, 3), (1, 8, 16), (2, 3, 8), asymmetric=True, turned=(True, True)),
        BIT_FOR_BIT,
    ),
    "products, spread": (lambda: _product((1, 3, 16), (4, 16, 8), (4, 3, 8), asymmetric=False), BIT_FOR_BIT),
    "transposed": (lambda: _transposed(1, 1), ROUNDED),
    "transposed by channel": (lambda: _transposed(3, 0), ROUNDED),
    "table": (lambda: _looked_up(1, np.int8), BIT_FOR_BIT),
    "table by row": (lambda: _looked_up(6, np.int8), BIT_FOR_BIT),
}


def inputs(dtype: Any, shape: tuple[int, ...]) -> list[Any]:
    """Numbers of both signs, of one, rows of zeros, and those that fall between two integers."""
    rng = np.random.default_rng(3)
    if np.dtype(dtype) == np.int32:
        return [rng.integers(0, 6, shape, np.int32)]
    mixed = (rng.standard_normal(shape) * 3 + 1).astype(np.float32)
    halves = (rng.integers(-255, 256, shape) / 2).astype(np.float32)
    empty = np.where(np.arange(shape[0]).reshape(-1, *(1,) * (len(shape) - 1)) == 0, 0, mixed).astype(np.float32)
    return [mixed, np.abs(mixed), -np.abs(mixed) - 1, halves, empty]
