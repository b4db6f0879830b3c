"""What the parts of the translation of expressions ask of it: an interface, so that none needs to know the whole."""

from __future__ import annotations

from typing import Protocol

from ....loops.ir import Buffer, Expr
from ....targets.target import Target
from .reach import Reach
from .text import LLVMType, Value
from .writer import FunctionWriter


class Emission(Protocol):
    """A function in the making (see `expressions.ExpressionEmitter`)."""

    target: Target
    out: FunctionWriter
    reach: Reach
    flipped: dict[str, tuple[str, int]]
    """Of bytes with bits that were flipped: the bytes before, and the bits of each."""

    def arithmetic(self, op: str, kind: LLVMType, a: str, b: str) -> str:
        """Emit an operation of `ARITHMETIC` on two operands of one type."""
        ...

    def pick(self, compare: str, x: Value, other: str) -> Value:
        """`x` where it compares so with `other`, else `other`."""
        ...

    def splat(self, scalar: Value, lanes: int) -> Value:
        """A scalar in every lane."""
        ...


class Nested(Emission, Protocol):
    """An emission that also takes the expressions of a node."""

    def value(self, expr: Expr) -> Value:
        """Emit an expression."""
        ...

    def let(self, expr: Expr) -> Expr:
        """Emit an expression under a name that no program can write, and return the variable."""
        ...

    def address(self, buffer: Buffer, indices: tuple[Expr, ...]) -> str:
        """Pointer to an element."""
        ...
