"""Pooling, resizing, and what is computed over rows: softmax and normalisation.

LOCAL_RESPONSE_NORMALIZATION is missing: LiteRT's reference kernel leaves out a channel that its other one has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..draw import Draw, Scale, Values
from . import Generator
from .parts import ACTIVATIONS, Options, file, scale_of


def _pool(name: str, values: Values = None) -> Generator:
    def make(d: Draw, dtype: Any) -> bytes:
        sizes, padding = (d.r.choice((1, d.r.randint(2, 9))), d.r.randint(1, 9)), d.r.choice((0, 1))
        kernel = [d.r.randint(1, n if padding else n + 1) for n in sizes]
        strides = [d.r.randint(1, 3) for _ in sizes]
        result = [
            -(-n // s) if padding == 0 else (n - k) // s + 1 for n, k, s in zip(sizes, kernel, strides, strict=True)
        ]
        given, n, channels = scale_of(d, dtype), d.r.choice((1, 2)), d.r.choice((1, 3, 8, 17))
        x, y = d.input((n, *sizes, channels), dtype, given, values), d.tensor((n, *result, channels), dtype, given)
        fields = {"Padding": padding, "StrideH": strides[0], "StrideW": strides[1]}
        fields |= {"FilterHeight": kernel[0], "FilterWidth": kernel[1]}
        fields["FusedActivationFunction"] = d.r.choice(ACTIVATIONS)
        return file(d, name, [x], [y], ("Pool2DOptions", fields))

    return make


def _resize(name: str, table: str) -> Generator:
    def make(d: Draw, dtype: Any) -> bytes:
        n, h, w = d.shape(3, 9)
        size, channels, given = d.shape(2, 12), d.r.choice((1, 3, 8)), scale_of(d, dtype)
        x, target = d.input((n, h, w, channels), dtype, given, "finite"), d.constant(np.array(size, np.int32))
        fields = d.r.choice(({}, {"AlignCorners": True}, {"HalfPixelCenters": True}))
        return file(d, name, [x, target], [d.tensor((n, *size, channels), dtype, given)], (table, fields))

    return make


def _rows(
    name: str,
    options: Callable[[Draw], Options],
    target: Mapping[Any, Scale],
    *,
    values: Values = "finite",
    least: int = 1,
) -> Generator:
    """SOFTMAX and its kin, over the last dimension."""

    def make(d: Draw, dtype: Any) -> bytes:
        shape = (*d.shape(d.r.randint(least - 1, 3)), d.r.choice((1, 2, 5, 37, 256)))
        x = scale_of(d, dtype)
        y = scale_of(d, dtype)
        if x is not None and d.r.random() < 0.9:
            y = target.get(dtype, y)
        if x is not None and d.r.random() < 0.7:
            x = (float(np.float32(10.0 ** d.r.uniform(-4, 0))), x[1])
        a, b = d.input(shape, dtype, x, values), d.tensor(shape, dtype, y)
        return file(d, name, [a], [b], options(d))

    return make


def _softmax_16(d: Draw, dtype: Any) -> bytes:
    """From bytes to 16 bits; others keep their type."""
    if dtype not in (np.int8, np.uint8):
        return GENERATORS["SOFTMAX"](d, dtype)
    shape = (*d.shape(d.r.randint(0, 3)), d.r.choice((1, 2, 5, 37, 256)))
    given = float(np.float32(10.0 ** d.r.uniform(-4, 0))), d.zero(dtype)
    x, y = d.input(shape, dtype, given, "finite"), d.tensor(shape, np.int16, (1 / 65536, -32768))
    return file(d, "SOFTMAX", [x], [y], ("SoftmaxOptions", {"Beta": d.r.choice((1.0, 0.5))}))


GENERATORS: Mapping[str, Generator] = {
    "AVERAGE_POOL_2D": _pool("AVERAGE_POOL_2D", "finite"),
    "L2_NORMALIZATION": _rows(
        "L2_NORMALIZATION",
        lambda d: ("L2NormOptions", {}),
        {np.int8: (1 / 128, 0), np.uint8: (1 / 128, 128)},
    ),
    "L2_POOL_2D": _pool("L2_POOL_2D", (-3, 3)),
    "LOG_SOFTMAX": _rows(
        "LOG_SOFTMAX", lambda d: ("LogSoftmaxOptions", {}), {np.int8: (1 / 16, 127), np.uint8: (1 / 16, 255)}
    ),
    "MAX_POOL_2D": _pool("MAX_POOL_2D", "finite"),
    "RESIZE_BILINEAR": _resize("RESIZE_BILINEAR", "ResizeBilinearOptions"),
    "RESIZE_NEAREST_NEIGHBOR": _resize("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions"),
    "SOFTMAX": _rows(
        "SOFTMAX",
        lambda d: ("SoftmaxOptions", {"Beta": d.r.choice((1.0, 1.0, 0.5, 2.0))}),
        {np.int8: (1 / 256, -128), np.uint8: (1 / 256, 0), np.int16: (1 / 32768, 0)},
    ),
    "SOFTMAX to i16": _softmax_16,
}
"""What draws each of them."""
