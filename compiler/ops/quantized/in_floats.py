"""Sums and products of two 8-bit numbers in single precision, with the integers that fixed-point arithmetic gives.

There are 65,536 pairs of 8-bit numbers, so a shorter formula can be checked whole. One in single precision, with two
fused multiply-adds, differs from the fixed-point one only where the real result lies within some 2^-15 of the middle
between two integers. Nudging factors and offset by some units in the last place almost always puts these
pairs right, too; where it doesn't, there is no such formula.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...loops.ir import Cast, Expr, Fma, const, maximum, minimum
from ...types import DType

Array = NDArray[Any]

_NUDGES = sorted(range(-3, 4), key=abs)
_OFFSET_NUDGES = np.arange(-6, 7)
_DOUBTFUL = 2.0**-12
"""How near to an integer a sum is that rounding errors may carry past it."""
_SMALLEST, _LARGEST = 2.0**-12, 2.0**6
"""Factors for which sums of products are exact in double precision, before they are rounded to single."""


@dataclass(frozen=True)
class Range:
    """The results of an operator."""

    dtype: DType
    low: int
    high: int

    @property
    def bottom(self) -> int:
        """The smallest number of the type."""
        return int(np.iinfo(str(self.dtype.numpy)).min)

    def integers(self, sums: Array) -> Array:
        """The results for sums, to which `offset` was added."""
        limited: Array = np.clip(sums, self.low - self.bottom, self.high - self.bottom)
        return limited.astype(np.int64) + self.bottom

    def offset(self, real: float) -> float:
        """What makes truncation round to nearest, and sums of results not negative."""
        return real - self.bottom + 0.5

    def expression(self, total: Expr) -> Expr:
        """`integers` of an f32 expression."""
        low, high = (const(float(n - self.bottom), total.type) for n in (self.low, self.high))
        return Cast(Cast(maximum(minimum(total, high), low), DType.I32) + self.bottom, self.dtype)


def total(x: Expr, factor: float, y: Expr | None, other: float, offset: float) -> Expr:
    """The sum x * factor + (y * other + offset) of f32 expressions, rounded twice."""
    start = const(offset, x.type)
    return Fma(x, const(factor, x.type), start if y is None else Fma(y, const(other, x.type), start))


def factors(
    x: Array, factor: float, y: Array, other: float, offset: float, range_: Range, exact: Array
) -> tuple[float, float, float] | None:
    """The f32 numbers that stand for both factors and the offset, so that `total` gives `exact`; None if none do.

    `x`, `y` and `exact` are whole numbers in arrays of the same shape. `other` may be 0.
    """
    if not all(_SMALLEST <= abs(f) <= _LARGEST for f in (factor, other) if f):
        return None
    middle = range_.offset(offset)
    real = x * factor + (y * other + middle)
    doubtful = np.abs(real - np.rint(real)) < _DOUBTFUL
    some = x[doubtful], y[doubtful], exact[doubtful]
    for a, b in product(_NUDGES, _NUDGES if other else [0]):
        f, g = _nudged(factor, a), _nudged(other, b)
        offsets = _nudged(middle, _OFFSET_NUDGES)
        sums = _total(some[0], f, some[1], g, offsets[:, np.newaxis])
        (right,) = np.nonzero((range_.integers(sums) == some[2]).all(axis=1))
        for c in offsets[right[:1]]:
            if np.array_equal(range_.integers(_total(x, f, y, g, c)), exact):
                return float(f), float(g), float(c)
    return None


def _nudged(number: float, units: Any) -> Any:
    """A number in single precision, moved by some units in the last place."""
    bits = np.asarray(number, np.float32).view(np.int32) + np.asarray(units, np.int32)
    return bits.view(np.float32)


def _total(x: Array, f: Any, y: Array, g: Any, c: Any) -> Array:
    """`total` on arrays: products of some bits and single precision are exact in double precision, as are the sums."""
    start = (y * np.float64(g) + np.float64(c)).astype(np.float32)
    return (x * np.float64(f) + start.astype(np.float64)).astype(np.float32)
