"""Functions with a domain, powers, remainders, rounding, bits and cumulative sums."""

from __future__ import annotations

import numpy as np

from netc.compiler.graph import Array, Value
from netc.compiler.types import DType

from .elementwise import NUMBERS, broadcast_shape, partner
from .maker import FLOATS, INTEGERS, Maker
from .recipes import recipe


@recipe("log1p", "log2", "log10", "reciprocal", "rsqrt", "acosh")
def positive(m: Maker, name: str) -> Value:
    lowest = 1.1 if name == "acosh" else 0.2
    return m.emit(name, m.operand(FLOATS, values="positive", test=lambda a: float(a.min(initial=2)) > lowest))


@recipe("asin", "acos", "atanh")
def inside(m: Maker, name: str) -> Value:
    return m.emit(name, m.emit("mul", m.emit("tanh", m.operand(FLOATS)), m.given(np.float32(0.9))))


@recipe("sinh", "cosh", "expm1", "exp2")
def growing(m: Maker, name: str) -> Value:
    return m.emit(name, m.operand(FLOATS, test=lambda a: float(np.abs(a).max(initial=0)) < 6))


@recipe("tan")
def tangent(m: Maker, name: str) -> Value:
    return m.emit(name, m.operand(FLOATS, test=lambda a: float(np.abs(np.cos(a)).min(initial=1)) > 0.2))


@recipe("pow")
def power(m: Maker, name: str) -> Value:
    def moderate(a: Array) -> bool:
        return bool(a.min(initial=1) > 0.2 and a.max(initial=1) < 5)

    x = m.operand(FLOATS, values="positive", test=moderate)
    return m.emit(name, x, m.weight(x.type.dtype, broadcast_shape(m, x.type.shape)))


@recipe("atan2")
def angle(m: Maker, name: str) -> Value:
    x = m.operand(FLOATS)
    return m.emit(name, x, partner(m, x, "positive"))


@recipe("floor_mod", "fmod")
def remainder(m: Maker, name: str) -> Value:
    x = m.operand(NUMBERS)
    return m.emit(name, x, partner(m, x, "any" if not x.type.dtype.is_float else "positive"))


@recipe("logical_and", "logical_or", "logical_not")
def logical(m: Maker, name: str) -> Value:
    x = m.operand((DType.BOOL,))
    return m.emit(name, x) if name == "logical_not" else m.emit(name, x, partner(m, x))


@recipe("bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not")
def bitwise(m: Maker, name: str) -> Value:
    x = m.operand((*INTEGERS, DType.BOOL))
    return m.emit(name, x) if name == "bitwise_not" else m.emit(name, x, partner(m, x))


@recipe("left_shift", "right_shift")
def shift(m: Maker, name: str) -> Value:
    x = m.operand(INTEGERS)
    return m.emit(name, x, partner(m, x))


@recipe("isnan", "isinf", "isfinite")
def kind(m: Maker, name: str) -> Value:
    return m.emit(name, m.operand(FLOATS))


@recipe("cumulative_sum")
def cumulative_sum(m: Maker, name: str) -> Value:
    x = m.operand(NUMBERS, fits=lambda t: t.rank > 0)
    return m.emit(name, x, axis=m.number(-x.type.rank, x.type.rank - 1), exclusive=m.flag(), reverse=m.flag())
