"""Formulas over tensors in Python's notation, so that an update rule reads as it does in its paper.

`Formula` wraps a value of a graph under construction; `a * b + 1` emits the operations. Numbers become constants of
the other side's element type, and shapes broadcast as everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import Location
from ..graph.builder import GraphBuilder
from ..graph.ir import Attribute, Value
from ..types import DType, TensorType


@dataclass(frozen=True, slots=True)
class Formula:
    """A value, and the graph to which operations on it are added."""

    builder: GraphBuilder
    value: Value
    location: Location | None = None

    @property
    def type(self) -> TensorType:
        """Type of the value."""
        return self.value.type

    def apply(self, operator: str, *others: Formula | float, **attributes: Attribute) -> Formula:
        """Emit an operator on this value and others."""
        operands = [self._operand(other) for other in others]
        result = self.builder.emit(operator, self.value, *operands, location=self.location, **attributes)
        return self.with_value(result)

    def with_value(self, value: Value) -> Formula:
        """Another value of the same graph."""
        return Formula(self.builder, value, self.location)

    def number(self, number: float) -> Formula:
        """A constant of this value's element type."""
        return self.with_value(self.builder.scalar(number, self.type.dtype, self.location))

    def _operand(self, other: Formula | float) -> Value:
        return other.value if isinstance(other, Formula) else self.number(other).value

    def __add__(self, other: Formula | float) -> Formula:
        return self.apply("add", other)

    def __radd__(self, other: float) -> Formula:
        return self.number(other) + self

    def __sub__(self, other: Formula | float) -> Formula:
        return self.apply("sub", other)

    def __rsub__(self, other: float) -> Formula:
        return self.number(other) - self

    def __mul__(self, other: Formula | float) -> Formula:
        return self.apply("mul", other)

    def __rmul__(self, other: float) -> Formula:
        return self.number(other) * self

    def __truediv__(self, other: Formula | float) -> Formula:
        return self.apply("div", other)

    def __rtruediv__(self, other: float) -> Formula:
        return self.number(other) / self

    def __matmul__(self, other: Formula) -> Formula:
        return self.apply("matmul", other)

    def __neg__(self) -> Formula:
        return self.apply("neg")

    def sqrt(self) -> Formula:
        """Square root of each element."""
        return self.apply("sqrt")

    def exp(self) -> Formula:
        """Exponential of each element."""
        return self.apply("exp")

    def minimum(self, other: Formula | float) -> Formula:
        """The smaller elements."""
        return self.apply("minimum", other)

    def maximum(self, other: Formula | float) -> Formula:
        """The larger elements."""
        return self.apply("maximum", other)

    def greater(self, other: Formula | float) -> Formula:
        """Where the elements are greater than others, as booleans."""
        return self.apply("greater", other)

    def where(self, then: Formula, otherwise: Formula) -> Formula:
        """The elements of `then` where this one (of booleans) holds, else those of `otherwise`."""
        return self.apply("select", then, otherwise)

    def sum(self) -> Formula:
        """Sum of all elements, of rank 0."""
        return self.apply("reduce_sum")

    def mean(self) -> Formula:
        """Mean of all elements, of rank 0."""
        return self.apply("reduce_mean")

    def cast(self, dtype: DType) -> Formula:
        """The same numbers in another element type."""
        return self if dtype is self.type.dtype else self.apply("cast", dtype=str(dtype))
