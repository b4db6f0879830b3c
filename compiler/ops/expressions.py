"""Arithmetic of values, for layers that are formulas: numbers become constants of the other operand's element type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..graph.ir import Attribute, Emits, Value


@dataclass(frozen=True, slots=True)
class Formula:
    """A value with operators and methods for what formulas are made of."""

    b: Emits
    value: Value

    def emit(self, operator: str, *operands: Formula | float, **attributes: Attribute) -> Formula:
        """An operator, with this value as its first operand."""
        return Formula(self.b, self.b.emit(operator, self.value, *map(self._value, operands), **attributes))

    def _value(self, operand: Formula | float) -> Value:
        return operand.value if isinstance(operand, Formula) else self.constant(operand).value

    def constant(self, number: Any) -> Formula:
        """A constant of this element type."""
        return Formula(self.b, self.b.emit("constant", value=np.array(number, self.value.type.dtype.numpy)))

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""
        return self.value.type.shape

    def __add__(self, other: Formula | float) -> Formula:
        return self.emit("add", other)

    def __sub__(self, other: Formula | float) -> Formula:
        return self.emit("sub", other)

    def __rsub__(self, other: float) -> Formula:
        return self.constant(other) - self

    def __mul__(self, other: Formula | float) -> Formula:
        return self.emit("mul", other)

    def __truediv__(self, other: Formula | float) -> Formula:
        return self.emit("div", other)

    def floor(self) -> Formula:
        """The largest whole number that isn't larger."""
        return self.emit("floor_div", 1)

    def cast(self, dtype: str) -> Formula:
        """In another element type; itself if it has it already."""
        return self if str(self.value.type.dtype) == dtype else self.emit("cast", dtype=dtype)

    def maximum(self, other: Formula | float) -> Formula:
        """The larger one."""
        return self.emit("maximum", other)

    def minimum(self, other: Formula | float) -> Formula:
        """The smaller one."""
        return self.emit("minimum", other)

    def clamp(self, low: float, high: float) -> Formula:
        """The nearest number from low to high."""
        return self.emit("clamp", low=float(low), high=float(high))

    def where(self, condition: Value, otherwise: Formula | float) -> Formula:
        """The value where the condition holds, else the other one."""
        return Formula(self.b, self.b.emit("select", condition, self.value, self._value(otherwise)))

    def between(self, low: float, high: float) -> Value:
        """True where low <= self <= high."""
        above = self.emit("less_equal", self.constant(high)).value
        inside = self.constant(low).emit("less_equal", self).value
        return self.b.emit("select", inside, above, inside)

    def reshape(self, *shape: int) -> Formula:
        """In another shape."""
        return self if self.shape == shape else self.emit("reshape", shape=shape)

    def column(self, number: int) -> Formula:
        """Element `number` of the last dimension, which goes."""
        *lead, _ = self.shape
        part = self.emit("slice", begin=(*(0 for _ in lead), number), size=(*lead, 1))
        return part.reshape(*lead)

    def broadcast(self, *shape: int) -> Formula:
        """Repeated to a shape."""
        return self if self.shape == shape else self.emit("broadcast_to", shape=shape)


def stacked(parts: list[Formula], axis: int = 0) -> Formula:
    """Formulas of one shape side by side in a new dimension."""
    first = parts[0]
    shape = first.shape
    place = axis % (len(shape) + 1)
    wide = [part.reshape(*shape[:place], 1, *shape[place:]) for part in parts]
    if len(wide) == 1:
        return wide[0]
    return Formula(first.b, first.b.emit("concat", *(part.value for part in wide), axis=place))
