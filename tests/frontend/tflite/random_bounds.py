"""Files with an activation that is bounds, or with bounds as MAXIMUM and MINIMUM, on quantized integers at random."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import numpy as np

from netc.compiler.tflite.reading import read_model

from .draw import ALL_BYTES, BYTES, Draw, Maker, Scale

ACTIVATIONS = {1: "RELU", 2: "RELU_N1_TO_1", 3: "RELU6"}
"""By their codes."""
BOUNDS = {1: (0.0, 6.0), 2: (1.0, -1.0), 3: (6.0, 0.0)}
"""Numbers that are brought near to the ends of the element type, or between two integers; RELU has but the first."""
ALL = (*BYTES, np.int16)


def _result(d: Draw, dtype: Any, code: int) -> Scale:
    """A scale and a zero point; in most cases the bound is one of the type's integers, often half way between two."""
    info, zero = np.iinfo(dtype), d.zero(dtype)
    bound = d.r.choice([b for b in BOUNDS[code] if b])
    room = (info.max - zero) if bound > 0 else (zero - info.min)
    steps = d.r.choice((d.r.randint(0, max(room, 1)), room)) + d.r.choice((0.5, 0.5, 0.0, d.r.random()))
    if d.r.random() < 0.2 or not steps:
        return d.quantized(dtype)
    return float(np.float32(abs(bound) / steps)), zero


def _alone(d: Draw) -> bytes:
    """RELU and its kin, onto another scale or on the same."""
    dtype, code, shape = d.dtype(*ALL), d.r.choice(tuple(ACTIVATIONS)), d.r.choice(ALL_BYTES)
    y = _result(d, dtype, code)
    x = y if d.flip() else d.quantized(dtype, y[0])
    a, b = d.input(shape, dtype, x), d.tensor(shape, dtype, y)
    return d.operator(ACTIVATIONS[code], [a], [b], None, 1 if code == 2 else 2)


def _binary(name: str, table: str) -> Callable[[Draw, int], bytes]:
    def make(d: Draw, code: int) -> bytes:
        dtype, shape = d.dtype(*ALL) if d.r.random() < 0.2 else d.dtype(), d.r.choice(ALL_BYTES)
        y = _result(d, dtype, code)
        a = d.quantized(dtype, 0.5 if name == "MUL" else y[0])
        b = d.quantized(dtype, y[0] / a[0] if name == "MUL" else y[0])
        inputs = [d.input(shape, dtype, a), d.input(shape, dtype, b)]
        options = (table, {"FusedActivationFunction": code})
        return d.operator(name, inputs, [d.tensor(shape, dtype, y)], options, 2)

    return make


def _contraction(name: str, table: str) -> Callable[[Draw, int], bytes]:
    """A product of 8 channels at each place."""

    def make(d: Draw, code: int) -> bytes:
        dtype, dense = d.dtype(), name == "FULLY_CONNECTED"
        y, x, lead = _result(d, dtype, code), d.quantized(dtype), (32,) if dense else (1, 4, 8)
        w = y[0] / x[0] * 2.0 ** d.r.uniform(-9, 1), 0 if dtype is np.int8 else d.zero(dtype)
        weight = np.maximum(d.integers(dtype, (8, *(() if dense else (1, 1)), 8)), np.iinfo(dtype).min + 1)
        products = float(np.float32(x[0]) * np.float32(w[0]))
        place = d.input((*lead, 8), dtype, x)
        inputs = [place, d.constant(weight, w), d.constant(d.integers(np.int16, (8,)).astype(np.int32), (products, 0))]
        window = {} if dense else {"Padding": 1, "StrideW": 1, "StrideH": 1}
        options = (table, {**window, "FusedActivationFunction": code})
        return d.operator(name, inputs, [d.tensor((*lead, 8), dtype, y)], options, 3)

    return make


def _pool(name: str) -> Callable[[Draw, int], bytes]:
    def make(d: Draw, code: int) -> bytes:
        dtype = d.dtype(*ALL)
        given = _result(d, dtype, code)
        fields = dict.fromkeys(("StrideW", "StrideH", "FilterWidth", "FilterHeight"), 2)
        x, y = d.input((1, 16, 16, 2), dtype, given), d.tensor((1, 8, 8, 2), dtype, given)
        options = ("Pool2DOptions", {**fields, "Padding": 1, "FusedActivationFunction": code})
        return d.operator(name, [x], [y], options, 3 if dtype is np.int16 else 2)

    return make


FUSED: Mapping[str, Callable[[Draw, int], bytes]] = {
    "ADD": _binary("ADD", "AddOptions"),
    "SUB": _binary("SUB", "SubOptions"),
    "MUL": _binary("MUL", "MulOptions"),
    "CONV_2D": _contraction("CONV_2D", "Conv2DOptions"),
    "FULLY_CONNECTED": _contraction("FULLY_CONNECTED", "FullyConnectedOptions"),
    "AVERAGE_POOL_2D": _pool("AVERAGE_POOL_2D"),
    "MAX_POOL_2D": _pool("MAX_POOL_2D"),
}
"""Operators that an activation is part of, from its code."""


def _fused(d: Draw) -> bytes:
    return FUSED[d.r.choice(tuple(FUSED))](d, d.r.choice(tuple(ACTIVATIONS)))


def _explicit(d: Draw) -> bytes:
    """MAXIMUM or MINIMUM with the integer of a bound, or one after the other, as clamp is written."""
    dtype, shape, code = d.dtype(*ALL), d.r.choice(ALL_BYTES), d.r.choice(tuple(ACTIVATIONS))
    given, info = _result(d, dtype, code), np.iinfo(dtype)
    ends = sorted(int(np.clip(round(b / given[0]) + given[1], info.min, info.max)) for b in BOUNDS[code])
    names = d.r.choice((("MAXIMUM",), ("MINIMUM",), ("MAXIMUM", "MINIMUM")))
    place = d.input(shape, dtype, given)
    for name in names:
        bound = d.constant(np.array(ends[name == "MINIMUM"], dtype), given)
        result = d.tensor(shape, dtype, given)
        d.m.operator(name, (place, bound), (result,), ("MaximumMinimumOptions", {}), version=4 if info.bits > 8 else 2)
        place = result
    return d.m.data(d.inputs, (place,))


MAKERS: Mapping[str, Maker] = {"bounds alone": _alone, "bounds explicit": _explicit, "bounds fused": _fused}


def random_bounds(name: str, seed: int) -> bytes:
    """The file of a number."""
    return MAKERS[name](Draw(Random(f"{name} {seed}")))


def activation_of(data: bytes) -> str | None:
    """The activation that a file has in its operator or behind it; None for MAXIMUM and MINIMUM in its place."""
    for operator in read_model(data).operators:
        fields = {} if operator.options is None else operator.options.values
        name = ACTIVATIONS.get(fields.get("fused_activation_function", 0), operator.name)
        if name in ACTIVATIONS.values():
            return name
    return None
