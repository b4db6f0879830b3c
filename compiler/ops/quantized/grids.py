"""Floats that are whole multiples of a scale, as the weights of quantized networks are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...graph.ir import Array

_USUAL = (127, 128, 255, 64, 63)
"""How many steps the largest number of a row mostly is: tried for all rows at once."""
_SAMPLE = 64
"""Numbers of a row that rule out most scales."""

FARTHEST = 255
"""Of a byte from its zero point."""

Scales = NDArray[np.float32]


def scales_of(weight: Array, low: int, high: int) -> Scales | None:
    """The scale [F] of each filter, the last dimension, of which a weight (f32 or f64) holds whole multiples, exactly.

    The multiples are from `low` to `high`. One scale for all is preferred; filters of zeros have 0. None where some
    filter has no scale.
    """
    if not weight.size:
        return np.zeros(weight.shape[-1], np.float32)
    rows = np.ascontiguousarray(weight.reshape(-1, weight.shape[-1]).T)
    largest = np.abs(rows).max(axis=1, initial=0)
    if not np.isfinite(largest).all():
        return None
    found = np.zeros(len(rows), np.float32)
    left = np.flatnonzero(largest)
    if not left.size:
        return found
    if (one := _scale(rows.reshape(-1), low, high)) is not None:
        return np.full(len(rows), one)
    if _scale(rows[left[0]], low, high) is None:  # its first filter tells a weight of floats
        return None
    for count in _USUAL:
        for turn in range(3):
            scales = _near(largest[left], count)[turn]
            fits = _are_multiples(rows[left], scales[:, np.newaxis], low, high)
            found[left[fits]] = scales[fits]
            left = left[~fits]
    for row in left:
        scale = _scale(rows[row], low, high)
        if scale is None:
            return None
        found[row] = scale
    return found


def as_bytes(whole: Array) -> tuple[NDArray[np.int8], int] | None:
    """Whole numbers as i8, and what was added for it, which is their zero point; None where no byte has room."""
    low, high = whole.min(), whole.max()
    if not (high - low <= FARTHEST and max(-low, high) <= FARTHEST):
        return None
    zero = int(np.clip(0, -128 - low, 127 - high))
    return (whole + zero).astype(np.int8), zero


def _scale(row: Array, low: int, high: int) -> np.float32 | None:
    """The scale of numbers that aren't all 0; None where there is none."""
    counts = np.array([127, 128, *range(126, 0, -1), *range(129, max(-low, high) + 1)])
    scales = np.stack(_near(np.abs(row).max(), counts), axis=1).reshape(-1, 1)
    some = row[row != 0][:_SAMPLE]
    for (scale,) in scales[_are_multiples(some, scales, low, high)]:
        if _are_multiples(row, scale, low, high):
            return np.float32(scale)
    return None


def _near(largest: Array, count: int | Array) -> tuple[Scales, Scales, Scales]:
    """The scales of which the largest number may be a multiple: division and product are rounded."""
    with np.errstate(all="ignore"):  # f64 numbers that f32 doesn't have
        middle = np.asarray((largest / np.asarray(count, largest.dtype)).astype(np.float32))
    return middle, np.nextafter(middle, np.float32(0)), np.nextafter(middle, np.float32(np.inf))


def _are_multiples(row: Array, scale: Array, low: int, high: int) -> NDArray[np.bool_]:
    """Whether numbers (the last dimension) are multiples of a scale by `low` to `high`."""
    wide = np.asarray(scale, row.dtype)
    with np.errstate(all="ignore"):  # scales of 0
        whole = np.rint(row / wide)
        fits: NDArray[np.bool_] = ((whole >= low) & (whole <= high) & (whole * wide == row)).all(axis=-1)
    return fits
