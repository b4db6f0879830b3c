"""Sums of two 8-bit numbers in single precision, with the integers that fixed-point arithmetic gives.

There are 65,536 pairs of 8-bit numbers, so a shorter formula can be checked whole. One in single precision, with two
fused multiply-adds, differs from the fixed-point one only where the real result lies within some 2^-15 of the middle
between two integers. Nudging factors and offset by some units in the last place almost always puts these pairs right,
too. Where many results lie in the middle, as with scales that are powers of two, there may be no such formula.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...loops.ir import Binary, Bitcast, Cast, Const, Expr, Fma, const, maximum, minimum
from ...types import DType

Array = NDArray[Any]

_NUDGES = sorted(range(-3, 4), key=abs)
_OFFSET_NUDGES = np.arange(-6, 7)
_DOUBTFUL = 2.0**-12
"""How near to an integer a sum is that rounding errors may carry past it."""
_SMALLEST, _LARGEST = 2.0**-12, 2.0**6
"""Factors for which sums of products are exact in double precision, before they are rounded to single."""


@dataclass(frozen=True)
class Results:
    """The results of an operator, of which sums stand above the smallest number of the type, by one half more."""

    dtype: DType
    low: int
    high: int

    @property
    def bottom(self) -> int:
        """The smallest number of the type."""
        return int(np.iinfo(str(self.dtype.numpy)).min)

    def integers(self, sums: Array) -> Array:
        """The results for sums."""
        limited: Array = np.clip(sums, self.low - self.bottom, self.high - self.bottom)
        return limited.astype(np.int64) + self.bottom

    def expression(self, total: Expr) -> Expr:
        """`integers` of an f32 expression: converting it to bytes limits it to their range."""
        info = np.iinfo(str(self.dtype.numpy))
        if self.high < info.max:
            total = minimum(total, float(self.high - self.bottom))
        if self.low > info.min:
            total = maximum(total, float(self.low - self.bottom))
        byte = Cast(total, DType.U8)
        top = Const(-self.bottom, DType.U8, total.type.lanes)
        return Bitcast(Binary("xor", byte, top), self.dtype) if self.bottom else byte


@dataclass(frozen=True)
class Pairs:
    """Pairs of numbers, and the result of each."""

    a: Array
    b: Array
    exact: Array

    def __getitem__(self, which: Array) -> Pairs:
        return Pairs(self.a[which], self.b[which], self.exact[which])

    def sums(self, f: Any, g: Any, offset: Any) -> Array:
        """`total` on arrays: products of so few bits are exact in double precision, as are the sums."""
        start = (self.b * np.float64(g) + np.asarray(offset, np.float64)).astype(np.float32)
        total: Array = (self.a * np.float64(f) + start.astype(np.float64)).astype(np.float32)
        return total


def total(a: Expr, b: Expr, f: float, g: float, offset: float) -> Expr:
    """The sum a * f + (b * g + offset) of f32 expressions, rounded twice."""
    return Fma(a, const(f, a.type), Fma(b, const(g, a.type), const(offset, a.type)))


def formula(
    pairs: Pairs, factor: float, other: float, zero: float, results: Results
) -> tuple[float, float, float] | None:
    """The f32 numbers f, g and offset with which `total` gives all results, near a * factor + b * other + zero."""
    if not all(_SMALLEST <= abs(f) <= _LARGEST for f in (factor, other)):
        return None
    middle = zero - results.bottom + 0.5
    real = pairs.a * factor + (pairs.b * other + middle)
    doubtful = pairs[np.abs(real - np.rint(real)) < _DOUBTFUL]
    offsets = _nudged(middle, _OFFSET_NUDGES)
    for i, j in product(_NUDGES, _NUDGES):
        f, g = _nudged(factor, i), _nudged(other, j)
        right = results.integers(doubtful.sums(f, g, offsets[:, np.newaxis])) == doubtful.exact
        for offset in offsets[right.all(axis=1)][:1]:
            if np.array_equal(results.integers(pairs.sums(f, g, offset)), pairs.exact):
                return float(f), float(g), float(offset)
    return None


def _nudged(number: float, units: Any) -> Any:
    """A number in single precision, moved by some units in the last place."""
    bits = np.asarray(number, np.float32).view(np.int32) + np.asarray(units, np.int32)
    return bits.view(np.float32)
