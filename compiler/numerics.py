"""Where NumPy's arithmetic isn't that of compiled code: conversions out of range, quotients of integers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .types import DType


def convert(values: NDArray[Any], dtype: DType) -> NDArray[Any]:
    """The same numbers as another element type.

    Floats become integers toward zero; numbers out of range become the nearest integer of the type, NaN the largest
    (as in LiteRT's CAST). Integers become narrower ones modulo 2^bits. Truth is what isn't 0. Half precision is
    reached through single precision.
    """
    source = values.dtype
    if dtype is DType.BOOL or source == dtype.numpy:
        return values.astype(dtype.numpy)
    with np.errstate(all="ignore"):
        if np.issubdtype(source, np.floating) and not dtype.is_float:
            return _saturated(values, dtype.numpy)
        if dtype is DType.F16:
            values = values.astype(np.float32)
        return values.astype(dtype.numpy)


def _saturated(values: NDArray[Any], goal: np.dtype[Any]) -> NDArray[Any]:
    if values.dtype == np.float16:
        values = values.astype(np.float32)  # which holds the ends of every type's range, but for a 1
    info = np.iinfo(goal)
    below, fits = values < info.min, values < float(info.max + 1)
    inside = np.where(fits & ~below, values, 0).astype(goal)
    result: NDArray[Any] = np.where(below, info.min, np.where(fits, inside, info.max)).astype(goal)
    return result


def quotient(a: NDArray[Any], b: NDArray[Any] | int) -> NDArray[Any]:
    """Integers divided, rounded toward zero; 0 where b is 0. The smallest integer divided by -1 is itself: it wraps."""
    with np.errstate(all="ignore"):
        floored = np.floor_divide(a, b)
        is_rounded = (b != 0) & (np.asarray(a - floored * b) != 0)
        result: NDArray[Any] = np.asarray(floored + (is_rounded & ((a < 0) != (b < 0))))
    return result


def bfloat16_bits(values: NDArray[Any]) -> NDArray[Any]:
    """Single precision rounded to bfloat16, the nearest one, halves to even: the upper 16 bits of a float, as i16.

    NaN stays NaN. Numbers below the normal range (2^-126) become zeros with their sign, as x86 has it.
    """
    values = np.asarray(values, np.float32)
    bits = normal_or_zero(values).view(np.uint32)
    with np.errstate(over="ignore"):
        rounded = (bits + (np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1)))) >> np.uint32(16)
    quiet = bits >> np.uint32(16) | np.uint32(0x40)
    return np.asarray(np.where(np.isnan(values), quiet, rounded)).astype(np.uint16).view(np.int16)


def from_bfloat16_bits(bits: NDArray[Any]) -> NDArray[Any]:
    """The numbers that bits of bfloat16, as i16, stand for, in single precision."""
    return (np.asarray(bits, np.int16).view(np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)


def normal_or_zero(values: NDArray[Any]) -> NDArray[Any]:
    """Single precision, with zeros for numbers below the normal range; signs stay."""
    values = np.asarray(values, np.float32)
    small = np.abs(values) < np.finfo(np.float32).tiny
    return np.asarray(np.where(small, np.copysign(np.float32(0), values), values), np.float32)


def repeated_element(array: NDArray[Any]) -> NDArray[Any] | None:
    """The only element of a large array that repeats it without taking memory for that, in shape (1,); else None."""
    if array.size < 2 or any(stride for size, stride in zip(array.shape, array.strides, strict=True) if size > 1):
        return None
    one: NDArray[Any] = np.array([array.flat[0]], array.dtype)
    return one
