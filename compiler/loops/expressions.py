"""Expressions: their base, literals, names, accesses, and operations by name; `nodes` has the others.

A node's class declares, in one place, all that the loop IR knows of it:

- its fields: operands and parameters, and with `spelled` the word by which text calls it;
- `result`, its type, and `fault`, what is wrong with its operands;
- `meaning`, what it computes, in NumPy.

Printer, reader, verifier and interpreter follow these; only code generation has a rule of its own for each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, cast

from ..types import DType
from .buffers import INDEX, Buffer, VectorType
from .operations import OPERATIONS, Number
from .spelling import SPELLINGS, Spelling


class Expr:
    """Base of all expressions. Operators build nodes; those on constants fold."""

    __slots__ = ("type",)

    words: ClassVar[Mapping[str, Spelling]] = {}
    """By which words text calls nodes of this class (see `spelled`)."""
    type: VectorType
    """Element type and lanes."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "type", self.result())

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), tuple(getattr(self, f.name) for f in fields(cast(Any, self)))

    @property
    def operands(self) -> tuple[Expr, ...]:
        """The direct subexpressions; `spelled` makes this of a class's fields."""
        raise NotImplementedError

    @property
    def word(self) -> str:
        """How text calls it."""
        fitting = (w for w, s in self.words.items() if all(getattr(self, k) == v for k, v in s.said.items()))
        return next(fitting, "")

    @property
    def closed(self) -> bool:
        """True if `meaning` gives the type of the result by itself, so that nothing has to be rounded or wrapped."""
        return False

    @property
    def parameters(self) -> Mapping[str, object]:
        """The fields that text writes in angle brackets."""
        spelling = self.words.get(self.word)
        return {name: getattr(self, name) for name in spelling.parameters} if spelling else {}

    def result(self) -> VectorType:
        """Its type, if its operands fit; asked once, when a node is made."""
        raise NotImplementedError

    def fault(self) -> str:
        """What is wrong with the types of its operands and with its parameters; empty if nothing is."""
        raise NotImplementedError

    def meaning(self) -> Callable[..., Number]:
        """What it does with the values of its operands; the result may have a wider type."""
        raise NotImplementedError

    def __add__(self, other: Expr | int | float) -> Expr:
        return binary("add", self, other)

    def __radd__(self, other: Expr | int | float) -> Expr:
        return binary("add", other, self)

    def __sub__(self, other: Expr | int | float) -> Expr:
        return binary("sub", self, other)

    def __rsub__(self, other: Expr | int | float) -> Expr:
        return binary("sub", other, self)

    def __mul__(self, other: Expr | int | float) -> Expr:
        return binary("mul", self, other)

    def __rmul__(self, other: Expr | int | float) -> Expr:
        return binary("mul", other, self)

    def __truediv__(self, other: Expr | int | float) -> Expr:
        return binary("div", self, other)

    def __rtruediv__(self, other: Expr | int | float) -> Expr:
        return binary("div", other, self)

    def __floordiv__(self, other: Expr | int) -> Expr:
        return binary("floordiv", self, other)

    def __mod__(self, other: Expr | int) -> Expr:
        return binary("mod", self, other)


# ---- leaves: text, verifier and interpreter know these themselves ---------------------------------------------------


@dataclass(frozen=True, slots=True)
class Const(Expr):
    """A literal; with several lanes, the same number in each."""

    value: int | float | bool
    dtype: DType = DType.I64
    lanes: int = 1

    @property
    def operands(self) -> tuple[Expr, ...]:
        return ()

    def result(self) -> VectorType:
        return VectorType(self.dtype, self.lanes)

    def fault(self) -> str:
        fits = isinstance(self.value, int) or self.dtype.is_float or float(self.value).is_integer()
        return "" if fits and self.lanes >= 1 else f"is no literal of {self.dtype}"


@dataclass(frozen=True, slots=True)
class Var(Expr):
    """A loop variable, or a value that `Let` defined."""

    name: str
    of: VectorType = INDEX

    @property
    def operands(self) -> tuple[Expr, ...]:
        return ()

    def result(self) -> VectorType:
        return self.of


@dataclass(frozen=True, slots=True)
class Load(Expr):
    """`lanes` neighbouring elements of a buffer from `indices` on (no alignment assumed).

    Or several `rows` of so many, each of which begins `pitch` elements of the last dimension after the one before.
    """

    buffer: Buffer
    indices: tuple[Expr, ...]
    lanes: int = 1
    rows: int = 1
    pitch: int = 0

    @property
    def operands(self) -> tuple[Expr, ...]:
        return self.indices

    def result(self) -> VectorType:
        if self.buffer.lanes > 1:
            return self.buffer.element
        return VectorType(self.buffer.dtype, self.lanes * self.rows)

    @property
    def span(self) -> int:
        """Elements from the first one to the last one, of memory."""
        return self.pitch * (self.rows - 1) + self.lanes


# ---- operations by name ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Binary(Expr):
    """An operation of `OPERATIONS` on two values of the same type; comparisons give `i1`."""

    op: str
    lhs: Expr
    rhs: Expr

    @property
    def operands(self) -> tuple[Expr, ...]:
        return (self.lhs, self.rhs)

    @property
    def word(self) -> str:
        return self.op

    @property
    def closed(self) -> bool:
        return OPERATIONS[self.op].closed

    def result(self) -> VectorType:
        operation, kind = OPERATIONS.get(self.op), self.lhs.type
        return VectorType(DType.BOOL, kind.lanes) if operation and operation.compares else kind

    def fault(self) -> str:
        kind, other = self.lhs.type, self.rhs.type
        if kind is not other:
            return f"operands differ: {kind}, {other}"
        return _refused(self.op, 2, kind)

    def meaning(self) -> Callable[..., Number]:
        return OPERATIONS[self.op].meaning


@dataclass(frozen=True, slots=True)
class Unary(Expr):
    """An operation of `OPERATIONS` on one value."""

    op: str
    value: Expr

    @property
    def operands(self) -> tuple[Expr, ...]:
        return (self.value,)

    @property
    def word(self) -> str:
        return self.op

    def result(self) -> VectorType:
        return self.value.type

    def fault(self) -> str:
        return _refused(self.op, 1, self.value.type)

    def meaning(self) -> Callable[..., Number]:
        return OPERATIONS[self.op].meaning


def _refused(op: str, count: int, kind: VectorType) -> str:
    """Why an operation doesn't take so many operands of a type; empty if it does."""
    operation = OPERATIONS.get(op)
    if operation is None or operation.operands != count:
        return f"there is no operation {op}"
    return f"{op} takes {operation.takes}, not {kind}" if operation.refuses(kind) else ""


def spelling(word: str) -> Spelling | None:
    """What a word of the text stands for; None if nothing is called so."""
    operation = OPERATIONS.get(word)
    if operation is None:
        return SPELLINGS.get(word)
    if operation.operands == 1:
        return Spelling(Unary, {"op": word}, ("value",))
    return Spelling(Binary, {"op": word}, ("lhs", "rhs"))


# ---- construction ---------------------------------------------------------------------------------------------------


def const(value: int | float, like: VectorType = INDEX) -> Const:
    """A literal of the given type."""
    return Const(float(value) if like.dtype.is_float else int(value), like.dtype, like.lanes)


def binary(op: str, lhs: Expr | int | float, rhs: Expr | int | float) -> Expr:
    """`op` of two values; numbers take the other side's type, index arithmetic on constants folds."""
    if not isinstance(lhs, Expr):
        lhs = const(lhs, rhs.type if isinstance(rhs, Expr) else INDEX)
    if not isinstance(rhs, Expr):
        rhs = const(rhs, lhs.type)
    if lhs.type is INDEX and rhs.type is INDEX:
        return _fold_index(op, lhs, rhs)
    return Binary(op, lhs, rhs)


def _fold_index(op: str, lhs: Expr, rhs: Expr) -> Expr:
    if isinstance(lhs, Const) and isinstance(rhs, Const) and OPERATIONS[op].folds:
        return Const(OPERATIONS[op].meaning(int(lhs.value), int(rhs.value)))
    if isinstance(rhs, Const):
        if (op in ("add", "sub") and rhs.value == 0) or (op in ("mul", "floordiv") and rhs.value == 1):
            return lhs
        if (op == "mul" and rhs.value == 0) or (op == "mod" and rhs.value == 1):
            return Const(0)
        if op == "add" and isinstance(lhs, Binary) and lhs.op == "add" and isinstance(lhs.rhs, Const):
            return _fold_index("add", lhs.lhs, Const(int(lhs.rhs.value) + int(rhs.value)))
    elif isinstance(lhs, Const) and op in ("add", "mul"):
        return _fold_index(op, rhs, lhs)
    return Binary(op, lhs, rhs)


def minimum(a: Expr | int | float, b: Expr | int | float) -> Expr:
    """The smaller of two values."""
    return binary("min", a, b)


def maximum(a: Expr | int | float, b: Expr | int | float) -> Expr:
    """The larger of two values."""
    return binary("max", a, b)


def rebuilt(e: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """The same expression of other operands: `change` gives what stands for each of them."""

    def field(value: Any) -> Any:
        if isinstance(value, Expr):
            return change(value)
        if isinstance(value, tuple) and any(isinstance(v, Expr) for v in value):
            return tuple(map(change, value))
        return value

    return type(e)(**{f.name: field(getattr(e, f.name)) for f in fields(cast(Any, e))})


def row_major(index: Sequence[Expr], shape: Sequence[int]) -> Expr:
    """The number of the element at `index`, counted row by row."""
    number: Expr = Const(0)
    for i, size in zip(index, shape, strict=True):
        number = number * size + i
    return number


def row_major_index(number: Expr, shape: Sequence[int]) -> tuple[Expr, ...]:
    """The index of the element of this number, counted row by row."""
    index: list[Expr] = []
    for size in reversed(shape[1:]):
        index.append(number % size)
        number = number // size
    return (*((number,) if shape else ()), *reversed(index))


def types_of(*operands: Expr) -> str:
    """The types of operands, for messages."""
    return ", ".join(str(operand.type) for operand in operands)
