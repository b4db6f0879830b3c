"""Functions of 16-bit numbers, as TensorFlow Lite's kernels tabulate them: 513 or 256 places, and lines between them.

Facts: LUTPopulate and LUTLookup of kernels/internal/common.h, reference/integer_ops/logistic.h and tanh.h.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ...errors import ScaleError
from ...graph.ir import Array
from ...types import Quantization
from ..functions.rounding import rounded
from . import fixed_point as fp

_LOWEST, _HIGHEST = np.float32(-(1 << 15)), np.float32((1 << 15) - 1)
_STEPS = 512
_STEP_BITS = 7
"""Bits of a number between two places of the table."""
_SIGMOID_STEPS = 24
"""Places of the table of sigmoids for each unit of x."""
_SIGMOID_PLACES = 256


def interpolated(x: Array, function: Callable[[Array], Array], source: Quantization, target: Quantization) -> Array:
    """A function of f32 numbers at what 16-bit integers (as int64) stand for, on the result's scale; int64.

    Raises `ScaleError` where the function isn't finite at a place of the table.
    """
    with np.errstate(all="ignore"):
        table: Array = _table(function, source, target)
    index = (x >> _STEP_BITS) + _STEPS // 2
    slope = (table[index + 1] - table[index]).astype(np.int16).astype(np.int64)
    delta = (slope * (x & ((1 << _STEP_BITS) - 1)) + (1 << (_STEP_BITS - 1))) >> _STEP_BITS
    wrapped: Array = (table[index] + delta).astype(np.int16).astype(np.int64)
    return wrapped


def _table(function: Callable[[Array], Array], source: Quantization, target: Quantization) -> Array:
    """The function at the ends of the steps, shifted towards what it is in their middles; each step is f32."""
    low, high = (np.float32(source.scale) * (end - np.float32(source.zero_point)) for end in (_LOWEST, _HIGHEST))
    bottom, top = (np.float32(target.scale) * (end - np.float32(target.zero_point)) for end in (_LOWEST, _HIGHEST))
    step = (high - low) / np.float32(_STEPS)
    factor = np.float32(1 << 16) / (top - bottom)
    places = low + np.arange(_STEPS + 1).astype(np.float32) * step
    value, following = function(places[:-1]) * factor, function(places[1:]) * factor
    middle = rounded(function(places[:-1] + step / np.float32(2)) * factor)
    sample = rounded(value)
    bias = rounded((rounded((following + sample) / np.float32(2)) - middle) / np.float32(2))
    last = rounded(function(np.full(1, high)) * factor)
    table = np.concatenate([sample - bias, last])
    if not np.all(np.isfinite(table)):
        raise ScaleError(f"the function of numbers on scale {source.scale:.4g} is not finite", hint=fp.CALIBRATE)
    whole: Array = np.clip(table, _LOWEST, _HIGHEST).astype(np.int64)
    return whole


def _sigmoids() -> Array:
    """The sigmoid at multiples of 1/24 in steps of 2^-16, raised by half of what lines between them are too low."""

    def at(x: Array) -> Array:
        result: Array = (1 << 16) / (1 + np.exp(-x / _SIGMOID_STEPS))
        return result

    places = np.arange(_SIGMOID_PLACES, dtype=np.float64)
    low = (at(places) + at(places + 1)) / 2 - at(places + 0.5)
    table = np.floor(at(places) - low / 2 + 0.5).astype(np.int64)
    table[-1] = (1 << 16) - 1
    return table


def power_of_two(scale: float) -> int | None:
    """The exponent of a scale that kernels take for a power of two: within a thousandth of its logarithm."""
    logarithm = np.float32(np.log2(np.float64(np.float32(scale))))
    nearest = math.floor(float(logarithm) + 0.5)
    return nearest if abs(float(logarithm - np.float32(nearest))) < 1e-3 else None


def sigmoid(x: Array, source: Quantization, *, tanh: bool) -> Array:
    """The logistic function of 16-bit integers (as int64) in steps of 2^-15, or the hyperbolic tangent; int64.

    The latter is 2 sigmoid(2 x) - 1.
    """
    exponent = power_of_two(source.scale)
    places = None if exponent is None else 12 + exponent
    if places is not None and (places == 0 or (tanh and places == 1)):
        multiplier, shift = 3 << places, 0
    else:
        multiplier, shift = _input_factor(source.scale)
    raised = fp.wrap32(x * multiplier + (1 << shift >> 1)) >> shift
    size, bits = np.abs(raised), 8 if tanh else 9
    table = _sigmoids()
    place = np.minimum(size >> bits, _SIGMOID_PLACES - 2)
    between = (table[place] << bits) + (size & ((1 << bits) - 1)) * (table[place + 1] - table[place])
    full = (0xFFFF << 8) if tanh else (0x7FFF << 10)
    result = np.where(size >> bits >= _SIGMOID_PLACES - 1, full, between)
    if tanh:
        half, rounding = 1 << 23, 1 << 7
        return np.where(raised >= 0, result - half + rounding, half - result + rounding - 1) >> 8
    return np.where(raised >= 0, result + (1 << 9), (1 << 25) - result + (1 << 9) - 1) >> 10


def _input_factor(scale: float) -> tuple[int, int]:
    """A factor, cut to an integer, and a shift to the right that bring numbers on a scale to steps of 1/12288."""
    factor, shift = float(np.float32(scale)) * 4096.0 * 3.0, 0
    while factor <= 32767 / 2 and shift <= 30:
        shift, factor = shift + 1, factor * 2
    if factor >= 1 << 31:
        raise ScaleError(f"scale {scale:.4g} is too large: kernels hold it in 32 bits")
    return int(factor), shift
