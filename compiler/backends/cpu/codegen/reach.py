"""Bounds of floats, as far as they are known while code is emitted.

What has bounds is no NaN, and what has finite ones may lie in an integer type's range for certain: then instructions
that would take care of the rest are left out.
"""

from __future__ import annotations

import math

import numpy as np

from ....loops.interval import UNKNOWN, Interval
from ....types import DType
from .text import literal

_SLACK = 2.0**-9
"""Bounds are widened by more than any operation rounds: half precision has 11 bits."""


class Reach:
    """Bounds by the names of values; infinite ones are those of a number of any size."""

    def __init__(self) -> None:
        self._bounds: dict[str, Interval] = {}

    def of(self, operand: str) -> Interval | None:
        """Bounds of an operand; None if it may be NaN."""
        number = literal(operand)
        if number is None:
            return self._bounds.get(operand)
        return None if math.isnan(number) else (number, number)

    def is_within(self, operand: str, low: float, high: float) -> bool:
        """True if an operand lies between two numbers for certain."""
        bounds = self.of(operand)
        return bounds is not None and low <= bounds[0] and bounds[1] <= high

    def record(self, name: str, bounds: Interval | None, dtype: DType) -> None:
        """Note the bounds of a float of a type; None: it may be NaN."""
        if bounds is None:
            return
        slack = _SLACK * max(abs(bounds[0]), abs(bounds[1]))
        low, high = bounds[0] - slack, bounds[1] + slack
        largest = float(np.finfo(str(dtype.numpy)).max)
        self._bounds[name] = (low, high) if -largest < low and high < largest else UNKNOWN

    def combine(self, op: str, name: str, a: str, b: str, dtype: DType) -> None:
        """Note the bounds of `name`, which an operation of the loop IR made of two operands."""
        x, y = self.of(a), self.of(b)
        if x is None or y is None:
            return
        if op in ("min", "max"):
            pick = min if op == "min" else max
            self.record(name, (pick(x[0], y[0]), pick(x[1], y[1])), dtype)
        elif op in ("add", "sub", "mul") and all(map(math.isfinite, (*x, *y))):
            signed = (-y[1], -y[0]) if op == "sub" else y
            sums = [p * q if op == "mul" else p + q for p in x for q in signed]
            self.record(name, (min(sums), max(sums)), dtype)

    def add_product(self, name: str, factors: tuple[str, str], c: str, dtype: DType) -> None:
        """Note the bounds of `name`, the product of two operands plus another one."""
        product = f"{name} product"
        self.combine("mul", product, *factors, dtype)
        self.combine("add", name, product, c, dtype)

    def choose(self, name: str, a: str, b: str, dtype: DType) -> None:
        """Note the bounds of `name`, which is one of two operands."""
        x, y = self.of(a), self.of(b)
        if x is not None and y is not None:
            self.record(name, (min(x[0], y[0]), max(x[1], y[1])), dtype)
