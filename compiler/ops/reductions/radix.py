"""radix_order: where the elements of long rows stand in order, in linear time.

Keys are whole numbers that have the order of the elements. They are sorted digit by digit, the lowest first, each digit
by counting; of a part of the row, the last key that belongs to it is found
first, bit by bit.
Source: Knuth, "The Art of Computer Programming", volume 3, 5.2.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import ShapeError
from ...graph.element_types import check_numbers
from ...graph.ir import Array, Attributes, AttributeSpec, Operator
from ...graph.registry import register
from ...loops.compute import Procedure
from ...loops.ir import (
    Allocate,
    Binary,
    Bitcast,
    Broadcast,
    Buffer,
    Cast,
    Const,
    Expr,
    If,
    Load,
    Reduce,
    Select,
    Space,
    Stmt,
    Store,
    maximum,
    minimum,
)
from ...types import DType, TensorType
from ..facets import INTEGER, PERMUTED, TFLITE

DIGITS = 256
FEW = 24
"""So many elements are put in order by counting, for each of them, those before it."""
_HERE = (Const(0),)
_KEYS = {1: DType.I8, 2: DType.I16, 4: DType.I32, 8: DType.I64}


@register
class RadixOrder(Operator):
    """Positions of the first `count` elements in order, for each row of x [rows, n]: i32 [rows, 2, count].

    Those at 0 are what is asked for, those at 1 the same positions in the order of all digits but the highest; a few
    positions are left there as they come. NaN counts as larger than all numbers; of equal elements the first comes
    first.
    """

    name = "radix_order"
    internal = True
    operands = ("x",)
    attributes = {
        "count": AttributeSpec(int, "number of positions"),
        "descending": AttributeSpec(bool, "the largest first", False),
    }
    piecewise_constant = True
    procedural = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (x,) = operands
        check_numbers(self, x)
        if x.rank != 2 or not 0 <= attributes["count"] <= x.shape[1]:
            raise ShapeError(f"radix_order can't put {attributes['count']} elements of {x} in order")
        return (TensorType(DType.I32, (x.shape[0], 2, attributes["count"])),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,) = operands
        keys = _keys(x, attributes["descending"])
        first = np.argsort(keys, axis=1, kind="stable")[:, : attributes["count"]]
        taken = np.sort(first, axis=1)
        if first.shape[1] <= FEW:
            return (np.stack([first, taken], axis=1).astype(np.int32),)
        low = np.take_along_axis(keys, taken, 1) & keys.dtype.type(2 ** (8 * keys.itemsize - 8) - 1)
        other = np.take_along_axis(taken, np.argsort(low, axis=1, kind="stable"), 1)
        return (np.stack([first, other], axis=1).astype(np.int32),)

    def procedure(self, p: Procedure, attributes: Attributes) -> list[Stmt]:
        rows, size = p.type(0).shape
        if not attributes["count"]:
            return []
        work = rows * size * 8 * p.type(0).dtype.itemsize
        return p.loop("row", rows, lambda row: _Row(p, row, attributes).statements(), shared=work)


def _keys(x: Array, descending: bool) -> Array:
    """Unsigned numbers in the order of the elements."""
    bits = x.dtype.itemsize * 8
    unsigned, top = np.dtype(f"u{bits // 8}"), 1 << (bits - 1)
    if x.dtype.kind == "f":
        plain = np.ascontiguousarray(np.where(x == 0, x.dtype.type(0), x)).view(unsigned)
        keys = np.where(plain >> (bits - 1), ~plain, plain | unsigned.type(top))
        keys = np.where(np.isnan(x), unsigned.type(2**bits - 1), keys)
    else:
        keys = np.ascontiguousarray(x).view(unsigned) ^ unsigned.type(top if x.dtype.kind == "i" else 0)
    return ~keys if descending else keys


@dataclass
class _Row:
    """The statements for one row."""

    p: Procedure
    row: Expr
    attributes: Attributes

    def __post_init__(self) -> None:
        x = self.p.type(0)
        self.element, self.size, self.count = x.dtype, x.shape[1], int(self.attributes["count"])
        self.digits = x.dtype.itemsize
        self.dtype = _KEYS[self.digits]
        self.lowest = Const(-(1 << (8 * self.digits - 1)), self.dtype)
        self.counts = self.p.local("counts", DType.I32, (self.digits, DIGITS))

    def statements(self) -> list[Stmt]:
        start = 1 if self.count <= FEW else self.digits % 2
        begin = self.everything(start) if self.count == self.size else self.select(start)
        if self.count <= FEW:
            return [*begin, *self.p.loop("i", self.count, lambda i: self.place(start, i))]
        block: list[Stmt] = [Allocate(self.counts), *begin, *self.clear()]
        block += self.p.loop("i", self.count, lambda i: self.count_digits(self.key_at(start, i)))
        for digit in range(self.digits):
            block += self.sum_counts(digit)
        for digit in range(self.digits):
            goal = (self.digits - 1 - digit) % 2
            block += self.p.loop("i", self.count, lambda i, d=digit, goal=goal: self.move(i, d, goal))  # type: ignore[misc]
        return block

    # ---- keys ----

    def key(self, position: Expr, lanes: int = 1) -> tuple[list[Stmt], Expr]:
        """The keys of elements from a position on, whose highest bit counts as any other."""
        block: list[Stmt] = []
        x = self.p.let(block, "x", self.p.load(0, (self.row, position), lanes))
        ones, lowest = Const(-1, self.dtype, lanes), self.splat(self.lowest, lanes)
        if self.element.is_float:
            zero = Const(0.0, self.element, lanes)
            plain = self.p.let(block, "bits", Bitcast(Select(Binary("eq", x, zero), zero, x), self.dtype))
            flipped = Select(Binary("lt", plain, Const(0, self.dtype, lanes)), ones, lowest)
            key: Expr = Select(Binary("ne", x, x), ones, Binary("xor", plain, flipped))
        else:
            bits = x if x.type.dtype is self.dtype else Bitcast(x, self.dtype)
            key = bits if self.element is DType.U8 else Binary("xor", bits, lowest)
        if self.attributes["descending"]:
            key = Binary("xor", key, ones)
        return block, self.p.let(block, "key", key)

    def key_at(self, half: int, i: Expr) -> tuple[list[Stmt], Expr]:
        """The key of the element whose position stands at place i."""
        block: list[Stmt] = []
        position = self.p.let(block, "position", self.position(half, i))
        statements, key = self.key(position)
        return [*block, *statements], key

    def position(self, half: int, i: Expr) -> Expr:
        """What stands at place i."""
        return self.inside(Cast(self.p.read((self.row, Const(half), i)), DType.I64), self.size)

    def digit(self, key: Expr, digit: int) -> Expr:
        """A digit of a key, as an index."""
        shifted = Binary("shr", key, Const(8 * digit, self.dtype)) if digit else key
        byte = Bitcast(shifted, DType.U8) if self.dtype is DType.I8 else Cast(shifted, DType.U8)
        return Cast(byte, DType.I64)

    def inside(self, index: Expr, size: int) -> Expr:
        """An index that the verifier knows to be inside, as it is."""
        return maximum(minimum(index, size - 1), 0)

    # ---- sorting ----

    def everything(self, half: int) -> list[Stmt]:
        """All positions, as they come."""
        return self.p.loop("i", self.size, lambda i: [self.store(half, i, Cast(i, DType.I32))])

    def store(self, half: int, place: Expr, position: Expr) -> Stmt:
        return self.p.store((self.row, Const(half), place), position)

    def clear(self) -> list[Stmt]:
        def zeros(digit: int) -> list[Stmt]:
            return self.p.vectors(
                DIGITS,
                lambda d, lanes: [Store(self.counts, (Const(digit), d), Const(0, DType.I32, lanes))],
            )

        return [s for digit in range(self.digits) for s in zeros(digit)]

    def increase(self, digit: int, place: Expr, by: Expr) -> Stmt:
        where = (Const(digit), place)
        return Store(self.counts, where, Load(self.counts, where) + by)

    def count_digits(self, of: tuple[list[Stmt], Expr]) -> list[Stmt]:
        """Count each digit of a key."""
        block, key = of
        for digit in range(self.digits):
            place = self.p.let(block, "digit", self.digit(key, digit))
            block.append(self.increase(digit, place, Const(1, DType.I32)))
        return block

    def sum_counts(self, digit: int) -> list[Stmt]:
        """Put the number of smaller digits in place of the number of each digit."""
        total = self.register("total", DType.I32)

        def step(d: Expr) -> list[Stmt]:
            block: list[Stmt] = []
            number = self.p.let(block, "number", Load(self.counts, (Const(digit), d)))
            before = self.p.let(block, "before", Load(total, _HERE))
            return [*block, Store(self.counts, (Const(digit), d), before), Store(total, _HERE, before + number)]

        return [*self.start(total, 0), *self.p.loop("d", DIGITS, step)]

    def place(self, half: int, i: Expr) -> list[Stmt]:
        """Put the position at place i behind those of smaller keys, and of equal ones at smaller places."""
        block, own = self.key_at(half, i)
        position = self.p.let(block, "own", self.position(half, i))
        number = self.register("number", DType.I64)

        def compare(j: Expr) -> list[Stmt]:
            inner, other = self.key_at(half, j)
            mine, its = (Binary("xor", key, self.lowest) for key in (own, other))
            is_earlier = Binary("and", Binary("eq", its, mine), Binary("lt", j, i))
            is_before = Binary("or", Binary("lt", its, mine), is_earlier)
            return [*inner, Store(number, _HERE, Load(number, _HERE) + Cast(is_before, DType.I64))]

        block += [*self.start(number, 0), *self.p.loop("j", self.count, compare)]
        at = self.inside(Load(number, _HERE), self.count)
        return [*block, self.store(0, at, Cast(position, DType.I32))]

    def move(self, i: Expr, digit: int, goal: int) -> list[Stmt]:
        """Put the position at place i where its digit belongs."""
        block: list[Stmt] = []
        position = self.p.let(block, "position", self.position(1 - goal, i))
        statements, key = self.key(position)
        block += statements
        place = self.p.let(block, "digit", self.digit(key, digit))
        at = self.p.let(block, "at", Load(self.counts, (Const(digit), place)))
        block.append(Store(self.counts, (Const(digit), place), at + 1))
        return [*block, self.store(goal, self.inside(Cast(at, DType.I64), self.count), Cast(position, DType.I32))]

    def register(self, stem: str, dtype: DType) -> Buffer:
        return Buffer(self.p.fresh(stem), dtype, (1,), Space.REGISTER)

    def start(self, register: Buffer, number: int) -> list[Stmt]:
        return [Allocate(register), Store(register, _HERE, Const(number, register.dtype, register.lanes))]

    def splat(self, value: Expr, lanes: int) -> Expr:
        return Broadcast(value, lanes) if lanes > 1 else value

    # ---- selection ----

    def select(self, half: int) -> list[Stmt]:
        """The positions of the first `count` elements, as they come."""
        last, left = self.register("last", self.dtype), self.register("left", DType.I32)
        taken = self.register("taken", DType.I64)
        block = [*self.start(last, 0), *self.start(left, self.count), *self.start(taken, 0)]
        block += self.p.loop("bit", 8 * self.digits, lambda bit: self.find_bit(bit, last, left))
        return [*block, *self.p.loop("i", self.size, lambda i: self.take(i, half, last, left, taken))]

    def find_bit(self, bit: Expr, last: Buffer, left: Buffer) -> list[Stmt]:
        """Set the next bit of the last key if too few keys are smaller than it then; `left` counts the others taken."""
        block: list[Stmt] = []
        mask = Binary("shl", Const(1, self.dtype), Cast(8 * self.digits - 1 - bit, self.dtype))
        trial = self.p.let(block, "trial", Binary("or", Load(last, _HERE), mask))
        limit = self.p.let(block, "limit", Binary("xor", trial, self.lowest))
        sums: list[Buffer] = []

        def count(first: Expr, lanes: int) -> list[Stmt]:
            inner, key = self.key(first, lanes)
            numbers = Buffer(self.p.fresh("numbers"), DType.I32, (1,), Space.REGISTER, lanes)
            sums.append(numbers)
            is_smaller = Binary("lt", Binary("xor", key, self.splat(self.lowest, lanes)), self.splat(limit, lanes))
            one, zero = (Const(n, DType.I32, lanes) for n in (1, 0))
            return [*inner, Store(numbers, _HERE, Load(numbers, _HERE) + Select(is_smaller, one, zero))]

        counting = self.p.vectors(self.size, count)
        for numbers in sums:
            block += self.start(numbers, 0)
        block += counting
        parts = [Load(n, _HERE) for n in sums]
        number: Expr = Const(self.count, DType.I32)
        for part in parts:
            number = number - (Reduce("add", part) if part.type.lanes > 1 else part)
        others = self.p.let(block, "others", number)
        accept = (Store(last, _HERE, trial), Store(left, _HERE, others))
        return [*block, If(Binary("lt", Const(0, DType.I32), others), accept)]

    def take(self, i: Expr, half: int, last: Buffer, left: Buffer, taken: Buffer) -> list[Stmt]:
        """Take element i if its key comes before the last one, or is it while such are left."""
        block, key = self.key(i)
        signed, limit = (Binary("xor", k, self.lowest) for k in (key, Load(last, _HERE)))
        some = Binary("lt", Const(0, DType.I32), Load(left, _HERE))
        is_last = self.p.let(block, "is_last", Binary("and", Binary("eq", signed, limit), some))
        is_taken = Binary("or", Binary("lt", signed, limit), is_last)
        place = self.p.let(block, "place", Load(taken, _HERE))
        inner = (
            self.store(half, self.inside(place, self.count), Cast(i, DType.I32)),
            Store(taken, _HERE, place + 1),
            Store(left, _HERE, Load(left, _HERE) - Cast(is_last, DType.I32)),
        )
        return [*block, If(is_taken, inner)]


INTEGER.none("part of the code that sorting becomes", RadixOrder)
TFLITE.none("part of the code that sorting becomes", RadixOrder)
PERMUTED.none("rows are put in order", RadixOrder)
