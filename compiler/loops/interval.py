"""Interval analysis of index expressions: the smallest and largest value that an expression can take."""

from __future__ import annotations

import math
from collections.abc import Mapping

from .ir import Binary, Const, Expr, Select, Var

Interval = tuple[float, float]
"""Inclusive; infinite where unknown."""

UNKNOWN: Interval = (-math.inf, math.inf)


def interval(expr: Expr, ranges: Mapping[str, Interval]) -> Interval:
    """Bounds of an integer expression, given those of the variables; `UNKNOWN` for what is not affine enough."""
    match expr:
        case Const(value, _, _):
            return (int(value), int(value))
        case Var(name, _):
            return ranges.get(name, UNKNOWN)
        case Binary(op, a, b):
            return _binary(op, interval(a, ranges), interval(b, ranges))
        case Select(_, a, b):
            (a_low, a_high), (b_low, b_high) = interval(a, ranges), interval(b, ranges)
            return (min(a_low, b_low), max(a_high, b_high))
        case _:
            return UNKNOWN


def _binary(op: str, a: Interval, b: Interval) -> Interval:
    if op == "add":
        return (a[0] + b[0], a[1] + b[1])
    if op == "sub":
        return (a[0] - b[1], a[1] - b[0])
    if op == "mul":
        corners = [_product(x, y) for x in a for y in b]
        return (min(corners), max(corners))
    if op == "min":
        return (min(a[0], b[0]), min(a[1], b[1]))
    if op == "max":
        return (max(a[0], b[0]), max(a[1], b[1]))
    if op in ("floordiv", "mod") and b[0] == b[1] and b[0] > 0:
        return _divided(op, a, b[0])
    return UNKNOWN


def _product(x: float, y: float) -> float:
    return 0 if x == 0 or y == 0 else x * y


def _divided(op: str, a: Interval, divisor: float) -> Interval:
    if op == "floordiv":
        low = a[0] if math.isinf(a[0]) else a[0] // divisor
        high = a[1] if math.isinf(a[1]) else a[1] // divisor
        return (low, high)
    if a[0] >= 0 and a[1] < divisor:
        return a
    return (0, divisor - 1)
