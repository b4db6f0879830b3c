"""TFLite's operators that work element by element, on floats, plain integers and quantized integers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...compiler.graph.ir import Value
from ...compiler.graph.types import DType
from .context import Context

Converter = Callable[[Context], Value]


def _binary(name: str) -> Converter:
    """ADD, SUB, MUL: quantized, or plain with a fused activation."""

    def convert(c: Context) -> Value:
        a, b = c.value(0), c.value(1)
        if not c.is_quantized:
            return c.activated(c.emit(name, a, b))
        if c.output_type().dtype is DType.I16:
            c.unsupported("16-bit activations are not supported")
        return c.emit(
            f"q_{name}", a, b, a=c.quantization(0), b=c.quantization(1), y=c.output_quantization(), **c.fused_range()
        )

    return convert


def _plain_binary(name: str) -> Converter:
    """Operators without a quantized form of their own."""

    def convert(c: Context) -> Value:
        if c.is_quantized and name not in ("maximum", "minimum"):
            c.unsupported("its quantized form is not supported")
        result = c.emit(name, c.value(0), c.value(1))
        return c.activated(result) if c.option("fused_activation_function", 0) else result

    return convert


def _plain_unary(name: str) -> Converter:
    def convert(c: Context) -> Value:
        if c.is_quantized:
            c.unsupported("its quantized form is not supported")
        return c.emit(name, c.value(0))

    return convert


def _clipped(low: float | None, high: float | None) -> Converter:
    """RELU and its kin, which may change the scale too."""

    def convert(c: Context) -> Value:
        x = c.value(0)
        if not c.is_quantized:
            if high is None:
                return c.emit("relu", x)
            return c.emit("clamp", x, low=low, high=high)
        y = c.output_quantization()
        dtype = c.output_type().dtype
        info = np.iinfo(str(dtype.numpy))
        scaled = x if c.quantization(0) == y else c.emit("requantize", x, dtype=str(dtype), x=c.quantization(0), y=y)
        bounds = [None if b is None else y.zero_point + round(b / y.scale) for b in (low, high)]
        lowest = int(info.min) if bounds[0] is None else max(bounds[0], int(info.min))
        highest = int(info.max) if bounds[1] is None else min(bounds[1], int(info.max))
        return c.emit("clamp", scaled, low=lowest, high=max(lowest, highest))

    return convert


def _byte_function(name: str, float_name: str) -> Converter:
    """LOGISTIC, TANH."""

    def convert(c: Context) -> Value:
        if not c.is_quantized:
            return c.emit(float_name, c.value(0))
        return c.emit(name, c.value(0), x=c.quantization(0), y=c.output_quantization())

    return convert


def quantize(c: Context) -> Value:
    """QUANTIZE: from floats, or from one scale to another."""
    x, y, dtype = c.value(0), c.output_quantization(), str(c.output_type().dtype)
    if x.type.dtype.is_float:
        return c.emit("quantize", x, dtype=dtype, y=y)
    return c.emit("requantize", x, dtype=dtype, x=c.quantization(0), y=y)


def dequantize(c: Context) -> Value:
    """DEQUANTIZE; constants, which may have a scale for each channel, are turned into floats at once."""
    given, array = c.type(0).quantization, c.tensor(0).array()
    if given is None:
        return c.cast(c.value(0), DType.F32)
    if array is None:
        return c.emit("dequantize", c.value(0), x=c.quantization(0))
    shape = [1] * array.ndim
    if given.axis is not None:
        shape[given.axis] = -1
    scales = np.array(given.scales, np.float32).reshape(shape)
    zero_points = np.array(given.zero_points, np.int64).reshape(shape)
    return c.builder.constant(
        (array - zero_points).astype(np.float32).reshape(array.shape) * scales.reshape(shape if array.ndim else ())
    )


def cast(c: Context) -> Value:
    """CAST; the types of the tensors say from what to what."""
    return c.emit("cast", c.value(0), dtype=str(c.output_type().dtype))


def hard_swish(c: Context) -> Value:
    """HARD_SWISH: x * relu6(x + 3) / 6."""
    if c.is_quantized:
        c.unsupported("its quantized form is not supported")
    return c.emit("mul", c.value(0), c.emit("hard_sigmoid", c.value(0)))


def leaky_relu(c: Context) -> Value:
    """LEAKY_RELU."""
    alpha = float(c.option("alpha", 0.0))
    if c.is_quantized:
        return c.emit("q_leaky_relu", c.value(0), x=c.quantization(0), y=c.output_quantization(), alpha=alpha)
    return c.emit("leaky_relu", c.value(0), alpha=alpha)


CONVERTERS: dict[str, Converter] = {
    "ADD": _binary("add"),
    "SUB": _binary("sub"),
    "MUL": _binary("mul"),
    "DIV": _plain_binary("div"),
    "FLOOR_DIV": _plain_binary("floor_div"),
    "MAXIMUM": _plain_binary("maximum"),
    "MINIMUM": _plain_binary("minimum"),
    "RELU": _clipped(0.0, None),
    "RELU6": _clipped(0.0, 6.0),
    "RELU_N1_TO_1": _clipped(-1.0, 1.0),
    "LOGISTIC": _byte_function("q_logistic", "sigmoid"),
    "TANH": _byte_function("q_tanh", "tanh"),
    "HARD_SWISH": hard_swish,
    "LEAKY_RELU": leaky_relu,
    "SQRT": _plain_unary("sqrt"),
    "EXP": _plain_unary("exp"),
    "LOG": _plain_unary("log"),
    "NEG": _plain_unary("neg"),
    "ABS": _plain_unary("abs"),
    "QUANTIZE": quantize,
    "DEQUANTIZE": dequantize,
    "CAST": cast,
}
