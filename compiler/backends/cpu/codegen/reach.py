"""Bounds of floats, as far as they are known while code is emitted.

What is no NaN and has finite bounds may lie in an integer type's range for certain: then instructions that would take
care of the rest are left out. Bounds of what may be NaN hold where it is a number.
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
        self._numbers = set[str]()
        """What is no NaN."""
        self._lifted: dict[str, tuple[str, str]] = {}

    def of(self, operand: str) -> Interval | None:
        """Bounds of an operand; None if it may be NaN."""
        number = literal(operand)
        if number is None:
            return self._bounds[operand] if operand in self._numbers else None
        return None if math.isnan(number) else (number, number)

    def unless_nan(self, operand: str) -> Interval:
        """Bounds of an operand where it isn't NaN."""
        number = literal(operand)
        if number is None or math.isnan(number):
            return self._bounds.get(operand, UNKNOWN)
        return number, number

    def is_within(self, operand: str, low: float, high: float) -> bool:
        """True if an operand lies between two numbers for certain."""
        bounds = self.of(operand)
        return bounds is not None and low <= bounds[0] and bounds[1] <= high

    def record(self, name: str, bounds: Interval | None, dtype: DType) -> None:
        """Note the bounds of a float of a type; None: it may be NaN."""
        if bounds is not None:
            self._note(name, _widened(bounds, dtype), is_number=True)

    def _note(self, name: str, bounds: Interval, *, is_number: bool) -> None:
        self._bounds[name] = bounds
        if is_number:
            self._numbers.add(name)

    def combine(self, op: str, name: str, a: str, b: str, dtype: DType) -> None:
        """Note the bounds of `name`, which an operation of the loop IR made of two operands."""
        x, y = self.unless_nan(a), self.unless_nan(b)
        is_number = self.of(a) is not None and self.of(b) is not None
        if op in ("min", "max"):
            pick = min if op == "min" else max
            self._note(name, (pick(x[0], y[0]), pick(x[1], y[1])), is_number=is_number)
        elif op in ("add", "sub", "mul") and all(map(math.isfinite, (*x, *y))):
            signed = (-y[1], -y[0]) if op == "sub" else y
            sums = [p * q if op == "mul" else p + q for p in x for q in signed]
            self._note(name, _widened((min(sums), max(sums)), dtype), is_number=is_number)

    def turn(self, op: str, name: str, x: str) -> None:
        """Note the bounds of `name`, which neg or abs made of an operand."""
        low, high = self.unless_nan(x)
        if op == "abs":
            low, high = max(low, -high, 0.0), max(-low, high)
        else:
            low, high = -high, -low
        self._note(name, (low, high), is_number=self.of(x) is not None)

    def add_product(self, name: str, factors: tuple[str, str], c: str, dtype: DType) -> None:
        """Note the bounds of `name`, the product of two operands plus another one."""
        product = f"{name} product"
        self.combine("mul", product, *factors, dtype)
        self.combine("add", name, product, c, dtype)

    def choose(self, name: str, a: str, b: str) -> None:
        """Note the bounds of `name`, which is one of two operands."""
        x, y = self.unless_nan(a), self.unless_nan(b)
        is_number = self.of(a) is not None and self.of(b) is not None
        self._note(name, (min(x[0], y[0]), max(x[1], y[1])), is_number=is_number)

    def lift(self, name: str, x: str, least: str) -> None:
        """Note the bounds of `name`: an operand where it is larger than another one, else that, also for NaN."""
        (low, high), (least_low, least_high) = self.unless_nan(x), self.unless_nan(least)
        self._note(name, (max(low, least_low), max(high, least_high)), is_number=self.of(least) is not None)
        self._lifted[name] = x, least

    def before_lift(self, name: str, least: float) -> str | None:
        """The operand that `name` is where it is larger than a number, else this; None of another value."""
        x, other = self._lifted.get(name, (None, ""))
        return x if x is not None and literal(other) == least else None


def _widened(bounds: Interval, dtype: DType) -> Interval:
    """Bounds of what is rounded to a type: what passes its largest number is infinite."""
    slack = _SLACK * max((abs(x) for x in bounds if math.isfinite(x)), default=0.0)
    low, high = bounds[0] - slack, bounds[1] + slack
    largest = float(np.finfo(str(dtype.numpy)).max)
    return low if -largest < low else -math.inf, high if high < largest else math.inf
