"""Rounding to the nearest whole number, halves away from zero, as an expression."""

from __future__ import annotations

from collections.abc import Callable

from .expressions import Binary, Expr, Unary, const
from .nodes import Cast, Select

Let = Callable[[Expr], Expr]
"""Gives a name to an expression that is used more than once."""


def rounded_expr(let: Let, x: Expr) -> Expr:
    """The nearest whole number of a floating-point expression."""
    x = let(x)
    size = let(Unary("abs", x))
    whole = let(Unary("floor", size))
    result = let(whole + Cast(Binary("le", const(0.5, size.type), size - whole), x.type.dtype))
    return Select(Binary("lt", x, const(0.0, x.type)), Unary("neg", result), result)
