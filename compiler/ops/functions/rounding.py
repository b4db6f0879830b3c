"""Rounding to the nearest whole number, halves away from zero: on NumPy arrays and as a loop expression."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...loops.rounding import Let as Let
from ...loops.rounding import rounded_expr as rounded_expr


def rounded(x: NDArray[Any]) -> NDArray[Any]:
    """The nearest whole numbers of floats, as floats of the same type."""
    size = np.abs(x)
    whole = np.floor(size)
    result: NDArray[Any] = np.copysign(whole + (size - whole >= 0.5), x)
    return result
