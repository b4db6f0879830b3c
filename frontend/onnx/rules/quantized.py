"""Quantized numbers: conversion from and to them, and products of integers, exact as ONNX defines them."""

from __future__ import annotations

import numpy as np

from ....compiler.graph.ir import Value
from ....compiler.ops.windows.window import dilated
from ....compiler.types import DType, Quantization
from ..library import library
from ..node import Node
from ..registry import onnx
from ..tensors import dtype_of
from .convolutions import padding_of, per_dimension, product


def _along(c: Node, term: Value, x: Value, axis: int, block: int) -> Value:
    """A scale or zero point in the shape in which it meets x: one for all, for each index of an axis, or for blocks."""
    if not term.type.rank or term.type.shape == (1,):
        return c.reshape(term, ())
    if block:
        shape = x.type.shape
        wide = (*term.type.shape[: axis + 1], 1, *term.type.shape[axis + 1 :])
        full = (*term.type.shape[: axis + 1], block, *term.type.shape[axis + 1 :])
        joined = (*term.type.shape[:axis], term.type.shape[axis] * block, *term.type.shape[axis + 1 :])
        whole = c.reshape(c.broadcast(c.reshape(term, wide), full), joined)
        return c.emit("slice", whole, begin=(0,) * len(shape), size=shape) if joined != shape else whole
    if term.type.rank == 1:
        return c.reshape(term, [-1 if d == axis else 1 for d in range(x.type.rank)])
    return term


def _axis(c: Node, x: Value) -> tuple[int, int]:
    axis, block = int(c.attribute("axis", 1)), int(c.attribute("block_size", 0))
    return (axis % x.type.rank if x.type.rank else 0), block


_NARROW = (DType.I8, DType.U8, DType.I16)


def stated(c: Node, scale: int, zero: int, dtype: DType) -> Quantization | None:
    """What integers stand for by these inputs, if they are one known scale and zero point that types can state."""
    factor, point = c.known(scale), c.known(zero)
    if factor is None or (point is None and c.has(zero)) or dtype not in _NARROW:
        return None
    if factor.dtype != np.float32 or factor.size != 1:
        return None
    if not 0 < (number := float(factor.reshape(()))) < np.inf or (point is not None and point.size != 1):
        return None
    return Quantization.of(number, 0 if point is None else int(point.reshape(())))


def real(c: Node, x: Value, given: Quantization) -> Value:
    """The floats (f32) that integers stand for."""
    if x.type.quantization != given:
        x = c.emit("reinterpret", x, y=given)
    return c.emit("dequantize", x, x=given)


@onnx("QuantizeLinear", since=10)
def quantize_linear(c: Node) -> Value:
    """X / scale, rounded half to even, plus the zero point, within the integers of its type."""
    c.ignore("saturate")
    x = c.value(0)
    axis, block = _axis(c, x)
    code = int(c.attribute("output_dtype", 0))
    dtype = c.type(2).dtype if c.has(2) else dtype_of(code) if code else DType.U8
    precision = int(c.attribute("precision", 0))
    zero = c.value(2) if c.has(2) else None
    kind = dtype_of(precision) if precision else c.type(1).dtype
    given = stated(c, 1, 2, dtype)
    if given is not None and x.type.dtype is kind is DType.F32:
        return c.emit("quantize_even", x, dtype=str(dtype), y=given)
    return _quantized(c, c.cast(x, kind), c.cast(c.value(1), kind), zero, dtype, axis, block)


def _quantized(
    c: Node, x: Value, scale: Value, zero: Value | None, dtype: DType, axis: int = 0, block: int = 0
) -> Value:
    if dtype not in _NARROW:
        c.unsupported(f"quantized numbers of type {dtype} are not supported")
    y = c.emit("round", c.emit("div", x, _along(c, scale, x, axis, block)))
    y = c.cast(y, DType.F32) if y.type.dtype is DType.F16 else y
    if zero is not None:
        y = c.emit("add", y, c.cast(_along(c, zero, x, axis, block), y.type.dtype))
    smallest = c.scalar(float(np.iinfo(str(dtype.numpy)).min), y)  # what `quantize_even` makes of NaN
    return c.cast(c.emit("select", c.emit("greater", y, smallest), y, smallest), dtype)


@onnx("DequantizeLinear", since=10)
def dequantize_linear(c: Node) -> Value:
    """(x - zero point) * scale."""
    code = int(c.attribute("output_dtype", 0))
    if c.known(0) is None and code in (0, library().TensorProto.FLOAT):
        given = stated(c, 1, 2, c.type(0).dtype)
        if given is not None:
            c.ignore("axis", "block_size")
            return real(c, c.value(0), given)
    scale = c.number(1, DType.F32) if c.tensor(1).foreign is not None else c.value(1)
    dtype = dtype_of(code) if code else c.type(1).dtype
    word = c.tensor(0).foreign or ""
    wide = c.number(0, DType.F32 if "float" in word else DType.I64 if word == "uint32" else DType.I32)
    axis, block = _axis(c, wide)
    if c.has(2):
        wide = c.emit("sub", wide, _along(c, c.number(2, wide.type.dtype), wide, axis, block))
    kind = DType.F32 if scale.type.dtype is DType.F16 else scale.type.dtype
    y = c.emit("mul", c.cast(wide, kind), c.cast(_along(c, scale, wide, axis, block), kind))
    return c.cast(y, dtype)


def dynamic_bytes(c: Node, x: Value) -> tuple[Value, Value, Value]:
    """Floats as bytes, the whole number that stands for zero, and their scale: as DynamicQuantizeLinear has them.

    The scale reaches from the smallest element to the largest, and over 0.
    """
    low = c.emit("minimum", c.emit("reduce_min", x), c.scalar(0, x))
    high = c.emit("maximum", c.emit("reduce_max", x), c.scalar(0, x))
    scale = c.emit("div", c.emit("sub", high, low), c.scalar(255, x))
    scale = c.emit("select", c.emit("equal", scale, c.scalar(0, x)), c.scalar(1, x), scale)
    zero = c.emit("clamp", c.emit("round", c.emit("neg", c.emit("div", low, scale))), low=0.0, high=255.0)
    whole = c.emit("add", c.emit("round", c.emit("div", x, scale)), zero)
    return c.cast(c.emit("clamp", whole, low=0.0, high=255.0), DType.U8), zero, scale


# ---- products of integers --------------------------------------------------------------------------------------------


def centred(c: Node, place: int, zero: int, axis: int) -> Value:
    """An input without its zero point, in doubles, which hold all sums of products of bytes."""
    x = c.value(place)
    wide = c.cast(x, DType.F64)
    if not c.has(zero):
        return wide
    term = c.cast(c.value(zero), DType.F64)
    return c.emit("sub", wide, _zero_of(c, term, x, axis))


def _zero_of(c: Node, term: Value, x: Value, axis: int) -> Value:
    if not term.type.rank or term.type.shape == (1,):
        return c.reshape(term, ())
    if term.type.rank == 1:
        return c.reshape(term, [-1 if d == axis % x.type.rank else 1 for d in range(x.type.rank)])
    return term


@onnx("MatMulInteger", since=10)
def matmul_integer(c: Node) -> Value:
    """Products of matrices of 8-bit integers, in 32 bits."""
    return c.cast(product(c, centred(c, 0, 2, -2), centred(c, 1, 3, -1)), DType.I32)


def reals(c: Node, place: int, dtype: DType = DType.F64, axis: int = 0) -> Value:
    """Integers, scale and zero point from input `place` on as the numbers that they stand for.

    Those of a weight may have a scale for each index of an axis.
    """
    numbers, scale = c.known(place), c.known(place + 1)
    if numbers is None or scale is None or (c.has(place + 2) and c.known(place + 2) is None):
        return _real_values(c, place, dtype, axis)
    zero = np.asarray(0) if not c.has(place + 2) else c.constant(place + 2)
    shape = [-1 if d == axis % numbers.ndim else 1 for d in range(numbers.ndim)]
    scale, zero = (a.reshape(()) if a.size == 1 else a.reshape(shape) if a.ndim == 1 else a for a in (scale, zero))
    return c.made(((numbers.astype(np.float64) - zero) * scale.astype(np.float64)).astype(dtype.numpy))


def _real_values(c: Node, place: int, dtype: DType, axis: int) -> Value:
    given = stated(c, place + 1, place + 2, c.type(place).dtype)
    if given is not None:
        return c.cast(real(c, c.value(place), given), dtype)
    x = centred(c, place, place + 2, axis)
    return c.cast(c.emit("mul", x, _zero_of(c, c.cast(c.value(place + 1), DType.F64), x, axis)), dtype)


def again(c: Node, y: Value, place: int, operand: int = 0) -> Value:
    """Numbers as integers by the scale and zero point at `place` and behind; without that one of the operand's type."""
    dtype = c.type(place + 1 if c.has(place + 1) else operand).dtype
    given = stated(c, place, place + 1, dtype)
    if given is not None:
        return c.emit("quantize_even", y, dtype=str(dtype), y=given)
    zero = c.value(place + 1) if c.has(place + 1) else None
    return _quantized(c, y, c.cast(c.value(place), y.type.dtype), zero, dtype)


@onnx("QLinearMatMul", since=10)
def qlinear_matmul(c: Node) -> Value:
    """Products of matrices of quantized numbers, quantized again."""
    is_weight = c.known(3) is not None
    return again(c, product(c, reals(c, 0, axis=-2), reals(c, 3, axis=-1), is_weight=is_weight), 6)


def _convolved(c: Node, x: Value, w: Value, bias: Value | None = None) -> Value:
    """The convolution of [N, C, spatial...] in doubles, by the attributes of Conv."""
    spatial = x.type.rank - 2
    kernel = w.type.shape[2:]
    if tuple(c.attribute("kernel_shape", kernel)) != kernel:
        c.unsupported("`kernel_shape` doesn't fit the weight")
    strides, dilations = per_dimension(c, "strides", spatial), per_dimension(c, "dilations", spatial)
    padding = padding_of(c, x.type.shape[2:], dilated(kernel, dilations), strides)
    rules = {"strides": strides, "dilations": dilations, "padding": padding, "groups": int(c.attribute("group", 1))}
    weight = c.transpose(w, (*range(2, spatial + 2), 1, 0))
    more = (bias,) if bias is not None else ()
    return c.channels_first(c.emit(f"conv{spatial}d", c.channels_last(x), weight, *more, **rules))


@onnx("ConvInteger", since=10)
def conv_integer(c: Node) -> Value:
    """Convolution of 8-bit integers, in 32 bits."""
    return c.cast(_convolved(c, centred(c, 0, 2, 0), centred(c, 1, 3, 0)), DType.I32)


@onnx("QLinearConv", since=10)
def qlinear_conv(c: Node) -> Value:
    """Convolution of quantized numbers, quantized again; ONNX Runtime's own may have its channels last."""
    bias = bias_of(c, 8, DType.F64) if c.has(8) else None
    x, is_last = reals(c, 0), c.flag("channels_last")
    y = _convolved(c, c.channels_first(x) if is_last else x, reals(c, 3), bias)
    return again(c, c.channels_last(y) if is_last else y, 6)


def bias_of(c: Node, place: int, dtype: DType) -> Value:
    """A bias (i32), whose scale is the product of those at inputs 1 and 4, as the numbers that it stands for."""
    known = [c.known(i) for i in (1, 4, place)]
    if all(a is not None for a in known):
        x, weight, numbers = (np.asarray(a).astype(np.float64) for a in known)
        return c.made((x.reshape(-1) * weight.reshape(-1) * numbers).astype(dtype.numpy))
    scales = c.emit("mul", *(c.reshape(c.cast(c.value(i), dtype), [-1]) for i in (1, 4)))
    return c.emit("mul", c.cast(c.value(place), dtype), scales)
