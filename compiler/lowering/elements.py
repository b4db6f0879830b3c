"""Evaluating the elements of a group: operators' `compute` rules on scalars or vectors, over buffers and registers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np

from ..errors import InternalError
from ..graph.ir import Operation, Value
from ..loops.compute import Element, Reduction
from ..loops.interval import Interval, interval
from ..loops.ir import (
    Binary,
    Bitcast,
    Broadcast,
    Buffer,
    Cast,
    Const,
    Expr,
    Let,
    Load,
    Pick,
    Select,
    Spread,
    Stmt,
    Var,
    maximum,
    minimum,
)
from ..loops.lane_nodes import TABLE
from ..types import DType, TensorType


class NotVectorizableError(Exception):
    """Neighbouring elements of the result don't come from neighbouring elements of the operands."""


def depends_on(expr: Expr, var: Var) -> bool:
    """True if `var` occurs in `expr`."""
    return expr == var or any(depends_on(e, var) for e in expr.operands)


def moves_with(expr: Expr, var: Var) -> bool:
    """True if `expr` is `var` plus or minus something that doesn't depend on it."""
    if expr == var:
        return True
    if isinstance(expr, Binary) and expr.op == "add":
        a, b = expr.lhs, expr.rhs
        return (moves_with(a, var) and not depends_on(b, var)) or (moves_with(b, var) and not depends_on(a, var))
    if isinstance(expr, Binary) and expr.op == "sub":
        return moves_with(expr.lhs, var) and not depends_on(expr.rhs, var)
    return False


def first_backward(expr: Expr, var: Var, lanes: int) -> Expr | None:
    """Where a vector of neighbours begins that are taken backward: `expr` in the last lane; None if they aren't."""
    if isinstance(expr, Binary) and expr.op == "mul" and (expr.lhs, expr.rhs) == (var, Const(-1)):
        return (var + (lanes - 1)) * -1
    if isinstance(expr, Binary) and expr.op in ("add", "sub"):
        if not depends_on(expr.rhs, var):
            first = first_backward(expr.lhs, var, lanes)
            return first and Binary(expr.op, first, expr.rhs)
        if not depends_on(expr.lhs, var):
            if expr.op == "sub":
                return expr.lhs - (expr.rhs + (lanes - 1)) if moves_with(expr.rhs, var) else None
            first = first_backward(expr.rhs, var, lanes)
            return first and expr.lhs + first
    return None


def physical(type_: TensorType, index: tuple[Expr, ...]) -> tuple[Expr, ...]:
    """The place of an element in the buffer, margins included."""
    return tuple(i + before for i, (before, _) in zip(index, type_.margins, strict=True))


Loaded = Mapping[tuple[Value, tuple[Expr, ...]], Expr]
"""Elements, or vectors of them, that were read before, by value and index."""


@dataclass
class Elements:
    """Evaluates values of a group at given places.

    `lane` is the variable that counts the last dimension when vectors of `lanes` elements are computed (None: single
    elements). `known` holds values that are already computed at the current place, such as an accumulator, `loaded`
    elements that were read before, each with its index.
    """

    buffers: Mapping[Value, Buffer]
    producers: Mapping[Value, Operation]
    constants: Mapping[Value, float | int | bool]
    lanes: int = 1
    lane: Var | None = None
    known: dict[Value, Expr] = field(default_factory=dict)
    loaded: Loaded = field(default_factory=dict[tuple[Value, tuple[Expr, ...]], Expr])
    ranges: Mapping[str, Interval] = field(default_factory=dict)
    """Smallest and largest value of loop variables."""
    reducer: Callable[[Elements, Reduction], Expr] | None = None
    """Adds the loops of a reduction inside a rule, and gives its value; None where there can't be loops."""
    byte_tables: bool = False
    """The machine looks up vectors of bytes."""
    statements: list[Stmt] = field(default_factory=list)
    prefix: str = "t"
    _memo: dict[tuple[Value, tuple[Expr, ...]], Expr] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self._memo.update(self.loaded)

    def element(self, value: Value, index: tuple[Expr, ...]) -> Expr:
        """The element (or vector of elements) of `value` at `index`."""
        if value in self.known:
            return self.known[value]
        key = (value, index)
        if key not in self._memo:
            self._memo[key] = self._compute(value, index)
        return self._memo[key]

    def _compute(self, value: Value, index: tuple[Expr, ...]) -> Expr:
        if value in self.constants:
            return Const(self.constants[value], value.type.dtype, self.lanes)
        if value in self.buffers:
            return self.load(value, index)
        op = self.producers[value]
        element = self.rule(op, index)
        if isinstance(element, Reduction):
            if self.reducer is None:
                raise InternalError(f"{op.name} is a reduction and can't be inlined")
            return self.reducer(self, replace(element, dtype=element.dtype or op.result.type.dtype))
        return self.let(element)

    def rule(self, op: Operation, index: tuple[Expr, ...]) -> Element:
        """What an operation's lowering rule says about its result at `index`."""
        return op.operator.compute(OperandView(self, op), index, op.attributes)

    @contextmanager
    def nested(self) -> Iterator[list[Stmt]]:
        """Collect statements for an inner block; what is computed there is not visible outside."""
        saved = self.statements, self._memo
        self.statements, self._memo = [], dict(self._memo)
        try:
            yield self.statements
        finally:
            self.statements, self._memo = saved

    @contextmanager
    def vectors(self, lane: Var, lanes: int) -> Iterator[list[Stmt]]:
        """The same for vectors along a loop of its own, where single elements are computed outside."""
        saved = self.lane, self.lanes, self.known
        self.lane, self.lanes = lane, lanes
        self.known = {value: Broadcast(known, lanes) for value, known in self.known.items()}
        try:
            with self.nested() as statements:
                self._memo = {}
                yield statements
        finally:
            self.lane, self.lanes, self.known = saved

    def let(self, value: Expr) -> Expr:
        """Name a value that may be used more than once."""
        if isinstance(value, (Var, Const)):
            return value
        statement = Let(f"{self.prefix}{next(self._numbers)}", value)
        self.statements.append(statement)
        return statement.var

    def load(self, value: Value, index: tuple[Expr, ...]) -> Expr:
        """Read a buffer: a vector where the last index moves with the lane or against it, else one element for all."""
        buffer, place = self.buffers[value], physical(value.type, index)
        if len(buffer.shape) != len(place):
            raise InternalError(f"buffer {buffer.name} of rank {len(buffer.shape)} is read with {len(place)} indices")
        if self.lane is None:
            return Load(buffer, place)
        if any(depends_on(i, self.lane) for i in place[:-1]):
            raise NotVectorizableError
        if not place or not depends_on(place[-1], self.lane):
            return Broadcast(Load(buffer, place), self.lanes)
        if moves_with(place[-1], self.lane):
            return Load(buffer, place, self.lanes)
        first = first_backward(place[-1], self.lane, self.lanes)
        if first is None:
            raise NotVectorizableError
        return Spread(Load(buffer, (*place[:-1], first), self.lanes), self.lanes, 1, -1, self.lanes - 1)

    def splat(self, scalar: Expr) -> Expr:
        """A scalar in every lane."""
        if self.lane is None:
            return scalar
        if depends_on(scalar, self.lane):
            raise NotVectorizableError
        return Broadcast(scalar, self.lanes)

    def guarded(self, value: Value, index: tuple[Expr, ...], padding: float) -> Expr:
        """The element at `index`, or `padding` outside; places are clamped so that every load is legal."""
        if not value.type.size:
            return Const(padding, value.type.dtype, self.lanes)
        inside: Expr | None = None
        place: list[Expr] = []
        for i, size in zip(index, value.type.shape, strict=True):
            low, high = interval(i, self.ranges)
            if high < 0 or low >= size:
                return Const(padding, value.type.dtype, self.lanes)
            if low >= 0 and high < size:
                place.append(i)
                continue
            if self.lane is not None and depends_on(i, self.lane):
                raise NotVectorizableError  # each lane would need a test of its own
            test = Binary("and", Binary("le", Const(0), i), Binary("lt", i, Const(size)))
            inside = test if inside is None else Binary("and", inside, test)
            place.append(minimum(maximum(i, 0), size - 1))
        element = self.element(value, tuple(place))
        if inside is None:
            return element
        return Select(self.splat(inside), element, Const(padding, value.type.dtype, self.lanes))


@dataclass(frozen=True)
class OperandView:
    """How one operation of a group sees its operands (the `Compute` that its rule receives)."""

    elements: Elements
    operation: Operation

    @property
    def count(self) -> int:
        """Number of operands."""
        return len(self.operation.operands)

    def type(self, operand: int) -> TensorType:
        """Type of an operand."""
        return self.operation.operands[operand].type

    def load(self, operand: int, index: tuple[Expr, ...]) -> Expr:
        """The element of an operand at `index`."""
        return self.elements.element(self.operation.operands[operand], index)

    def load_broadcast(self, operand: int, index: tuple[Expr, ...]) -> Expr:
        """The element that broadcasts to `index`."""
        shape = self.type(operand).shape
        if shape == self.operation.results[0].type.shape:
            return self.load(operand, index)  # where all pixels are one row, sizes of 1 say nothing about indices
        tail = index[len(index) - len(shape) :]
        return self.load(operand, tuple(Const(0) if s == 1 else i for i, s in zip(tail, shape, strict=True)))

    def load_padded(self, operand: int, index: tuple[Expr, ...], padding: float) -> Expr:
        """The element at `index`, or `padding` where it lies outside."""
        return self.elements.guarded(self.operation.operands[operand], index, padding)

    def entry(self, operand: int, x: Expr) -> Expr:
        """The entry of a table for each number."""
        table, lowest = self.operation.operands[operand], int(np.iinfo(str(x.type.dtype.numpy)).min)
        buffer = self.elements.buffers.get(table)
        are_vectors = self.elements.lane is not None and x.type.dtype.itemsize == 1
        is_bytes = table.type.dtype in (DType.I8, DType.U8)
        are_picked = table.type.dtype is DType.I32 or (self.elements.byte_tables and is_bytes)
        if are_vectors and are_picked and buffer is not None:
            sign = Const(lowest, x.type.dtype, x.type.lanes)
            places = Bitcast(Binary("xor", x, sign), DType.U8) if lowest else x
            return Pick(Load(buffer, (Const(0),), TABLE), places)
        return self.load(operand, (Cast(x, DType.I64) - lowest,))

    def bounds(self, index: Expr) -> tuple[float, float]:
        """Smallest and largest value that an index takes here."""
        return interval(index, self.elements.ranges)

    def let(self, value: Expr) -> Expr:
        """A value under a name."""
        return self.elements.let(value)

    def reduce(self, rule: Reduction) -> Expr:
        """The value of a reduction inside the rule."""
        if self.elements.reducer is None:
            raise InternalError(f"{self.operation.name} needs loops of its own and can't be inlined")
        return self.elements.reducer(self.elements, rule)

    def splat(self, scalar: Expr) -> Expr:
        """A scalar in every lane."""
        return self.elements.splat(scalar)
