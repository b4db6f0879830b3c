"""Winograd's filtering F(4x4, 3x3) in integers: exact sums of 8-bit products by products of 16-bit numbers.

The algebra is that of `ops.windows.winograd`, at the points 0, 1, -1, 2, -2 and infinity (Lavin and Gray, Fast
algorithms for convolutional neural networks, 2016), with its fractions moved to the end: inputs at their points are at
most 100 times as large as the inputs, filters at most 49 times as large as the filters, so that both fit 16 bits.

Row i of the output matrix gives 3 * 2^`SHIFTS[i]` times the results. All sums are taken modulo 2^32. Multiplying by the
inverse of 9 modulo 2^32 leaves the result times a power of two, of at most 2^6; an arithmetic shift leaves the
result, if it lies within 26 bits with its sign. `most_channels` says how many channels may be summed for that, and
`sums_fit` whether all may be whose weights are known.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec
from ...graph.registry import register
from ...types import DType, TensorType
from ..windows.winograd import POINTS, TAPS, TILE, Filtering, Matrix
from .base import BYTES, Part

INPUT: Matrix = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
"""From inputs to points."""
FILTER: Matrix = ((6, 0, 0), (1, 1, 1), (1, -1, 1), (1, 2, 4), (1, -2, 4), (0, 0, 6))
"""From filter elements to points; six times as large at the ends, so that `OUTPUT` only adds and shifts."""
OUTPUT: Matrix = (
    (1, -4, -4, 1, 1, 0),
    (0, -2, 2, 1, -1, 0),
    (0, -1, -1, 1, 1, 0),
    (0, -1, 1, 2, -2, 1),
)
"""From points to the multiples of results."""
FORM = Filtering(TILE, INPUT, FILTER, OUTPUT)
SHIFTS = (3, 2, 1, 1)
"""Row i of `OUTPUT` gives 3 * 2^SHIFTS[i] times a result."""
INVERSE = pow(9, -1, 1 << 32)
"""Times 9 it is 1 modulo 2^32."""
_LEFT_BITS = 31 - 2 * max(SHIFTS)
"""Bits of a result that are left, beside its sign."""


def most_channels(x: DType, weight: DType, weight_zero: int) -> int:
    """How many channels may be summed up, whatever the numbers of these types are."""
    largest = max(abs(n) for n in _range_of(x)) * max(abs(n - weight_zero) for n in _range_of(weight))
    return int(((1 << _LEFT_BITS) - 1) // (TAPS**2 * largest))


def sums_fit(x: DType, weight: Array, weight_zero: int) -> bool:
    """May all channels of a weight [..., C, F] be summed up, whatever the inputs of this type are?"""
    factors = np.abs(weight.astype(np.int16) - np.int16(weight_zero))
    largest = int(factors.sum(axis=tuple(range(weight.ndim - 1)), dtype=np.int64).max(initial=0))
    return largest * max(abs(n) for n in _range_of(x)) < 1 << _LEFT_BITS


def _range_of(dtype: DType) -> tuple[int, int]:
    info = np.iinfo(str(dtype.numpy))
    return int(info.min), int(info.max)


@register
class WinogradWords(Part):
    """8-bit filters [..., 3, 3, C, F], less their zero point, at the points of F(4x4, 3x3): i16 [..., 36, C, F]."""

    name = "winograd_words"
    operands = ("weight",)
    attributes = {"weight_zero": AttributeSpec(int, "zero point of the weight", 0)}

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (weight,) = operands
        if weight.dtype not in BYTES or weight.rank < 4 or weight.shape[-4:-2] != (TAPS, TAPS):
            raise ShapeError(f"{self.name} takes filters of bytes of size {TAPS} x {TAPS}, not {weight}")
        low, high = _range_of(weight.dtype)
        if not low <= attributes["weight_zero"] <= high:
            raise ShapeError(f"{self.name}: {attributes['weight_zero']} is no zero point of {weight}")
        return (TensorType(DType.I16, (*weight.shape[:-4], POINTS**2, *weight.shape[-2:])),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (weight,) = operands
        *outer, _, _, channels, filters = weight.shape
        taps = weight.astype(np.int16) - np.int16(attributes["weight_zero"])
        taps = np.moveaxis(taps, (-4, -3), (0, 1))
        points = np.empty((POINTS, POINTS, *outer, channels, filters), np.int16)
        columns = [list(_times(FILTER, row)) for row in taps]
        for k in range(POINTS):
            points[:, k] = list(_times(FILTER, np.stack([row[k] for row in columns])))
        return (np.moveaxis(points.reshape(POINTS**2, *outer, channels, filters), 0, -3),)


def _times(matrix: Matrix, rows: Array) -> Iterator[Array]:
    """The product of small integers."""
    for line in matrix:
        yield sum(np.int16(factor) * row for factor, row in zip(line, rows, strict=True) if factor)
