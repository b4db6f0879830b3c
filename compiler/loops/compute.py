"""The vocabulary in which operators state their loop lowering: one result element from operand elements.

An operator's `compute` receives a `Compute` and the index of a result element, and returns an expression, or a
`Reduction` whose body is one. It never says in which order elements are visited, how wide vectors are or where
operands come from: lowerings and schedules decide that by the `Compute` they pass in (`load` may read memory, take a
value that is still in registers, or inline the producer).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ..types import DType, TensorType
from .ir import Expr


@dataclass(frozen=True, slots=True)
class Reduction:
    """Elements combined over a rectangular domain: `finish(op over all r in extents of body(r))`."""

    op: str
    """add, max, min or mul."""
    extents: tuple[int, ...]
    body: Callable[[tuple[Expr, ...]], Expr]
    finish: Callable[[Expr], Expr] | None = None
    dtype: DType | None = None
    """Element type in which they are combined; that of the result, if none is given."""


Element = Expr | Reduction


class Compute(Protocol):
    """How an operator sees its operands while it is lowered."""

    @property
    def count(self) -> int:
        """Number of operands."""
        ...

    def type(self, operand: int) -> TensorType:
        """Type of an operand."""
        ...

    def load(self, operand: int, index: tuple[Expr, ...]) -> Expr:
        """The element of an operand at `index`, which must lie inside it."""
        ...

    def load_broadcast(self, operand: int, index: tuple[Expr, ...]) -> Expr:
        """The element that broadcasts to the result's `index` (NumPy's rules)."""
        ...

    def load_padded(self, operand: int, index: tuple[Expr, ...], padding: float) -> Expr:
        """The element at `index`, or `padding` where it lies outside."""
        ...

    def bounds(self, index: Expr) -> tuple[float, float]:
        """Smallest and largest value that an index takes here, in all lanes; infinite where unknown."""
        ...

    def let(self, value: Expr) -> Expr:
        """A value that is used several times, under a name: it is computed once."""
        ...

    def reduce(self, rule: Reduction) -> Expr:
        """The value of a reduction inside the element's rule, computed before what reads it."""
        ...

    def splat(self, scalar: Expr) -> Expr:
        """A scalar expression in every lane that is being computed."""
        ...
