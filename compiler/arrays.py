"""Copies of large arrays, and memory for them."""

from __future__ import annotations

from typing import Any

import numpy as np

ALIGNMENT = 64
"""Of arena and weights, in bytes."""


def aligned_bytes(size: int) -> np.ndarray[Any, Any]:
    """Zeroed memory that starts at a multiple of `ALIGNMENT`."""
    raw = np.zeros(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size]


def row_major(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """An array with its elements in row-major order, the very array if they are so.

    The last axis is copied in short blocks, so that the lines of the cache that a block reads serve its neighbours.
    """
    if array.flags.c_contiguous or not array.ndim:
        return array
    result = np.empty(array.shape, array.dtype)
    block = max(1, _LINE // array.itemsize)
    if array.size < _SMALL or array.strides[-1] == array.itemsize:
        block = array.shape[-1]
    for start in range(0, array.shape[-1], max(1, block)):
        result[..., start : start + block] = array[..., start : start + block]
    return result


_LINE = 64
"""Bytes of a line of the cache."""
_SMALL = 1 << 20
"""Elements that are copied at once."""
