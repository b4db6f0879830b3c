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
from .ir import Buffer, Expr, Stmt, Var


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
    takes_vectors: bool = False
    """`body` is made of what it loads alone, of nothing that was loaded for the result's element before, so that it
    also gives vectors along the last extent."""


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

    def entry(self, operand: int, x: Expr) -> Expr:
        """The entry of a table, an operand of one dimension that begins with the smallest number of the type of `x`."""
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


class Procedure(Protocol):
    """How a procedural operator sees memory: it states loops itself, such as those that carry a state.

    Whether a loop is shared out to threads is asked here; the verifier proves that they don't meet.
    """

    def type(self, operand: int) -> TensorType:
        """Type of an operand."""
        ...

    @property
    def result(self) -> TensorType:
        """Type of the result."""
        ...

    def fresh(self, stem: str) -> str:
        """A name that nothing else in the kernel has."""
        ...

    def load(self, operand: int, index: tuple[Expr, ...], lanes: int = 1) -> Expr:
        """`lanes` elements of an operand from `index` on, which lie inside it."""
        ...

    def read(self, index: tuple[Expr, ...], lanes: int = 1) -> Expr:
        """Elements of the result that have been written before."""
        ...

    def store(self, index: tuple[Expr, ...], value: Expr) -> Stmt:
        """Write elements of the result."""
        ...

    def let(self, block: list[Stmt], stem: str, value: Expr) -> Var:
        """A value under a name, from the end of the block on."""
        ...

    def local(self, stem: str, dtype: DType, shape: tuple[int, ...]) -> Buffer:
        """Memory of the kernel's own, which an `Allocate` makes."""
        ...

    def loop(self, stem: str, extent: int, body: Callable[[Expr], list[Stmt]], *, shared: int = 0) -> list[Stmt]:
        """`body` for each number below `extent`, in order.

        `shared` is the number of operations of an outermost loop whose iterations write different elements: it is
        shared out to threads if these are many.
        """
        ...

    def vectors(self, extent: int, body: Callable[[Var, int], list[Stmt]]) -> list[Stmt]:
        """`body(first, lanes)` for vectors that cover `extent` neighbours."""
        ...
