"""TFLite files of one quantized operator each, drawn at random: sizes, scales, zero points, options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import numpy as np

from . import random_bounds, random_moves, random_products
from .draw import ALL_BYTES, BYTES, Draw, Maker, Scale

ACTIVATIONS = (0, 1, 2, 3)
"""Codes of no activation, RELU, RELU_N1_TO_1 and RELU6."""


def _unary(
    name: str,
    options: Callable[[Draw], Any] = lambda d: None,
    *,
    types: Sequence[Any] = BYTES,
    target: Callable[[Draw, Any, float], Scale] = lambda d, dtype, near: d.quantized(dtype, near),
    version: int = 2,
) -> Maker:
    def make(d: Draw) -> bytes:
        dtype, shape = d.dtype(*types), d.r.choice(ALL_BYTES)
        x = d.quantized(dtype)
        y = x if d.r.random() < 0.2 else target(d, dtype, x[0])
        a, b = d.input(shape, dtype, x), d.tensor(shape, dtype, y)
        return d.operator(name, [a], [b], options(d), version)

    return make


def _fixed(signed: Scale, unsigned: Scale) -> Callable[[Draw, Any, float], Scale]:
    """The scale that a kernel demands of its result, mostly."""

    def target(d: Draw, dtype: Any, near: float) -> Scale:
        if d.r.random() < 0.2:
            return d.quantized(dtype)
        return signed if dtype is np.int8 else unsigned

    return target


def _half(bound: float) -> Callable[[Draw, Any, float], Scale]:
    """Often a scale that makes a bound of the result a half."""

    def target(d: Draw, dtype: Any, near: float) -> Scale:
        if d.flip():
            return d.quantized(dtype, near)
        return float(np.float32(bound / (d.r.randint(0, 120) + 0.5))), d.zero(dtype)

    return target


def _leaky(d: Draw) -> Any:
    alpha = d.r.choice((0.0, 0.25, 0.3, 1.0, 2.0, -0.3, -1.0, d.r.uniform(-3, 3), d.r.uniform(0, 1)))
    return "LeakyReluOptions", {"Alpha": alpha}


def _rsqrt(d: Draw) -> bytes:
    """Of numbers that are not negative."""
    x, shape = (d.scale(), -128), d.r.choice(ALL_BYTES)
    a, b = d.input(shape, np.int8, x), d.tensor(shape, np.int8, d.quantized(np.int8, x[0] ** -0.5 / 16))
    return d.operator("RSQRT", [a], [b], None, 2)


def _requantize(d: Draw) -> bytes:
    source, target = d.r.choice(
        (
            (np.int8, np.int8),
            (np.int8, np.uint8),
            (np.uint8, np.int8),
            (np.uint8, np.uint8),
            (np.int16, np.int8),
            (np.int8, np.int16),
            (np.int16, np.int16),
        )
    )
    shape, x = d.r.choice(ALL_BYTES), d.quantized(source)
    a, b = d.input(shape, source, x), d.tensor(shape, target, d.quantized(target, x[0]))
    return d.operator("QUANTIZE", [a], [b], None, 2)


def _quantize(d: Draw) -> bytes:
    dtype, shape = d.dtype(np.int8, np.uint8, np.int16), d.shape(d.r.randint(1, 4))
    a, b = d.input(shape, np.float32, None), d.tensor(shape, dtype, (max(d.scale(), 1e-4), d.zero(dtype)))
    return d.operator("QUANTIZE", [a], [b], None, 1)


def _dequantize(d: Draw) -> bytes:
    dtype, shape = d.dtype(np.int8, np.uint8, np.int16), d.r.choice(ALL_BYTES)
    a, b = d.input(shape, dtype, d.quantized(dtype)), d.tensor(shape, np.float32, None)
    return d.operator("DEQUANTIZE", [a], [b], None, 3)


def _broadcast(d: Draw) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Two shapes and the one to which they broadcast."""
    result = d.r.choice((d.shape(d.r.randint(1, 4)), (1, 8, 8, 5), (256,)))
    pairs = [(1 if d.r.random() < 0.15 else n, 1 if d.r.random() < 0.15 else n) for n in result]
    first, second = zip(*pairs, strict=True)
    if d.r.random() < 0.2:
        second = second[d.r.randint(0, len(second) - 1) :]
    if d.r.random() < 0.5:
        first = second = result
    return first, second, tuple(np.broadcast_shapes(first, second))


def _binary(name: str, table: str, types: Sequence[Any] = BYTES, fused: Sequence[int] = ACTIVATIONS) -> Maker:
    def make(d: Draw) -> bytes:
        dtype, (first, second, result) = d.dtype(*types), _broadcast(d)
        a = d.quantized(dtype)
        b = d.quantized(dtype, a[0])
        near = a[0] * b[0] if name == "MUL" else max(a[0], b[0])
        y = d.quantized(dtype, near)
        options = (table, {"FusedActivationFunction": d.r.choice(fused)} if fused else {})
        inputs = [d.input(first, dtype, a), d.input(second, dtype, b)]
        return d.operator(name, inputs, [d.tensor(result, dtype, y)], options, 3 if name == "MUL" else 2)

    return make


def _same_scale(name: str, table: str, result: Any = None, types: Sequence[Any] = BYTES) -> Maker:
    """MAXIMUM and its kin, and comparisons, of operands of one scale."""
    number = 3 if name.startswith(("LESS", "GREATER")) else 4

    def make(d: Draw) -> bytes:
        dtype, (first, second, shape) = d.dtype(*types), _broadcast(d)
        given = d.quantized(dtype)
        b = d.input(second, dtype, given) if d.flip() else d.constant(d.integers(dtype, second), given)
        a = d.input(first, dtype, given)
        y = d.tensor(shape, result or dtype, given if result is None else None)
        return d.operator(name, [a, b], [y], (table, {}), number if dtype is np.int16 else 2)

    return make


def _prelu(d: Draw) -> bytes:
    dtype, shape = d.dtype(), d.r.choice(((1, 8, 8, 5), (2, 4, 3, 5), (1, 16, 16, 1)))
    x, alpha = d.quantized(dtype), d.quantized(dtype)
    slopes = d.r.choice(((1, 1, shape[-1]), shape[1:]))
    inputs = [d.input(shape, dtype, x), d.constant(d.integers(dtype, slopes), alpha)]
    return d.operator("PRELU", inputs, [d.tensor(shape, dtype, d.quantized(dtype, x[0]))], None, 1)


def _squared_difference(d: Draw) -> bytes:
    first, second, result = _broadcast(d)
    a = d.quantized(np.int8)
    b = d.quantized(np.int8, a[0])
    y = d.quantized(np.int8, max(a[0], b[0]) ** 2)
    inputs = [d.input(first, np.int8, a), d.input(second, np.int8, b)]
    options: Any = ("SquaredDifferenceOptions", {})
    return d.operator("SQUARED_DIFFERENCE", inputs, [d.tensor(result, np.int8, y)], options, 2)


def _window(d: Draw, size: int, dilations: Sequence[int] = (1,)) -> tuple[int, int, int, int, int]:
    """Padding, kernel, stride, dilation and results along a dimension of `size`."""
    kernel, stride = d.r.randint(1, 4), d.r.randint(1, 3)
    dilation = d.r.choice(dilations) if stride == 1 else 1
    extent = (kernel - 1) * dilation + 1
    padding = d.r.choice((0, 1)) if extent <= size else 0
    return padding, kernel, stride, dilation, -(-size // stride) if padding == 0 else (size - extent) // stride + 1


def _weights(d: Draw, dtype: Any, shape: Sequence[int], filters: int, axis: int, x: float) -> tuple[int, int, float]:
    """Weight and bias (or -1), and the largest scale of a product."""
    signed = dtype is np.int8
    weight = np.maximum(d.integers(np.int8, shape), -127) if signed else d.integers(np.uint8, shape)
    scales = [d.scale()]
    if signed and filters > 1 and d.flip():
        scales = [d.scale(scales[0]) for _ in range(filters)]
    given = {"scale": scales, "zero": 0 if signed else d.zero(np.uint8), "axis": axis}
    w = d.m.constant("weight", weight, **given)
    products = [float(np.float32(x) * np.float32(s)) for s in scales]
    bias = np.random.default_rng(d.r.getrandbits(30)).integers(-20000, 20000, filters).astype(np.int32)
    b = d.m.constant("bias", bias, scale=products)
    return w, b, max(products)


def _convolution(d: Draw) -> bytes:
    dtype = d.dtype()
    n, h, w, channels = d.r.choice((1, 2)), d.r.randint(1, 9), d.r.randint(1, 9), d.r.choice((1, 2, 3, 4, 8, 16))
    padding, size, stride, dilation, rows = _window(d, h, (1, 1, 2))
    extent = (size - 1) * dilation + 1
    if padding == 1 and extent > w:
        w = extent
    columns = -(-w // stride) if padding == 0 else (w - extent) // stride + 1
    x = d.quantized(dtype)
    fields = {
        "Padding": padding,
        "StrideW": stride,
        "StrideH": stride,
        "FusedActivationFunction": d.r.choice(ACTIVATIONS),
    }
    fields |= {"DilationWFactor": dilation, "DilationHFactor": dilation}
    place = d.input((n, h, w, channels), dtype, x)
    if d.flip():
        multiplier = d.r.choice((1, 1, 2))
        filters = channels * multiplier
        weight, bias, product = _weights(d, dtype, (1, size, size, filters), filters, 3, x[0])
        name, table = "DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions"
        fields["DepthMultiplier"] = multiplier
    else:
        filters = d.r.choice((1, 2, 7, 8, 17))
        weight, bias, product = _weights(d, dtype, (filters, size, size, channels), filters, 0, x[0])
        name, table = "CONV_2D", "Conv2DOptions"
    y = d.tensor((n, rows, columns, filters), dtype, d.quantized(dtype, product * 2 ** d.r.uniform(0, 12)))
    return d.operator(name, [place, weight, bias], [y], (table, fields), 3)


def _transposed(d: Draw) -> bytes:
    dtype = d.dtype()
    h, w, channels, filters = d.r.randint(1, 5), d.r.randint(1, 5), d.r.randint(1, 4), d.r.randint(1, 6)
    size, stride, padding = d.r.randint(1, 3), d.r.randint(1, 2), d.r.choice((0, 1))
    # That is the size from which a convolution leads back to the input's.
    rows, columns = (n * stride if padding == 0 else (n - 1) * stride + size for n in (h, w))
    x = d.quantized(dtype)
    shape = d.constant(np.array((1, rows, columns, filters), np.int32))
    weight, bias, product = _weights(d, dtype, (filters, size, size, channels), filters, 0, x[0])
    place = d.input((1, h, w, channels), dtype, x)
    y = d.tensor((1, rows, columns, filters), dtype, d.quantized(dtype, product * 2 ** d.r.uniform(0, 10)))
    fields = {"Padding": padding, "StrideW": stride, "StrideH": stride}
    inputs = [shape, weight, place] if bias < 0 else [shape, weight, place, bias]
    return d.operator("TRANSPOSE_CONV", inputs, [y], ("TransposeConvOptions", fields), 3 if bias >= 0 else 2)


def _dense(d: Draw) -> bytes:
    dtype = d.dtype()
    rows, inputs, units = d.r.choice((1, 2, 5)), d.r.choice((1, 3, 16, 50)), d.r.choice((1, 2, 7, 16))
    x = d.quantized(dtype)
    weight, bias, product = _weights(d, dtype, (units, inputs), 1, 0, x[0])
    if bias >= 0:
        bias = d.m.constant("biases", d.integers(np.int16, (units,)).astype(np.int32), scale=product)
    place = d.input((rows, inputs), dtype, x)
    y = d.tensor((rows, units), dtype, d.quantized(dtype, product * 2 ** d.r.uniform(0, 12)))
    fields = {"FusedActivationFunction": d.r.choice(ACTIVATIONS)}
    return d.operator("FULLY_CONNECTED", [place, weight, bias], [y], ("FullyConnectedOptions", fields), 4)


def _pool(name: str) -> Maker:
    def make(d: Draw) -> bytes:
        dtype, (h, w) = d.dtype(*BYTES, np.int16), (d.r.randint(1, 9), d.r.randint(1, 9))
        padding, size, stride, _, rows = _window(d, h)
        w = max(w, size)
        columns = -(-w // stride) if padding == 0 else (w - size) // stride + 1
        given, channels = d.quantized(dtype), d.r.choice((1, 3, 8))
        x, y = d.input((1, h, w, channels), dtype, given), d.tensor((1, rows, columns, channels), dtype, given)
        fields = {"Padding": padding, "StrideW": stride, "StrideH": stride, "FilterWidth": size, "FilterHeight": size}
        fields["FusedActivationFunction"] = d.r.choice(ACTIVATIONS)
        return d.operator(name, [x], [y], ("Pool2DOptions", fields), 3 if dtype is np.int16 else 2)

    return make


def _reduce(name: str, *, rescales: bool, types: Sequence[Any] = BYTES) -> Maker:
    def make(d: Draw) -> bytes:
        dtype, shape = d.dtype(*types), d.shape(d.r.randint(1, 4), 9)
        axes = sorted(d.r.sample(range(len(shape)), d.r.randint(1, len(shape))))
        keep = d.flip()
        result = [1 if i in axes else n for i, n in enumerate(shape) if keep or i not in axes]
        given = d.quantized(dtype)
        y = d.quantized(dtype, given[0]) if rescales and d.r.random() < 0.8 else given
        x, axis = d.input(shape, dtype, given), d.constant(np.array(axes, np.int32))
        options = ("ReducerOptions", {"KeepDims": keep})
        return d.operator(name, [x, axis], [d.tensor(result, dtype, y)], options, 3 if dtype is np.int16 else 2)

    return make


def _rows(name: str, table: str, target: Callable[[Draw, Any, float], Scale], types: Sequence[Any] = BYTES) -> Maker:
    """SOFTMAX and its kin, over the last dimension."""

    def make(d: Draw) -> bytes:
        dtype = d.dtype(*types)
        shape = (*d.shape(d.r.randint(1, 3)), d.r.choice((1, 2, 5, 37, 256)))
        x = d.quantized(dtype)
        options: dict[str, Any] = {"Beta": d.r.choice((1.0, 1.0, 0.5, 2.0))} if name == "SOFTMAX" else {}
        a, b = d.input(shape, dtype, x), d.tensor(shape, dtype, target(d, dtype, x[0]))
        return d.operator(name, [a], [b], (table, options), 2)

    return make


def _lstm(d: Draw) -> bytes:
    """A layer of 16-bit cells over a short sequence."""
    batch, times, inputs, cells = d.r.choice((1, 2)), d.r.randint(1, 4), d.r.choice((1, 5)), d.r.choice((1, 3, 8))
    x, y = (2.0 ** d.r.uniform(-9, -2), d.zero(np.int8)), (2.0 ** d.r.uniform(-9, -6), d.zero(np.int8))
    place = d.input((batch, times, inputs), np.int8, x)
    weights = []
    for n in (*(inputs,) * 4, *(cells,) * 4):
        scale = float(np.float32(2.0 ** d.r.uniform(-10, -4)))
        weights.append(d.constant(np.maximum(d.integers(np.int8, (cells, n)), -127), (scale, 0)))
    biases = [d.constant(d.integers(np.int16, (cells,)).astype(np.int32), (1e-4, 0)) for _ in range(4)]
    state, cell = d.m.variable("state", (batch, cells), np.int8), d.m.variable("cell", (batch, cells), np.int16)
    d.m.tensors[state].update(scales=[y[0]], zero=y[1])
    d.m.tensors[cell].update(scales=[2.0 ** d.r.randint(-15, -9)], zero=0)
    between = [d.tensor((0,), np.float32, None) for _ in range(4)]
    between.append(d.tensor((0,), np.int8, (2.0 ** d.r.uniform(-9, -6), d.zero(np.int8))))
    operands = [place, *weights, -1, -1, -1, *biases, -1, -1, state, cell, -1, -1, -1, -1]
    result = d.tensor((batch, times, cells), np.int8, y)
    fields = {"FusedActivationFunction": 4, "CellClip": d.r.choice((0.0, 4.0))}
    name = "UNIDIRECTIONAL_SEQUENCE_LSTM"
    d.m.operator(name, operands, [result], ("UnidirectionalSequenceLSTMOptions", fields), intermediates=between)
    return d.m.data(d.inputs, [result])


MAKERS: Mapping[str, Maker] = {
    **random_bounds.MAKERS,
    **random_moves.MAKERS,
    **random_products.MAKERS,
    "ADD": _binary("ADD", "AddOptions"),
    "SUB": _binary("SUB", "SubOptions"),
    "MUL": _binary("MUL", "MulOptions"),
    "PRELU": _prelu,
    "SQUARED_DIFFERENCE": _squared_difference,
    "MAXIMUM": _same_scale("MAXIMUM", "MaximumMinimumOptions", types=(*BYTES, np.int16)),
    "MINIMUM": _same_scale("MINIMUM", "MaximumMinimumOptions", types=(*BYTES, np.int16)),
    "LESS": _same_scale("LESS", "LessOptions", np.bool_, (*BYTES, np.int16)),
    "LESS_EQUAL": _same_scale("LESS_EQUAL", "LessEqualOptions", np.bool_),
    "GREATER": _same_scale("GREATER", "GreaterOptions", np.bool_),
    "GREATER_EQUAL": _same_scale("GREATER_EQUAL", "GreaterEqualOptions", np.bool_, (*BYTES, np.int16)),
    "EQUAL": _same_scale("EQUAL", "EqualOptions", np.bool_, (*BYTES, np.int16)),
    "NOT_EQUAL": _same_scale("NOT_EQUAL", "NotEqualOptions", np.bool_, (*BYTES, np.int16)),
    "RELU": _unary("RELU", types=(*BYTES, np.int16)),
    "RELU6": _unary("RELU6", types=(*BYTES, np.int16), target=_half(6)),
    "RELU_N1_TO_1": _unary("RELU_N1_TO_1", target=_half(1), version=1),
    "LEAKY_RELU": _unary("LEAKY_RELU", _leaky),
    "HARD_SWISH": _unary("HARD_SWISH", version=1),
    "LOGISTIC": _unary("LOGISTIC", target=_fixed((1 / 256, -128), (1 / 256, 0))),
    "TANH": _unary("TANH", target=_fixed((1 / 128, 0), (1 / 128, 128))),
    "EXP": _unary("EXP", types=(np.int8,)),
    "ABS": _unary("ABS", types=(np.int8,)),
    "RSQRT": _rsqrt,
    "SOFTMAX": _rows("SOFTMAX", "SoftmaxOptions", _fixed((1 / 256, -128), (1 / 256, 0))),
    "LOG_SOFTMAX": _rows("LOG_SOFTMAX", "LogSoftmaxOptions", _fixed((16 / 256, 127), (16 / 256, 255)), (np.int8,)),
    "L2_NORMALIZATION": _rows("L2_NORMALIZATION", "L2NormOptions", _fixed((1 / 128, 0), (1 / 128, 128))),
    "QUANTIZE": _quantize,
    "QUANTIZE of integers": _requantize,
    "DEQUANTIZE": _dequantize,
    "CONV_2D": _convolution,
    "TRANSPOSE_CONV": _transposed,
    "FULLY_CONNECTED": _dense,
    "AVERAGE_POOL_2D": _pool("AVERAGE_POOL_2D"),
    "MAX_POOL_2D": _pool("MAX_POOL_2D"),
    "MEAN": _reduce("MEAN", rescales=True, types=(*BYTES, np.int16)),
    "SUM": _reduce("SUM", rescales=True, types=(np.uint8,)),
    "REDUCE_MAX": _reduce("REDUCE_MAX", rescales=False, types=(*BYTES, np.int16)),
    "REDUCE_MIN": _reduce("REDUCE_MIN", rescales=False, types=(*BYTES, np.int16)),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
}
"""What draws each operator that has a form on integers."""


def random_operator(r: Random, name: str | None = None) -> tuple[str, bytes]:
    """The name of an operator, which is drawn unless it is given, and a file."""
    name = name or r.choice(sorted(MAKERS))
    return name, MAKERS[name](Draw(r))
