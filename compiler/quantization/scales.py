"""From ranges to scales and zero points, and from float weights to integers, as TFLite's 8-bit specification says."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..graph.ir import Array
from ..ops.quantized.grids import scales_of
from ..types import DType, Quantization
from .methods import Range

LOWEST, HIGHEST = -128, 127
SHORT_LIMIT = (1 << 15) - 1
WEIGHT_LIMIT = 127
"""Weights are symmetric: -128 isn't used."""
BIAS_LIMIT = 1 << 30
"""Largest bias, so that sums of products have as much room again."""
NARROWEST = 2.0**-28
"""Smallest ratio of a filter's scale of products to that of the results that fixed point can hold, and some bits."""


WIDE_BIAS_LIMIT = 1 << 40
"""Largest bias of sums of 64 bits."""
_CACHED = 1 << 15
"""Elements of which copies in double precision stay in the cache."""


def ends_of(dtype: DType) -> tuple[int, int]:
    """The least and the largest number of an activation: i8, or i16, of which the least isn't used."""
    return (LOWEST, HIGHEST) if dtype is DType.I8 else (-SHORT_LIMIT, SHORT_LIMIT)


def activation_scale(given: Range, dtype: DType = DType.I8) -> Quantization:
    """Scale and zero point of numbers that cover a range; 0 is always among them, and exactly.

    Scales of i16 are symmetric.
    """
    low, high = min(given.low, 0.0), max(given.high, 0.0)
    if high - low < 1e-30:
        high = low + 1.0
    if dtype is DType.I16:
        return Quantization.of(max(-low, high) / SHORT_LIMIT)
    scale = float(np.float32((high - low) / (HIGHEST - LOWEST)))
    zero_point = int(np.clip(np.rint(LOWEST - low / scale), LOWEST, HIGHEST))
    return Quantization.of(scale, zero_point)


def covered(given: Quantization, dtype: DType = DType.I8) -> Range:
    """The numbers that elements reach from end to end."""
    low, high = ends_of(dtype)
    return Range(given.scale * (low - given.zero_point), given.scale * (high - given.zero_point))


def to_integers(x: Array, given: Quantization, dtype: DType = DType.I8) -> Array:
    """The numbers of floats, one scale for all."""
    rounded = _round(np.asarray(x, np.float64) / given.scale) + given.zero_point
    return np.asarray(np.clip(rounded, *ends_of(dtype)), dtype.numpy)


def weight_scale(
    weight: Array, bias: Array | None, x: Quantization, y: Quantization, *, per_channel: bool, wide: bool = False
) -> Quantization:
    """Symmetric scale of a weight, one for each filter (the last dimension) or one for all.

    A filter of zeros, or of next to nothing, gets the smallest scale with which its bias and the factor to the result's
    scale can still be held; `wide` sums have 64 bits.
    """
    scales = np.maximum(largest_size(weight, per_channel=per_channel) / WEIGHT_LIMIT, y.scale / x.scale * NARROWEST)
    if bias is not None:
        needed = np.abs(bias.astype(np.float64)) / (x.scale * (WIDE_BIAS_LIMIT if wide else BIAS_LIMIT))
        scales = np.maximum(scales, needed if per_channel else needed.max())
    if not per_channel:
        return Quantization.of(float(scales))
    return Quantization(tuple(scales.tolist()), (0,) * len(scales), weight.ndim - 1)


def largest_size(weight: Array, *, per_channel: bool) -> NDArray[np.float64]:
    """The largest absolute value of a weight, for each filter [F] or of all, without a copy of the weight."""
    axes = tuple(range(weight.ndim - 1)) if per_channel else None
    return np.asarray(np.maximum(weight.max(axis=axes), -weight.min(axis=axes)), np.float64)


def weight_to_integers(weight: Array, given: Quantization) -> NDArray[np.int8]:
    """The i8 numbers of a weight."""
    scales = np.array(given.scales if not given.is_per_tensor else given.scale, np.float64)
    whole = np.empty(weight.shape, np.int8)
    rows, filters = whole.reshape(-1, weight.shape[-1]), weight.reshape(-1, weight.shape[-1])
    for part in row_blocks(filters, _CACHED):
        steps = _round(filters[part].astype(np.float64) / scales)
        rows[part] = np.clip(steps, -WEIGHT_LIMIT, WEIGHT_LIMIT)
    return whole


def grid_of(weight: Array, zeros: Quantization) -> tuple[Quantization, NDArray[np.int8]] | None:
    """Symmetric scale, one for all or one for each filter, of which a weight (f32) holds exact multiples, and these.

    Such are the weights that were i8 in a file. Filters of zeros have the scales that `zeros` has for them. None where
    some filter isn't on a grid of 256 numbers.
    """
    steps = scales_of(weight.astype(np.float32), LOWEST, HIGHEST)
    if steps is None:
        return None
    if steps.all() and (steps == steps[0]).all():
        given = Quantization.of(float(steps[0]))
    else:
        spare = zeros.scales * (len(steps) if zeros.is_per_tensor else 1)
        scales = tuple(own or other for own, other in zip(steps.tolist(), spare, strict=True))
        given = Quantization(scales, (0,) * len(steps), weight.ndim - 1)
    divisors = np.array(given.scales if not given.is_per_tensor else given.scale, np.float32)
    return given, np.rint(weight.astype(np.float32) / divisors).astype(np.int8)


def rounding_error(weight: Array, integers: NDArray[np.int8], given: Quantization) -> NDArray[np.float32]:
    """What the numbers that the integers of a weight stand for have more than the weight."""
    scales = np.array(given.scales if not given.is_per_tensor else given.scale)
    error = np.empty(weight.shape, np.float32)
    rows, filters, whole = (a.reshape(-1, weight.shape[-1]) for a in (error, weight, integers))
    for part in row_blocks(filters, _CACHED):
        rows[part] = whole[part] * scales - filters[part]
    return error


def row_blocks(rows: Array, elements: int = 1 << 20) -> Iterator[slice]:
    """The rows of a matrix, so many elements at a time: few enough for copies of them in double precision."""
    count = max(1, elements // max(1, rows.shape[1]))
    return (slice(first, first + count) for first in range(0, len(rows), count))


def wide_bias(bias: Array, x: Quantization, weight: Quantization) -> NDArray[np.int64]:
    """The i64 numbers of a bias of 16-bit activations."""
    scales = x.scale * np.array(weight.scales if not weight.is_per_tensor else weight.scale, np.float64)
    return np.clip(_round(bias.astype(np.float64) / scales), -WIDE_BIAS_LIMIT, WIDE_BIAS_LIMIT).astype(np.int64)


def bias_to_integers(bias: Array, x: Quantization, weight: Quantization) -> NDArray[np.int32]:
    """The i32 numbers of a bias, whose scale is the product of those of input and weight."""
    scales = x.scale * np.array(weight.scales if not weight.is_per_tensor else weight.scale, np.float64)
    return np.clip(_round(bias.astype(np.float64) / scales), -BIAS_LIMIT, BIAS_LIMIT).astype(np.int32)


def _round(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest whole number, halves away from zero."""
    rounded: NDArray[np.float64] = np.asarray(np.abs(x))
    rounded += 0.5
    np.copysign(np.floor(rounded, out=rounded), x, out=rounded)
    return rounded
