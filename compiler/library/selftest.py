"""A library's test of itself: an input by a formula, and of the answer what is stored.

The input is that of a linear congruential generator, x' = 1664525 x + 1013904223 modulo 2^32 (Knuth, "The Art of
Computer Programming", volume 2, 3.3.4), which begins with `SEED` for each input. The upper bits of a number make an
element: all of an 8- or 16-bit integer, 0 or 1 of others, and 24 bits of a float from -1 to 1.

Of an answer up to `STORED_BYTES` are stored: all elements, or every n-th.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..graph.ir import Array
from ..types import DType, TensorType

MULTIPLIER = 1664525
INCREMENT = 1013904223
SEED = 1
STORED_BYTES = 4096
TOLERANCE = 1e-4
"""How far a float may be from the stored one, in units of the largest stored."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is stored of an output: every `stride`-th element, and how far floats may be from it."""

    type: TensorType
    stride: int
    stored: Array
    tolerance: float


def numbers(count: int) -> Array:
    """The first numbers of the generator."""
    result = np.empty(count, np.uint32)
    done, factor, term = 0, MULTIPLIER, INCREMENT
    if count:
        result[0] = (MULTIPLIER * SEED + INCREMENT) % 2**32
        done = 1
    while done < count:  # a step of as many numbers as there are
        size = min(done, count - done)
        result[done : done + size] = result[:size] * np.uint32(factor) + np.uint32(term)
        factor, term = factor * factor % 2**32, (factor * term + term) % 2**32
        done += size
    return result


def sample(type: TensorType) -> Array:  # noqa: A002 (the field's own word)
    """The stored input of a type."""
    drawn = numbers(type.size)
    dtype = type.dtype
    values: Array
    if dtype.is_float:
        values = (drawn >> 8).astype(np.float32) * np.float32(2**-23) - np.float32(1)
    elif dtype in (DType.I8, DType.U8, DType.I16):
        bits = 8 * dtype.itemsize
        values = (drawn >> (32 - bits)).astype(f"u{dtype.itemsize}").view(dtype.numpy)
    else:
        values = drawn >> 31
    return values.astype(dtype.numpy).reshape(type.shape)


def answers(types: Sequence[TensorType], results: Sequence[Array]) -> tuple[Answer, ...]:
    """What is stored of the results for the samples."""
    found = []
    for type_, result in zip(types, results, strict=True):
        stride = max(1, -(-type_.bytes // STORED_BYTES))
        stored = np.ascontiguousarray(result).reshape(-1)[::stride]
        found.append(Answer(type_, stride, stored, _tolerance(stored) if type_.dtype.is_float else 0.0))
    return tuple(found)


def _tolerance(stored: Array) -> float:
    finite = np.abs(stored[np.isfinite(stored)].astype(np.float64))
    return TOLERANCE * float(finite.max(initial=0.0))
