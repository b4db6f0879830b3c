"""Rounding to the nearest whole number, halves away from zero: on NumPy arrays and as a loop expression."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..loops.ir import Binary, Cast, Expr, Select, Unary, const

Let = Callable[[Expr], Expr]
"""Gives a name to an expression that is used more than once (`Compute.let`)."""


def rounded(x: NDArray[Any]) -> NDArray[Any]:
    """The nearest whole numbers of floats, as floats of the same type."""
    size = np.abs(x)
    whole = np.floor(size)
    result: NDArray[Any] = np.copysign(whole + (size - whole >= 0.5), x)
    return result


def rounded_expr(let: Let, x: Expr) -> Expr:
    """`rounded` of a floating-point expression."""
    x = let(x)
    size = let(Unary("abs", x))
    whole = let(Unary("floor", size))
    result = let(whole + Cast(Binary("le", const(0.5, size.type), size - whole), x.type.dtype))
    return Select(Binary("lt", x, const(0.0, x.type)), Unary("neg", result), result)
