"""Operators that work element by element."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..draw import Draw, Scale, Values
from . import Generator
from .parts import ACTIVATIONS, NARROW, Options, any_shape, broadcast, file, scale_of, size_of, unary


def _fixed(signed: float, lowest: bool) -> Callable[[Draw, Any, float], Scale]:
    """Mostly the scale that kernels of 8 bits demand, from the lowest number on or around the middle."""

    def target(d: Draw, dtype: Any, near: float) -> Scale:
        if d.r.random() < 0.2:
            return d.quantized(dtype)
        if dtype is np.int16:
            return 1 / 32768, 0
        low = int(np.iinfo(dtype).min)
        return signed, low if lowest else low + 128

    return target


def _binary(
    name: str,
    table: str,
    *,
    fuses: bool = False,
    alike: bool = False,
    values: tuple[Values, Values] = (None, None),
    result: Any = None,
    most: int = 5,
) -> Generator:
    """An operator of two operands, of one scale if they must be `alike`."""

    def make(d: Draw, dtype: Any) -> bytes:
        first, second, shape = broadcast(d, most)
        a = scale_of(d, dtype)
        b = a if alike and d.r.random() < 0.8 else scale_of(d, dtype, size_of(a))
        near = {"MUL": size_of(a) * size_of(b), "SQUARED_DIFFERENCE": max(size_of(a), size_of(b)) ** 2}
        y = a if alike and d.r.random() < 0.9 else scale_of(d, dtype, near.get(name, max(size_of(a), size_of(b))))
        fields: dict[str, Any] = {"FusedActivationFunction": d.r.choice(ACTIVATIONS)} if fuses and d.flip() else {}
        if name in ("ADD", "SUB") and dtype is np.int16:
            fields["PotScaleInt16"] = d.flip()
            if d.r.random() < 0.3:  # powers of two, one of the operands on the result's scale
                low, high = d.r.randint(-19, 0), d.r.randint(-19, 0)
                low, high = min(low, high), max(low, high)
                a, b = d.r.choice((((2.0**low, 0), (2.0**high, 0)), ((2.0**high, 0), (2.0**low, 0))))
                y = 2.0**high, 0
        one = d.input(first, dtype, a, values[0])
        two = d.input(second, dtype, b, values[1]) if d.r.random() < 0.8 else _constant(d, second, dtype, b, values[1])
        output = d.tensor(shape, result or dtype, None if result else y)
        return file(d, name, [one, two], [output], (table, fields) if table else None)

    return make


def _constant(d: Draw, shape: tuple[int, ...], dtype: Any, given: Scale | None, values: Values) -> int:
    kind = np.dtype(dtype).kind
    if isinstance(values, tuple):
        rng = np.random.default_rng(d.r.getrandbits(30))
        numbers = rng.uniform(*values, shape) if kind == "f" else rng.integers(*map(int, values), shape, endpoint=True)
        return d.constant(np.asarray(numbers).astype(dtype), given)
    if kind in "fb":
        numbers = np.random.default_rng(d.r.getrandbits(30)).standard_normal(shape)
        return d.constant(np.asarray(numbers if kind == "f" else numbers > 0).astype(dtype), given)
    numbers = d.integers(dtype, shape)
    return d.constant(
        np.asarray(np.where((numbers == 0) | (numbers == -1), 1, numbers) if values == "divisor" else numbers, dtype),
        given,
    )


def _compare(name: str, table: str) -> Generator:
    return _binary(name, table, alike=True, result=np.bool_)


def _prelu(d: Draw, dtype: Any) -> bytes:
    shape = d.r.choice(((1, 8, 8, 5), (2, 4, 3, 5), (1, 16, 16, 1), d.shape(d.r.randint(1, 4))))
    kind = np.int8 if dtype is np.int16 else dtype
    x, alpha = scale_of(d, dtype), scale_of(d, kind)
    slopes = d.r.choice(((1,) * (len(shape) - 2) + shape[-1:], shape[1:], (1,), shape))
    place = d.input(shape, dtype, x)
    return file(
        d,
        "PRELU",
        [place, _constant(d, slopes, kind, alpha, None)],
        [d.tensor(shape, dtype, scale_of(d, dtype, size_of(x)))],
    )


def _leaky(d: Draw) -> Options:
    alpha = d.r.choice((0.0, 0.25, 0.3, 1.0, 2.0, -0.3, -1.0, d.r.uniform(-3, 3), d.r.uniform(0, 1)))
    return "LeakyReluOptions", {"Alpha": alpha}


def _select(name: str) -> Generator:
    def make(d: Draw, dtype: Any) -> bytes:
        given = scale_of(d, dtype)
        other = given if d.r.random() < 0.85 else scale_of(d, dtype, size_of(given))
        if name == "SELECT":
            shape = any_shape(d, dtype)
            whole = shape if not shape or d.r.random() < 0.7 else d.r.choice(((), (1,), shape[:1]))
            shapes = [whole, shape, shape]
        else:
            first, second, shape = broadcast(d)
            third = shape[d.r.randint(0, len(shape)) :] if d.r.random() < 0.3 else shape
            shapes = [first, second, third]
            d.r.shuffle(shapes)
            shape = tuple(np.broadcast_shapes(*shapes))
        types = (np.bool_, dtype, dtype)
        scales = (None, given, other)
        inputs = [d.input(s, t, g) for s, t, g in zip(shapes, types, scales, strict=True)]
        return file(d, name, inputs, [d.tensor(shape, dtype, given)], (f"Select{'V2' * (name != 'SELECT')}Options", {}))

    return make


def _cast(d: Draw, dtype: Any) -> bytes:
    """From the type of the column to any."""
    target = d.r.choice((np.float32, np.int8, np.uint8, np.int16, np.int32, np.int64, np.bool_))
    shape = any_shape(d, dtype)
    # What floats beyond the integers' range become is not defined.
    high = 127.0 if target in (np.int8, np.uint8) else 30000.0
    low = 0.0 if target is np.uint8 else -high
    values = (low, high) if dtype is np.float32 and target is not np.float32 else None
    x, y = d.input(shape, dtype, None, values), d.tensor(shape, target, None)
    return file(d, "CAST", [x], [y], ("CastOptions", {}))


def _quantize(d: Draw, dtype: Any) -> bytes:
    """From the type of the column to a quantized one."""
    shape, x = any_shape(d, dtype), d.quantized(dtype if dtype in NARROW else np.int16)
    given = None if dtype in (np.float32, np.int64, np.bool_) else x
    target = d.r.choice((np.int8, np.uint8, np.int16, np.int16, np.int32))
    y = (d.scale(x[0]), 0 if target is np.int32 else d.zero(target))
    if dtype is np.float32:
        y = max(y[0], 1e-4), y[1]
    near = (-1e9 * y[0], 1e9 * y[0])  # beyond 32 bits nothing is defined
    values = (max(near[0], -1e30), min(near[1], 1e30)) if d.flip() else (-200 * y[0], 200 * y[0])
    x_place = d.input(shape, dtype, given, values if dtype is np.float32 else None)
    return file(d, "QUANTIZE", [x_place], [d.tensor(shape, target, y)], ("QuantizeOptions", {}))


def _dequantize(d: Draw, dtype: Any) -> bytes:
    shape, given = any_shape(d, dtype), d.quantized(dtype if dtype in NARROW else np.int16)
    x = d.input(shape, dtype, None if dtype in (np.float32, np.int64, np.bool_) else given)
    return file(d, "DEQUANTIZE", [x], [d.tensor(shape, np.float32, None)], ("DequantizeOptions", {}))


def _quantize_channels(d: Draw, dtype: Any) -> bytes:
    """Floats by a scale for each channel; numbers that are integers already get one scale."""
    if dtype is not np.float32:
        return _quantize(d, dtype)
    shape, target = d.shape(d.r.randint(1, 4)), d.r.choice((np.int8, np.uint8, np.int16))
    axis = d.r.randrange(len(shape))
    scales = [max(d.scale(), 1e-4) for _ in range(shape[axis])]
    x = d.input(shape, dtype, None, (-200 * max(scales), 200 * max(scales)))
    y = d.m.tensor("y", shape, target, scale=scales, axis=axis, zero=d.zero(target))
    return file(d, "QUANTIZE", [x], [y], ("QuantizeOptions", {}))


def _dequantize_channels(d: Draw, dtype: Any) -> bytes:
    """Numbers of a scale for each channel, which are computed."""
    if dtype not in NARROW:
        return _dequantize(d, dtype)
    shape = d.shape(d.r.randint(1, 4))
    axis = d.r.randrange(len(shape))
    scales, zero = [d.scale() for _ in range(shape[axis])], d.zero(dtype) if dtype in NARROW else 0
    x = d.m.tensor("x", shape, dtype, scale=scales, axis=axis, zero=zero)
    d.inputs.append(x)
    d.values.append(None)
    return file(d, "DEQUANTIZE", [x], [d.tensor(shape, np.float32, None)], ("DequantizeOptions", {}))


def _add_n(d: Draw, dtype: Any) -> bytes:
    shape, given = any_shape(d, dtype), scale_of(d, dtype)
    inputs = [d.input(shape, dtype, given, "finite") for _ in range(d.r.randint(2, 4))]
    return file(d, "ADD_N", inputs, [d.tensor(shape, dtype, given)], ("AddNOptions", {}))


def _bitcast(d: Draw, dtype: Any) -> bytes:
    """From the type of the column to any of its size or another."""
    target = d.r.choice((np.float32, np.int8, np.uint8, np.int16, np.int32, np.int64))
    size, wanted = np.dtype(dtype).itemsize, np.dtype(target).itemsize
    shape = d.shape(d.r.randint(0, 4))
    if size > wanted:
        source, result = shape, (*shape, size // wanted)
    else:
        source, result = ((*shape, wanted // size) if wanted > size else shape), shape
    x = d.input(source, dtype, None)
    return file(d, "BITCAST", [x], [d.tensor(result, target, None)], ("BitcastOptions", {}))


def _fake_quant(d: Draw) -> Options:
    low = d.r.choice((0.0, -1.0, -d.r.uniform(0, 10), d.r.uniform(0, 2)))
    fields = {"Min": low, "Max": low + d.r.choice((1.0, 6.0, d.r.uniform(0.1, 20)))}
    return "FakeQuantOptions", {**fields, "NumBits": d.r.choice((8, 8, 2, 4, 16)), "NarrowRange": d.flip()}


def _root(name: str, power: float, others: tuple[int, int] | None = None) -> Generator:
    """Of numbers from the zero point up, which is the lowest one; `others`: of which numbers that aren't quantized."""

    def make(d: Draw, dtype: Any) -> bytes:
        shape, x = any_shape(d, dtype), scale_of(d, dtype)
        low = 0 if dtype is np.int16 or dtype not in NARROW else int(np.iinfo(dtype).min)
        y = scale_of(d, dtype, None if x is None else (x[0] ** power) / 16)
        values = (0, 32767) if dtype is np.int16 else None if dtype in NARROW else others
        a = d.input(shape, dtype, x and (x[0], low), values)
        return file(d, name, [a], [d.tensor(shape, dtype, y)])

    return make


def _logistic_16(d: Draw, dtype: Any, near: float) -> Scale:
    return _fixed(1 / 256, lowest=True)(d, dtype, near)


GENERATORS: Mapping[str, Generator] = {
    "ABS": unary("ABS", lambda d: ("AbsOptions", {})),
    "ADD": _binary("ADD", "AddOptions", fuses=True),
    "ADD_N": _add_n,
    "ATAN2": _binary("ATAN2", "ATan2Options"),
    "BITCAST": _bitcast,
    "BITWISE_XOR": _binary("BITWISE_XOR", "BitwiseXorOptions", alike=True),
    "CAST": _cast,
    "CEIL": unary("CEIL"),
    "COS": unary("COS", lambda d: ("CosOptions", {})),
    "DEQUANTIZE": _dequantize,
    "DEQUANTIZE by channel": _dequantize_channels,
    "DIV": _binary("DIV", "DivOptions", fuses=True, values=(None, "divisor")),
    "ELU": unary("ELU"),
    "EQUAL": _compare("EQUAL", "EqualOptions"),
    "EXP": unary("EXP", lambda d: ("ExpOptions", {})),
    "FAKE_QUANT": unary("FAKE_QUANT", _fake_quant, values="no NaN"),
    "FLOOR": unary("FLOOR"),
    "FLOOR_DIV": _binary("FLOOR_DIV", "FloorDivOptions", values=(None, "divisor")),
    "FLOOR_MOD": _binary("FLOOR_MOD", "FloorModOptions", values=(None, "divisor")),
    "GELU": unary("GELU", lambda d: ("GeluOptions", {"Approximate": d.flip()})),
    "GREATER": _compare("GREATER", "GreaterOptions"),
    "GREATER_EQUAL": _compare("GREATER_EQUAL", "GreaterEqualOptions"),
    "HARD_SWISH": unary("HARD_SWISH", lambda d: ("HardSwishOptions", {}), values="finite"),
    "LEAKY_RELU": unary("LEAKY_RELU", _leaky),
    "LESS": _compare("LESS", "LessOptions"),
    "LESS_EQUAL": _compare("LESS_EQUAL", "LessEqualOptions"),
    "LOG": unary("LOG"),
    "LOGICAL_AND": _binary("LOGICAL_AND", "LogicalAndOptions"),
    "LOGICAL_NOT": unary("LOGICAL_NOT", lambda d: ("LogicalNotOptions", {})),
    "LOGICAL_OR": _binary("LOGICAL_OR", "LogicalOrOptions"),
    "LOGISTIC": unary("LOGISTIC", target=_fixed(1 / 256, lowest=True)),
    "MAXIMUM": _binary("MAXIMUM", "MaximumMinimumOptions", alike=True, values=("no NaN", "no NaN")),
    "MINIMUM": _binary("MINIMUM", "MaximumMinimumOptions", alike=True, values=("no NaN", "no NaN")),
    "MUL": _binary("MUL", "MulOptions", fuses=True),
    "NEG": unary("NEG", lambda d: ("NegOptions", {})),
    "NOT_EQUAL": _compare("NOT_EQUAL", "NotEqualOptions"),
    "POW": _binary("POW", "PowOptions"),
    "POW small": _binary("POW", "PowOptions", values=((0, 9), (0, 5))),
    "POW of integers": _binary("POW", "PowOptions", values=((-9, 9), (0, 9))),
    "PRELU": _prelu,
    "QUANTIZE": _quantize,
    "QUANTIZE by channel": _quantize_channels,
    "RELU": unary("RELU"),
    "RELU6": unary("RELU6"),
    "RELU_0_TO_1": unary("RELU_0_TO_1", values="no NaN"),
    "RELU_N1_TO_1": unary("RELU_N1_TO_1"),
    "RIGHT_SHIFT": _binary("RIGHT_SHIFT", "RightShiftOptions", alike=True, values=(None, (0, 70))),
    "ROUND": unary("ROUND"),
    "RSQRT": unary("RSQRT"),
    "RSQRT of positive": _root("RSQRT", -0.5, (0, 127)),
    "SELECT": _select("SELECT"),
    "SELECT_V2": _select("SELECT_V2"),
    "SIGN": unary("SIGN", lambda d: ("SignOptions", {})),
    "SIN": unary("SIN"),
    "SQRT": unary("SQRT"),
    "SQRT of positive": _root("SQRT", 0.5),
    "SQUARE": unary("SQUARE", lambda d: ("SquareOptions", {})),
    "SQUARED_DIFFERENCE": _binary("SQUARED_DIFFERENCE", "SquaredDifferenceOptions"),
    "STABLEHLO_ADD": _binary("STABLEHLO_ADD", ""),
    "STABLEHLO_AND": _binary("STABLEHLO_AND", ""),
    "STABLEHLO_MAXIMUM": _binary("STABLEHLO_MAXIMUM", "", alike=True, values=("no NaN", "no NaN")),
    "STABLEHLO_MINIMUM": _binary("STABLEHLO_MINIMUM", "", alike=True, values=("no NaN", "no NaN")),
    "STABLEHLO_MULTIPLY": _binary("STABLEHLO_MULTIPLY", ""),
    "STABLEHLO_OR": _binary("STABLEHLO_OR", ""),
    "STABLEHLO_SHIFT_LEFT": _binary("STABLEHLO_SHIFT_LEFT", "", alike=True, values=(None, (0, 7))),
    "SUB": _binary("SUB", "SubOptions", fuses=True),
    "TANH": unary("TANH", target=_fixed(1 / 128, lowest=False)),
    "ZEROS_LIKE": unary("ZEROS_LIKE", lambda d: ("ZerosLikeOptions", {})),
}
