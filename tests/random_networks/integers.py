"""Operators on quantized numbers, and the parts that they are made of."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from netc.compiler.graph import Value
from netc.compiler.graph.registry import lookup
from netc.compiler.ops.functions.activations import ACTIVATIONS
from netc.compiler.ops.quantized.base import activation_range
from netc.compiler.ops.quantized.elementwise import QSum
from netc.compiler.ops.quantized.fixed_point import quantize_multiplier
from netc.compiler.types import DType, Quantization

from .contractions import convolution_of, enlarging, groups_and_channels, pooling
from .elementwise import broadcast_shape, flags
from .maker import BYTES, Maker, Shape, UnfitError
from .recipes import recipe

SCALES = (0.5, 0.05, 1.0, 0.0039, 0.1, 2.0, 1e-3, 0.013)
KNOWN = ("param", "constant")
"""Where values come from that are known when weights are loaded."""
SHORTS = (*BYTES, DType.I16)


def zero_point(m: Maker, dtype: DType) -> int:
    """A zero point of an element type, ends included."""
    if dtype is DType.U8:
        return m.choice((0, 128, 255, 7))
    return m.choice((0, 0, -128, 127, 5)) if dtype is DType.I8 else 0


def quantization(m: Maker, dtype: DType) -> Quantization:
    return Quantization.of(m.choice(SCALES), zero_point(m, dtype))


def quantization_of(value: Value) -> Quantization:
    """What a value's type says."""
    given = value.type.quantization
    if given is None or not given.is_per_tensor:
        raise UnfitError
    return given


def stated(m: Maker, value: Value) -> Value:
    """The value, with a drawn quantization where its type states none."""
    if value.type.quantization is not None:
        return value
    return m.emit("reinterpret", value, y=quantization(m, value.type.dtype))


def quantized(m: Maker, dtypes: tuple[DType, ...] = BYTES, shape: Any = None, fits: Any = None) -> Value:
    """A quantized operand with elements."""
    known = [v for v in m.known(dtypes, fits, shape, None) if v.type.size]
    if known and not m.flag(3):
        return stated(m, known[m.number(0, min(len(known), 4) - 1)])
    dtype = m.choice(dtypes)
    made = shape() if callable(shape) else m.shape() if shape is None else shape
    value = m.leaf(dtype, made, quantization=quantization(m, dtype))
    if not value.type.size or (fits is not None and not fits(value.type)):
        raise UnfitError
    return value


def bounds(m: Maker, dtype: DType, y: Quantization | None = None) -> dict[str, Any]:
    """The range of a fused activation: mostly none; with a name for some whose scale y is given."""
    info = np.iinfo(str(dtype.numpy))
    if y is not None and y.is_per_tensor and m.flag(5):
        return activation_range(m.choice(tuple(ACTIVATIONS)), dtype, y)
    if not m.flag(3):
        return {"low": None, "high": None}
    return {"low": m.choice((info.min, max(info.min, -5), 3)), "high": m.choice((info.max, 20))}


@recipe("q_add", "q_sub", "q_mul", "q_div", "q_prelu", "q_squared_difference")
def binary(m: Maker, name: str) -> Value:
    a = quantized(m, SHORTS)
    other = DType.I8 if name == "q_prelu" and a.type.dtype is DType.I16 else a.type.dtype
    b = a if m.flag(5) else quantized(m, (other,), shape=lambda: broadcast_shape(m, a.type.shape))
    scales = {"a": quantization_of(a), "b": quantization_of(b), "y": quantization(m, a.type.dtype)}
    if a is b:
        scales["b"] = scales["a"]
    shifts: dict[str, Any] = {}
    if name in ("q_add", "q_sub") and a.type.dtype is DType.I16 and m.flag():
        powers = [Quantization.of(m.choice((0.5, 1.0, 2.0))) for _ in "ab"]
        a, b = (m.emit("reinterpret", x, y=y) for x, y in zip((a, b), powers, strict=True))
        scales = {"a": powers[0], "b": powers[1], "y": max(powers, key=lambda y: y.scale)}
        shifts = {"shifts": True}
    given = {**scales, **shifts, **bounds(m, a.type.dtype, scales["y"])}
    operator = lookup(name)
    if isinstance(operator, QSum) and m.flag():
        given["reals"] = operator.reals(a.type.dtype, {"shifts": False, **given})
    return m.emit(name, a, b, **given)


@recipe("q_leaky_relu", "q_log")
def function(m: Maker, name: str) -> Value:
    """A function of one quantized number."""
    x = quantized(m, SHORTS)
    given: dict[str, Any] = {"x": quantization_of(x), "y": quantization(m, x.type.dtype), **flags(m, name)}
    if name == "q_leaky_relu":
        given["alpha"] = m.choice((0.1, 0.5, -0.3, 1.5))
    return m.emit(name, x, **given)


SHARES = {"q_softmax": (1 / 256, -128), "q_log_softmax": (1 / 16, 127), "q_l2_normalize": (1 / 128, 0)}
"""The only scale that results have, and its zero point for i8."""


@recipe(*SHARES)
def over_rows(m: Maker, name: str) -> Value:
    dtypes = (DType.I8,) if name == "q_log_softmax" else BYTES
    x = quantized(m, dtypes, lambda: m.shape((2, 1, 3, 4)), lambda t: t.rank > 0)
    given: dict[str, Any] = {"x": quantization_of(x)}
    scale, zero = SHARES[name]
    y = x.type.dtype
    if name == "q_softmax":
        y = m.choice((y, DType.I16))
        given |= {"dtype": str(y), "beta": m.choice((1.0, 0.5, 2.0))}
        scale = 1 / 65536 if y is DType.I16 else scale
    lowest = int(np.iinfo(str(y.numpy)).min)
    scale *= m.choice((1.0, 1.0001))  # some converters round it
    return m.emit(name, x, y=Quantization.of(scale, zero + 128 + lowest), **given)


@recipe("softmax_share")
def softmax_share(m: Maker, name: str) -> Value:
    shape, dtype = m.shape((2, 1, 3), end=(m.choice((4, 1, 7, 19)),)), m.choice(("i8", "u8", "i16"))
    total = _total(m, (*shape[:-1], 1))
    factor = (m.emit(part, total, dtype=dtype) for part in ("softmax_reciprocal", "softmax_exponent"))
    x = m.leaf(DType.I32, shape, str((1 << 31) - 1))
    return m.emit(name, x, *factor, y=quantization(m, DType.I8), dtype=dtype)


def _total(m: Maker, shape: Shape) -> Value:
    """Sums of exponentials, of which one is 1."""
    return m.emit(
        "add", m.leaf(DType.I32, shape, str(m.choice((1 << 21, (1 << 31) - (1 << 20))))), m.scalar(1 << 19, DType.I32)
    )


@recipe("log_share", "l2_share")
def share(m: Maker, name: str) -> Value:
    """The last steps of operators over rows, on numbers such as the steps before them give."""
    shape = m.shape((2, 1, 3), end=(m.choice((4, 1, 7)),))
    if name == "l2_share":
        x = quantized(m, BYTES, shape)
        given: dict[str, Any] = {"x": quantization_of(x)}
        total = m.leaf(DType.I64, (*shape[:-1], 1), "100000")
    else:
        x = m.emit("neg", m.leaf(DType.I64, shape, str((1 << 31) - 1)))
        given = {"dtype": m.choice(("i8", "u8"))}
        total = m.emit("add", m.leaf(DType.I64, (*shape[:-1], 1), str(1 << 21)), m.scalar(1 << 18, DType.I64))
    return m.emit(name, x, total, y=quantization(m, DType.I8), **given)


@recipe("softmax_reciprocal", "softmax_exponent")
def softmax_factor(m: Maker, name: str) -> Value:
    return m.emit(name, _total(m, m.shape((2, 1, 3))), dtype=m.choice(("i8", "u8", "i16")))


def _weight(m: Maker, shape: Shape, dtype: DType) -> tuple[Value, Quantization]:
    """8-bit weights, with one scale or one for each filter."""
    if m.flag() and shape[-1] and dtype is DType.I8:
        scales = tuple(m.choice(SCALES) for _ in range(shape[-1]))
        given = Quantization(scales, (0,) * len(scales), len(shape) - 1)
    else:
        given = Quantization.of(m.choice(SCALES), m.choice((0, 0, 3)) if dtype is DType.I8 else m.choice((0, 128, 255)))
    return m.weight(dtype, shape, quantization=given if m.flag() else None), given


def _contraction(
    m: Maker, name: str, x: Value, weight: Value, given: Quantization, attributes: dict[str, Any]
) -> Value:
    """The operator with its bias and its scales, or only the sum of products."""
    short, as_sum = x.type.dtype is DType.I16, name.endswith("_sum")
    sums = m.choice((None, "i32", "i64") if short and not as_sum else (None, "i32"))
    kind = DType(sums) if sums else DType.I64 if short else DType.I32
    bias = [m.weight(kind, weight.type.shape[-1:])] if m.flag() else []
    scales = quantization_of(x)
    if as_sum:
        zeros = {"x_zero": scales.zero_point, "weight_zero": given.zero_points[0]}
        return m.emit(name, x, weight, *bias, **attributes, **zeros)
    if name != "q_dense":
        attributes = {**attributes, "rounded_product": m.flag()}
    y = quantization(m, x.type.dtype)
    return m.emit(
        name,
        x,
        weight,
        *bias,
        x=scales,
        weight=given,
        y=y,
        sums=sums,
        **bounds(m, x.type.dtype, y if name.startswith("q_") else None),
        **attributes,
    )


def _storage(name: str) -> tuple[DType, ...]:
    """Element types of activations: sums are those of bytes."""
    return BYTES if name.endswith("_sum") else SHORTS


def _signs(m: Maker, x: Value) -> DType:
    return DType.I8 if x.type.dtype is not DType.U8 or m.flag() else DType.U8


@recipe("q_conv2d", "conv2d_sum", "conv3d_sum")
def conv(m: Maker, name: str) -> Value:
    spatial = 3 if "3d" in name else 2
    x = quantized(m, _storage(name), lambda: m.image(spatial), lambda t: t.rank == spatial + 2)
    shape, attributes = convolution_of(m, x)
    weight, given = _weight(m, shape, _signs(m, x))
    return _contraction(m, name, x, weight, given, attributes)


@recipe("q_dense", "dense_sum")
def dense(m: Maker, name: str) -> Value:
    x = quantized(m, _storage(name), lambda: m.shape((2, 4, 3, 1)), lambda t: t.rank > 0)
    weight, given = _weight(m, (x.type.shape[-1], m.choice((4, 1, 3, 8, 17, 33))), _signs(m, x))
    return _contraction(m, name, x, weight, given, {})


@recipe("q_transpose_conv2d", "transpose_conv2d_sum")
def transpose_conv(m: Maker, name: str) -> Value:
    x = quantized(m, _storage(name), lambda: m.image(2), lambda t: t.rank == 4)
    channels = x.type.shape[-1]
    groups, features = groups_and_channels(m, channels) if channels else (1, 3)
    attributes = {**enlarging(m, x.type.shape[1:-1]), "groups": groups}
    shape = (*attributes.pop("kernel"), channels // groups, features)
    weight, given = _weight(m, shape, _signs(m, x))
    return _contraction(m, name, x, weight, given, attributes)


@recipe("q_avg_pool")
def avg_pool(m: Maker, name: str) -> Value:
    x, attributes = pooling(m, SHORTS, (2,))
    limits = bounds(m, x.type.dtype, x.type.quantization)
    if x.type.quantization is None:  # so that any range may come from any activation
        limits["activation"] = m.choice((None, *ACTIVATIONS))
    return m.emit(name, x, **attributes, **limits)


@recipe("q_mean")
def mean(m: Maker, name: str) -> Value:
    x = quantized(m, SHORTS, lambda: m.shape((4, 2, 3, 1)), lambda t: t.rank > 0)
    axes = tuple(d for d in range(x.type.rank) if m.flag()) or (m.choice((0, -1)),)
    given = {"x": quantization_of(x), "y": quantization(m, x.type.dtype)}
    return m.emit(name, x, axes=axes, keepdims=m.flag(), sum=m.flag(3), **given)


@recipe("q_reduce_prod")
def product(m: Maker, name: str) -> Value:
    x = quantized(m, (DType.I8, DType.I16), lambda: m.shape((4, 2, 3, 1)), lambda t: t.rank > 0)
    axes = tuple(d for d in range(x.type.rank) if m.flag()) or (m.choice((0, -1)),)
    given = {"x": quantization_of(x), "y": quantization(m, x.type.dtype)}
    return m.emit(name, x, axes=axes, keepdims=m.flag(), **given)


@recipe("row_products")
def rows(m: Maker, name: str) -> Value:
    x = quantized(m, (DType.I8, DType.I16), lambda: m.shape((4, 2, 3, 1))[:2], lambda t: t.rank == 2)
    given = {"x": quantization_of(x), "y": quantization(m, x.type.dtype)}
    return m.emit(name, x, multiplier=m.choice((0, 1 << 14, 0x7FFF)), right=m.choice((8, 15, 30)), **given)


@recipe("quantize")
def quantize(m: Maker, name: str) -> Value:
    dtype = m.choice(SHORTS)
    return m.emit(name, m.operand((DType.F32,)), dtype=str(dtype), y=quantization(m, dtype))


@recipe("quantize_even")
def quantize_even(m: Maker, name: str) -> Value:
    dtype = m.choice(BYTES)
    return m.emit(name, m.operand((DType.F32, DType.F64)), dtype=str(dtype), y=quantization(m, dtype))


@recipe("dequantize")
def dequantize(m: Maker, name: str) -> Value:
    x = quantized(m, SHORTS)
    return m.emit(name, x, x=quantization_of(x))


@recipe("requantize", "q_relu")
def requantize(m: Maker, name: str) -> Value:
    x, dtype = quantized(m, SHORTS), m.choice(SHORTS)
    y = quantization(m, dtype)
    limits = bounds(m, dtype, y) if name == "q_relu" else {}
    return m.emit(name, x, dtype=str(dtype), x=quantization_of(x), y=y, **limits)


@recipe("q_compare")
def compare(m: Maker, name: str) -> Value:
    a = quantized(m, SHORTS)
    b = a if m.flag(5) else quantized(m, (a.type.dtype,), shape=lambda: broadcast_shape(m, a.type.shape))
    scale = quantization_of(a)
    by = m.choice(("less", "less_equal", "greater", "greater_equal", "equal", "not_equal"))
    return m.emit(name, a, b, by=by, a=scale, b=scale if a is b else quantization_of(b))


@recipe("q_concat")
def concat(m: Maker, name: str) -> Value:
    x = quantized(m, (DType.U8,), lambda: m.shape((2, 4, 3, 1)), lambda t: t.rank > 0)
    parts = [x, *(quantized(m, (DType.U8,), shape=x.type.shape) for _ in range(m.choice((1, 0, 2))))]
    scales = {part: quantization_of(part) for part in parts}
    y = m.choice((scales[x], quantization(m, DType.U8)))
    axis = m.choice((-1, *range(x.type.rank)))
    return m.emit(name, *parts, axis=axis, inputs=tuple(scales[part] for part in parts), y=y)


@recipe("reinterpret")
def reinterpret(m: Maker, name: str) -> Value:
    x = quantized(m, SHORTS)
    return m.emit(name, x, y=quantization(m, x.type.dtype))


def _sums(m: Maker) -> tuple[Value, Shape]:
    """32-bit sums of products, and the shape of their factors."""
    x = m.operand((DType.I32,))
    return x, (() if not x.type.rank or m.flag() else x.type.shape[-1:])


@recipe("rescale")
def rescale(m: Maker, name: str) -> Value:
    x, shape = _sums(m)
    pairs = [quantize_multiplier(m.choice((0.01, 0.3, 0.0007, 1.7))) for _ in range(math.prod(shape))]
    table = np.array(pairs, np.int32).reshape(-1, 2)
    multiplier, shift = (table[:, i].reshape(shape) for i in range(2))
    dtype = m.choice(SHORTS)
    reduces = bool((shift < 0).all()) and m.flag()
    saturates = reduces and bool((shift >= -21).all()) and m.flag()
    return m.emit(
        name,
        x,
        m.given(multiplier),
        m.given(shift),
        dtype=str(dtype),
        y=quantization(m, dtype),
        reduces=reduces,
        saturates=saturates,
        **bounds(m, dtype),
    )


@recipe("rescale_real")
def rescale_real(m: Maker, name: str) -> Value:
    x, shape = _sums(m)
    factor = m.given(np.full(shape, m.choice((0.01, 0.3, 0.0007, 1.7))))
    dtype = m.choice(SHORTS)
    return m.emit(name, x, factor, dtype=str(dtype), y=quantization(m, dtype), **bounds(m, dtype))


@recipe("pack_dot4")
def pack_dot4(m: Maker, name: str) -> Value:
    rows = m.choice((1, 2, 3))
    weight = m.leaf(m.choice(BYTES), (rows, m.choice((3, 4, 5)), m.choice((2, 1, 9))), kinds=KNOWN)
    offset = 128 if weight.type.dtype is DType.U8 else 0
    sizes = {"rows": rows, "width": m.choice((4, 8, 1)), "together": m.choice((4, 2))}
    return m.emit(name, weight, offset=offset, ones=m.flag(), **sizes)


@recipe("winograd_words")
def winograd_words(m: Maker, name: str) -> Value:
    weight = m.leaf(m.choice(BYTES), m.shape((4, 5), end=(3, 3, m.choice((1, 4)), m.choice((2, 5)))), kinds=KNOWN)
    return m.emit(name, weight, weight_zero=m.choice((0, 128, 3)) if weight.type.dtype is DType.U8 else 0)


@recipe("pack_wide")
def pack_wide(m: Maker, name: str) -> Value:
    rows = m.choice((1, 2, 3))
    weight = m.leaf(m.choice(BYTES), (rows, m.choice((3, 8, 13, 16, 25, 47)), m.choice((2, 1, 9))), kinds=KNOWN)
    return m.emit(
        name, weight, rows=rows, width=m.choice((4, 8, 1)), offset=128 if weight.type.dtype is DType.U8 else 0
    )


@recipe("pack_groups")
def pack_groups(m: Maker, name: str) -> Value:
    channels, rest = m.choice((4, 8)), m.choice((0, 1))
    widths = m.choice(((channels,), (4 * channels, 2 * channels)))
    last = (channels,) if rest and sum(widths) > channels else ()
    filters = sum(widths) * m.choice((1, 2)) + sum(last)
    weight = m.leaf(m.choice(BYTES), (m.choice((3, 1)), channels, filters), kinds=KNOWN)
    return m.emit(name, weight, widths=widths, last=last, offset=128 if weight.type.dtype is DType.U8 else 0)


@recipe("pack_depthwise")
def pack_depthwise(m: Maker, name: str) -> Value:
    weight = m.leaf(m.choice(BYTES), (m.choice((3, 1)), m.choice((3, 2)), 1, m.choice((2, 1, 5))), kinds=KNOWN)
    offset = 128 if weight.type.dtype is DType.U8 else 0
    order = {"rows": m.choice((1, 2, 4)), "stride": m.choice((1, 2)), "together": m.choice((4, 2))}
    return m.emit(name, weight, **order, offset=offset, ones=m.choice((0, 4)))


def _parts_of(m: Maker, weight: Value) -> tuple[tuple[int, int], ...]:
    """Parts of a weight along its first dimension, or none."""
    size = weight.type.shape[0]
    return m.choice(((), ((0, size),), ((min(1, size), size), (0, 0))))


@recipe("dot4_correction")
def dot4_correction(m: Maker, name: str) -> Value:
    weight = m.leaf(m.choice(BYTES), m.shape((2, 4), end=(m.choice((3, 1)),)), kinds=KNOWN)
    zeros = {"x_zero": m.choice((0, -7)), "x_offset": m.choice((0, 128)), "weight_zero": m.choice((0, 3))}
    return m.emit(name, weight, **zeros, planes=_parts_of(m, weight))


@recipe("rescale_table")
def rescale_table(m: Maker, name: str) -> Value:
    channels = m.choice((3, 2, 1))
    weight = m.leaf(m.choice(BYTES), m.shape((2, 4), end=(channels,)), kinds=KNOWN)
    others = [m.leaf(DType.I32, (channels,), kinds=KNOWN)] if m.flag() else []
    bias = None if others else m.choice((0, 100))
    given = {"multiplier": m.choice((1 << 30, 0, 1500000000)), "shift": m.choice((-1, -9, -21))}
    zeros = {"x_zero": m.choice((0, -7)), "x_offset": m.choice((0, 128)), "weight_zero": m.choice((0, 3))}
    form = {"unsigned": m.flag(), "halves_up": m.flag(), "planes": _parts_of(m, weight)}
    return m.emit(
        name, weight, *others, bias=bias, width=m.choice((1, 2, 4)), zero=m.choice((0, -128)), **zeros, **given, **form
    )
