"""Scalar `i64` expressions as linear forms, with as few instructions as their ranges allow.

On machines with 32-bit pointers, what is known to fit 32 bits is computed so: all of it modulo 2^32, which gives the
number itself where that fits. Addresses need no more bits than these, whatever the range.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from ....loops.interval import UNKNOWN, Interval
from ....loops.ir import Binary, Const, Expr, Select, Var
from ....types import DType
from . import text
from .index import Atom, Linear
from .text import LLVMType, Value, llvm_type
from .writer import FunctionWriter

_INDEX = llvm_type(DType.I64)
_BOOL = llvm_type(DType.BOOL)
_SIGNS = {"add": 1, "sub": -1}
"""Of the second operand of a sum."""


class IndexEmitter(ABC):
    """Emits index arithmetic into a function; `MemoryEmitter` and `ExpressionEmitter` add everything else."""

    def __init__(self, pointer_bits: int) -> None:
        self.out = FunctionWriter()
        self.pointer_bits = pointer_bits
        self.variables: dict[str, Value | Linear] = {}

    @abstractmethod
    def value(self, expr: Expr) -> Value:
        """Emit an expression."""

    @abstractmethod
    def arithmetic(self, op: str, kind: LLVMType, a: str, b: str) -> str:
        """Emit one operation on two numbers of a type."""

    def index(self, expr: Expr) -> Linear:
        """Emit a scalar `i64` expression as far as needed and return it as a linear form."""
        if isinstance(expr, Var):  # the most frequent first
            bound = self.variables[expr.name]
            return bound if isinstance(bound, Linear) else self.atom(bound.name)
        if isinstance(expr, Const):
            return Linear(int(expr.value))
        if isinstance(expr, Binary):
            if expr.op not in _SIGNS:
                return self._index_binary(expr.op, self.index(expr.lhs), self.index(expr.rhs))
            terms: dict[Atom, int] = {}
            constant = self.add_to(terms, expr)
            return Linear(constant, terms) if terms else Linear(constant)
        if isinstance(expr, Select):
            return self._index_select(expr.condition, expr.then, expr.otherwise)
        return self.other_index(expr)

    def other_index(self, expr: Expr) -> Linear:
        """What is no arithmetic on indices, as a value of its own."""
        return self.atom(self.value(expr).name)

    def add_to(self, terms: dict[Atom, int], expr: Expr, factor: int = 1) -> int:
        """Add the terms of `factor * expr` to others, and return its constant: sums become no forms of their own."""
        if isinstance(expr, Const):
            return factor * int(expr.value)
        if isinstance(expr, Binary) and expr.op in _SIGNS:
            constant = self.add_to(terms, expr.lhs, factor)
            return constant + self.add_to(terms, expr.rhs, factor * _SIGNS[expr.op])
        form = self.index(expr)
        for atom, coefficient in form.terms.items():
            total = terms.get(atom, 0) + factor * coefficient
            if total:
                terms[atom] = total
            else:
                terms.pop(atom, None)
        return factor * form.constant

    def _index_select(self, condition: Expr, a: Expr, b: Expr) -> Linear:
        holds = self.value(condition).name
        known = text.truth(holds)
        if known is not None:
            return self.index(a if known else b)
        x, y = self.index(a), self.index(b)
        reach = (min(x.range[0], y.range[0]), max(x.range[1], y.range[1]))
        # Not `pure`: nothing tells in which scope the condition is known, so this can't be hoisted.
        bits = self.width(x, y)
        chosen = f"select i1 {holds}, i{bits} {self.operand(x, bits)}, i{bits} {self.operand(y, bits)}"
        return self.atom(self.out.emit(chosen), reach, bits=bits)

    def atom(self, name: str, reach: Interval = UNKNOWN, depth: int | None = None, bits: int = 64) -> Linear:
        """A value of LLVM's as a linear form."""
        return Linear(0, {Atom(name, self.out.order, self.out.depth if depth is None else depth, reach, bits): 1})

    def width(self, *forms: Linear) -> int:
        """Bits in which to compute with some values: a pointer's if all of them surely fit, else 64."""
        return self.pointer_bits if all(form.fits(self.pointer_bits) for form in forms) else 64

    def operand(self, form: Linear, bits: int = 64) -> str:
        """The `i64` operand that a linear form stands for, or its lowest 32 bits as `i32`."""
        if bits == 64 and form.terms and self.width(form) < 64:
            depth = max(atom.depth for atom in form.terms)
            narrow = self.operand(form, self.pointer_bits)
            return self.out.pure(depth, f"sext i{self.pointer_bits} {narrow} to i64")
        total, depth = "", 0
        # Outer terms come first, so that each partial sum is computed in the outermost loop that knows its terms.
        for atom, coefficient in form.ordered():
            depth = max(depth, atom.depth)
            part = self.resized(atom, bits)
            if coefficient != 1:
                part = self.out.pure(atom.depth, f"mul i{bits} {part}, {wrapped(coefficient, bits)}")
            total = self.out.pure(depth, f"add i{bits} {total}, {part}") if total else part
        constant = wrapped(form.constant, bits)
        if not total:
            return str(constant)
        return self.out.pure(depth, f"add i{bits} {total}, {constant}") if constant else total

    def resized(self, atom: Atom, bits: int) -> str:
        """The operand of an atom in a width."""
        if atom.bits == bits:
            return atom.name
        return self.out.pure(
            atom.depth, f"{'trunc' if bits < atom.bits else 'sext'} i{atom.bits} {atom.name} to i{bits}"
        )

    def _index_binary(self, op: str, a: Linear, b: Linear) -> Linear:
        if op == "mul" and (not a.terms or not b.terms):
            return b.times(a.constant) if not a.terms else a.times(b.constant)
        if op in ("floordiv", "mod") and not b.terms and b.constant > 0:
            return self._divide(op, a, b.constant)
        if op in ("min", "max"):
            return self._extremum(op, a, b)
        if op == "mul":
            return self._product(a, b)
        bits = self.width(a, b) if op in ("floordiv", "mod") else 64
        kind = _INDEX if bits == 64 else llvm_type(DType.I32)
        return self.atom(self.arithmetic(op, kind, self.operand(a, bits), self.operand(b, bits)), bits=bits)

    def _product(self, a: Linear, b: Linear) -> Linear:
        depth = max((atom.depth for atom in (*a.terms, *b.terms)), default=0)
        ends = [x * y if x and y else 0 for x in a.range for y in b.range]
        reach = (min(ends), max(ends))
        bits = self.pointer_bits if self.width(a, b) < 64 and Linear.is_within(reach, self.pointer_bits) else 64
        name = self.out.pure(depth, f"mul i{bits} {self.operand(a, bits)}, {self.operand(b, bits)}")
        return self.atom(name, reach, depth, bits)

    def _divide(self, op: str, a: Linear, divisor: int) -> Linear:
        # a = divisor * quotient + rest, by coefficients: (64 * i + j) // 8 is 8 * i if 0 <= j < 8, without a division.
        quotient, rest = a.split(divisor)
        low, high = rest.range
        if low >= 0 and high < divisor:
            return quotient if op == "floordiv" else rest
        low, high = a.range
        depth = max((atom.depth for atom in a.terms), default=0)
        if op == "mod":
            return a.plus(self._divide("floordiv", a, divisor), -divisor) if low < 0 else self._remainder(a, divisor)
        bits = self.width(a, Linear(divisor))
        if low >= 0:  # then unsigned division gives the same, and is cheaper
            name = self.out.pure(depth, f"udiv i{bits} {self.operand(a, bits)}, {divisor}")
        else:
            name = self._floor_divide(depth, self.operand(a, bits), divisor, bits)
        reach = (low // divisor, high // divisor) if math.isfinite(high - low) else UNKNOWN
        return self.atom(name, reach, depth, bits)

    def _remainder(self, a: Linear, divisor: int) -> Linear:
        depth = max((atom.depth for atom in a.terms), default=0)
        bits = self.width(a, Linear(divisor))
        name = self.out.pure(depth, f"urem i{bits} {self.operand(a, bits)}, {divisor}")
        return self.atom(name, (0, divisor - 1), depth, bits)

    def _floor_divide(self, depth: int, a: str, divisor: int, bits: int) -> str:
        pure = self.out.pure
        if divisor & (divisor - 1) == 0:  # an arithmetic shift rounds down, as the floor does
            return pure(depth, f"ashr i{bits} {a}, {divisor.bit_length() - 1}")
        toward_zero = pure(depth, f"sdiv i{bits} {a}, {divisor}")
        rest = pure(depth, f"srem i{bits} {a}, {divisor}")
        # `sdiv` rounds toward zero: one too much where the rest is negative, whose sign bit, spread, is -1.
        return pure(depth, f"add i{bits} {toward_zero}, {pure(depth, f'ashr i{bits} {rest}, {bits - 1}')}")

    def _extremum(self, op: str, a: Linear, b: Linear) -> Linear:
        (a_low, a_high), (b_low, b_high) = a.range, b.range
        # Where the ranges don't overlap, one side always wins: no instruction.
        if (a_high <= b_low) if op == "min" else (a_low >= b_high):
            return a
        if (b_high <= a_low) if op == "min" else (b_low >= a_high):
            return b
        pick = min if op == "min" else max
        reach = (pick(a_low, b_low), pick(a_high, b_high))
        depth = max((atom.depth for atom in (*a.terms, *b.terms)), default=0)
        bits = self.width(a, b)
        x, y = self.operand(a, bits), self.operand(b, bits)
        below = self.out.pure(depth, f"icmp {'slt' if op == 'min' else 'sgt'} i{bits} {x}, {y}")
        return self.atom(self.out.pure(depth, f"select i1 {below}, i{bits} {x}, i{bits} {y}"), reach, depth, bits)

    def _compare_index(self, op: str, a: Linear, b: Linear) -> Value:
        # The range of the difference: terms that both sides share cancel, so i < i + 1 is known.
        low, high = a.plus(b, -1).range
        known: dict[str, tuple[bool, bool]] = {
            "lt": (high < 0, low >= 0),
            "le": (high <= 0, low > 0),
            "eq": (low == high == 0, low > 0 or high < 0),
            "ne": (low > 0 or high < 0, low == high == 0),
        }
        always, never = known[op]
        if always or never:
            return Value(_BOOL, "true" if always else "false")
        depth = max((atom.depth for atom in (*a.terms, *b.terms)), default=0)
        bits = self.width(a, b)
        x, y = self.operand(a, bits), self.operand(b, bits)
        return Value(_BOOL, self.out.pure(depth, f"{text.SIGNED_COMPARE[op]} i{bits} {x}, {y}"))


def wrapped(number: int, bits: int) -> int:
    """The signed number of so many bits that is equal to another one modulo 2^bits."""
    half = 1 << (bits - 1)
    return (number + half) % (2 * half) - half
