"""Convolutions, dense layers and products of matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..draw import Draw, Scale
from . import Generator
from .parts import ACTIVATIONS, NARROW, file, scale_of

_INT32, _INT64 = 2, 4
"""Codes of the schema's TensorType."""


def floats(d: Draw, shape: Sequence[int], low: float = -1.0, high: float = 1.0) -> Any:
    """Random floats."""
    return np.random.default_rng(d.r.getrandbits(30)).uniform(low, high, tuple(shape)).astype(np.float32)


def _weights(
    d: Draw, dtype: Any, shape: Sequence[int], axis: int, x: Scale | None, *, filters: bool = True, wide: bool = True
) -> tuple[int, int, float, dict[str, Any]]:
    """Weight and bias (or -1), the largest scale of a product, and what the options say of the sums."""
    count = shape[axis]
    if dtype not in NARROW:
        weight = d.m.constant("weight", floats(d, shape).astype(dtype))
        bias = d.m.constant("bias", floats(d, (count,)).astype(dtype)) if d.flip() else -1
        return weight, bias, 1.0, {}
    signed = dtype is not np.uint8
    weight = np.maximum(d.integers(np.int8, shape), -127) if signed else d.integers(np.uint8, shape)
    scales = [d.scale()]
    if signed and count > 1 and filters and d.flip():
        scales = [d.scale(scales[0]) for _ in range(count)]
    w = d.m.constant("weight", weight, scale=scales, zero=0 if signed else d.zero(np.uint8), axis=axis)
    products = [float(np.float32(x[0] if x else 1) * np.float32(s)) for s in scales]
    options, kind = {}, np.int32
    if dtype is np.int16:
        kind = np.int32 if wide and d.flip() else np.int64
        options = {"QuantizedBiasType": _INT32 if kind is np.int32 else d.r.choice((0, _INT64))} if wide else {}
    numbers = np.random.default_rng(d.r.getrandbits(30)).integers(-20000, 20000, count).astype(kind)
    bias = d.m.constant("bias", numbers, scale=products) if d.r.random() < 0.8 else -1
    return w, bias, max(products), options


def _result(d: Draw, shape: Sequence[int], dtype: Any, product: float) -> int:
    wanted = product * 2.0 ** d.r.uniform(0, 10) * (1 / 256 if dtype is np.int16 else 1)
    return d.tensor(shape, dtype, scale_of(d, dtype, wanted))


def _extent(d: Draw, size: int, padding: int, dilations: Sequence[int] = (1,)) -> tuple[int, int, int, int]:
    """Kernel, stride, dilation and results along a dimension."""
    kernel, stride = d.r.randint(1, 4), d.r.randint(1, 3)
    dilation = d.r.choice(dilations) if stride == 1 else 1
    while (kernel - 1) * dilation + 1 > size and padding == 1:
        kernel, dilation = max(kernel - 1, 1), 1
    extent = (kernel - 1) * dilation + 1
    return kernel, stride, dilation, -(-size // stride) if padding == 0 else (size - extent) // stride + 1


def _window(d: Draw, dtype: Any) -> tuple[tuple[int, ...], list[tuple[int, int, int, int]], int, dict[str, Any]]:
    """Batch, sizes and channels, what `_extent` says of height and width, padding, fields of options."""
    sizes, padding = (d.r.choice((1, 1, d.r.randint(2, 9))), d.r.randint(1, 9)), d.r.choice((0, 1))
    rows, columns = (_extent(d, n, padding, (1, 1, 2)) for n in sizes)
    if dtype is np.uint8:
        columns = rows = (rows[0], rows[1], rows[2], rows[3])
        sizes = (sizes[0], sizes[0])
    fields = {
        "Padding": padding,
        "StrideH": rows[1],
        "StrideW": columns[1],
        "DilationHFactor": rows[2],
        "DilationWFactor": columns[2],
        "FusedActivationFunction": d.r.choice(ACTIVATIONS),
    }
    return (d.r.choice((1, 2)), *sizes, d.r.choice((1, 2, 3, 4, 8, 12, 16))), [rows, columns], padding, fields


def _conv_2d(d: Draw, dtype: Any) -> bytes:
    (n, h, w, channels), (rows, columns), _, fields = _window(d, dtype)
    groups = d.r.choice([g for g in (1, 1, 2, 3, 4) if channels % g == 0]) if dtype is not np.uint8 else 1
    filters = d.r.choice((1, 2, 7, 8, 17)) * groups
    given = scale_of(d, dtype)
    x = d.input((n, h, w, channels), dtype, given, "finite")
    weight, bias, product, more = _weights(d, dtype, (filters, rows[0], columns[0], channels // groups), 0, given)
    y = _result(d, (n, rows[3], columns[3], filters), dtype, product)
    return file(d, "CONV_2D", [x, weight, bias], [y], ("Conv2DOptions", fields | more))


def _depthwise(d: Draw, dtype: Any) -> bytes:
    (n, h, w, channels), (rows, columns), _, fields = _window(d, dtype)
    multiplier = d.r.choice((1, 1, 2, 3))
    given = scale_of(d, dtype)
    x = d.input((n, h, w, channels), dtype, given, "finite")
    filters = channels * multiplier
    weight, bias, product, _ = _weights(d, dtype, (1, rows[0], columns[0], filters), 3, given, wide=False)
    y = _result(d, (n, rows[3], columns[3], filters), dtype, product)
    fields["DepthMultiplier"] = multiplier
    return file(d, "DEPTHWISE_CONV_2D", [x, weight, bias], [y], ("DepthwiseConv2DOptions", fields))


def _transpose_conv(d: Draw, dtype: Any) -> bytes:
    n, h, w, channels, filters = *d.shape(3, 5), d.r.randint(1, 4), d.r.randint(1, 6)
    padding, sizes, strides = d.r.choice((0, 1)), (d.r.randint(1, 4), d.r.randint(1, 4)), (d.r.randint(1, 3), 2)
    # That is the size from which a convolution leads back to the input's.
    rows, columns = (
        n * stride if padding == 0 else (n - 1) * stride + size
        for n, stride, size in zip((h, w), strides, sizes, strict=True)
    )
    given = scale_of(d, dtype)
    shape = d.constant(np.array((n, rows, columns, filters), np.int32))
    weight, bias, product, more = _weights(d, dtype, (filters, *sizes, channels), 0, given)
    x = d.input((n, h, w, channels), dtype, given, "finite")
    y = _result(d, (n, rows, columns, filters), dtype, product)
    fields = {"Padding": padding, "StrideH": strides[0], "StrideW": strides[1]} | more
    fields["FusedActivationFunction"] = d.r.choice(ACTIVATIONS)
    inputs = [shape, weight, x] if bias < 0 else [shape, weight, x, bias]
    return file(d, "TRANSPOSE_CONV", inputs, [y], ("TransposeConvOptions", fields))


def _dense(d: Draw, dtype: Any) -> bytes:
    lead, inputs, units = d.shape(d.r.choice((1, 1, 2)), 5), d.r.choice((1, 3, 16, 50)), d.r.choice((1, 2, 7, 16))
    given = scale_of(d, dtype)
    x = d.input((*lead, inputs), dtype, given, "finite")
    weight, bias, product, more = _weights(d, dtype, (units, inputs), 0, given)
    keep = d.flip()
    y = _result(d, (*lead, units) if keep else (int(np.prod(lead)), units), dtype, product)
    fields = {"FusedActivationFunction": d.r.choice(ACTIVATIONS), "KeepNumDims": keep} | more
    return file(d, "FULLY_CONNECTED", [x, weight, bias], [y], ("FullyConnectedOptions", fields))


def _batch_matmul(d: Draw, dtype: Any) -> bytes:
    m, k, n = d.r.choice((1, 2, 5, 16)), d.r.choice((1, 3, 8, 40)), d.r.choice((1, 2, 7, 16))
    lead = d.shape(d.r.choice((0, 1, 2)), 3)
    turned = d.flip(), d.flip()
    first, second = ((*(1 if d.r.random() < 0.2 else s for s in lead),) for _ in range(2))
    a, b = scale_of(d, dtype), scale_of(d, dtype)
    shapes = (*first, *((k, m) if turned[0] else (m, k))), (*second, *((n, k) if turned[1] else (k, n)))
    inputs = [d.input(s, dtype, given, "finite") for s, given in zip(shapes, (a, b), strict=True)]
    product = a[0] * b[0] * (1 / 256 if dtype is np.int16 else 1) if a and b else 1.0
    y = _result(d, (*np.broadcast_shapes(first, second), m, n), dtype, product)
    options = ("BatchMatMulOptions", {"AdjX": turned[0], "AdjY": turned[1]})
    return file(d, "BATCH_MATMUL", inputs, [y], options)


def _conv_3d(d: Draw, dtype: Any) -> bytes:
    sizes, padding, channels, filters = d.shape(3, 5), d.r.choice((0, 1)), d.r.randint(1, 4), d.r.choice((1, 3, 8))
    extents = [_extent(d, n, padding) for n in sizes]
    given = scale_of(d, dtype)
    x = d.input((1, *sizes, channels), dtype, given, "finite")
    shape = (*(e[0] for e in extents), channels, filters)
    weight, bias, product, _ = _weights(d, dtype, shape, 4, given)
    y = _result(d, (1, *(e[3] for e in extents), filters), dtype, product)
    fields = {"Padding": padding, "FusedActivationFunction": d.r.choice(ACTIVATIONS)}
    fields |= {f"Stride{axis}": e[1] for axis, e in zip("DHW", extents, strict=True)}
    fields |= {f"Dilation{axis}Factor": 1 for axis in "DHW"}
    inputs = [x, weight] if bias < 0 else [x, weight, bias]
    return file(d, "CONV_3D", inputs, [y], ("Conv3DOptions", fields))


def _conv_3d_transpose(d: Draw, dtype: Any) -> bytes:
    sizes, padding, channels, filters = d.shape(3, 4), d.r.choice((0, 1)), d.r.randint(1, 4), d.r.choice((1, 3, 8))
    kernel, strides = [d.r.randint(1, 3) for _ in sizes], [d.r.randint(1, 2) for _ in sizes]
    result = [
        n * stride if padding == 0 else (n - 1) * stride + size
        for n, stride, size in zip(sizes, strides, kernel, strict=True)
    ]
    given = scale_of(d, dtype)
    shape = d.constant(np.array((1, *result, filters), np.int32))
    weight, bias, product, _ = _weights(d, dtype, (*kernel, filters, channels), 3, given)
    x = d.input((1, *sizes, channels), dtype, given, "finite")
    y = _result(d, (1, *result, filters), dtype, product)
    fields = {"Padding": padding, "FusedActivationFunction": d.r.choice(ACTIVATIONS)}
    fields |= {f"Stride{axis}": stride for axis, stride in zip("DHW", strides, strict=True)}
    fields |= {f"Dilation{axis}Factor": 1 for axis in "DHW"}
    inputs = [shape, weight, x] if bias < 0 else [shape, weight, x, bias]
    return file(d, "CONV_3D_TRANSPOSE", inputs, [y], ("Conv3DOptions", fields))


GENERATORS: Mapping[str, Generator] = {
    "BATCH_MATMUL": _batch_matmul,
    "CONV_2D": _conv_2d,
    "CONV_3D": _conv_3d,
    "CONV_3D_TRANSPOSE": _conv_3d_transpose,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _dense,
    "TRANSPOSE_CONV": _transpose_conv,
}
"""What draws each contraction."""
