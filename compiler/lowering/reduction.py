"""Reductions in loops: element by element in accumulators, or a vector at a time where any order will do.

Extrema of floats whose instruction loses NaNs have loops of their own (see `extremum`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from ..loops.compute import Reduction
from ..loops.interval import Interval
from ..loops.ir import (
    Allocate,
    Binary,
    Buffer,
    Const,
    Expr,
    Fma,
    Load,
    LoopKind,
    Reduce,
    Space,
    Stmt,
    Store,
    Var,
    VectorType,
    binary,
    const,
)
from ..types import DType
from .elements import Elements
from .kernel import Names
from .loops import loop, vector_loop

UNROLLED_WINDOW = 9
"""Reductions over at most this many elements are expanded."""
LONGEST_SUM = 1024
"""Terms of a sum of floats that go into one accumulator."""

_START = {"add": 0.0, "mul": 1.0, "max": -math.inf, "min": math.inf}
_HERE = (Const(0),)

Index = tuple[Expr, ...]
Terms = Callable[[Buffer], list[Stmt]]
"""Statements that combine terms with what an accumulator holds."""


def start_of(op: str, kind: VectorType) -> Const:
    """What a reduction starts from: a number that leaves all others as they are."""
    if kind.dtype.is_float or op in ("add", "mul"):
        return const(_START[op] if kind.dtype.is_float else int(_START[op]), kind)
    range_ = np.iinfo(str(kind.dtype.numpy))
    return const(int(range_.min if op == "max" else range_.max), kind)


def is_unrolled(rule: Reduction) -> bool:
    """True for a reduction over so few elements that it is expanded."""
    return math.prod(rule.extents) <= UNROLLED_WINDOW


def is_sum_of_lanes(rule: Reduction, lanes: int) -> bool:
    """True for a sum that a vector of accumulators makes: no lane has more than `LONGEST_SUM` terms."""
    return rule.op == "add" and math.prod(rule.extents) <= LONGEST_SUM * lanes


class Accumulation:
    """A reduction, one term after the other.

    In sums of floats each loop has an accumulator of its own, a long one for each `LONGEST_SUM` terms. Rounding errors
    grow with the number of terms that go into one accumulator: batch statistics over thousands of pixels would lose
    several digits.
    """

    def __init__(
        self, elements: Elements, rule: Reduction, kind: VectorType, names: Names, ranges: dict[str, Interval]
    ) -> None:
        self._elements = elements
        self._rule = rule
        self._kind = kind
        self._names = names
        self._ranges = ranges
        self._loops = LoopKind.UNROLL if is_unrolled(rule) else LoopKind.SERIAL
        self._nested = rule.op == "add" and kind.dtype.is_float and self._loops is LoopKind.SERIAL

    def emit(self) -> Expr:
        """The result; the loops are added to the statements of the elements."""
        accumulator, statements = self._accumulated(partial(self._nest, ()))
        self._elements.statements += statements
        return self._elements.let(Load(accumulator, _HERE))

    def _accumulated(self, terms: Terms) -> tuple[Buffer, list[Stmt]]:
        """Terms in an accumulator of their own."""
        kind = self._kind
        accumulator = Buffer(self._names.fresh("acc"), kind.dtype, (1,), Space.REGISTER, lanes=kind.lanes)
        start = Store(accumulator, _HERE, start_of(self._rule.op, kind))
        return accumulator, [Allocate(accumulator), start, *terms(accumulator)]

    def _apart(self, terms: Terms, into: Buffer) -> list[Stmt]:
        """A part of a sum, which is added to the whole."""
        part, statements = self._accumulated(terms)
        return [*statements, Store(into, _HERE, Load(into, _HERE) + Load(part, _HERE))]

    def _nest(self, r: Index, into: Buffer) -> list[Stmt]:
        """Loops over the dimensions that are reduced, but for those whose places are known."""
        if len(r) == len(self._rule.extents):
            return self._term(r, into)
        extent = self._rule.extents[len(r)]
        if not self._nested or extent <= LONGEST_SUM:
            return self._run(r, Const(0), extent, into)
        whole, rest = divmod(extent, LONGEST_SUM)

        def stretch(q: Expr) -> list[Stmt]:
            return self._apart(partial(self._run, r, q * LONGEST_SUM, LONGEST_SUM), into)

        parts = self._loop("q", whole, stretch)
        return [*parts, *self._apart(partial(self._run, r, Const(whole * LONGEST_SUM), rest), into)] if rest else parts

    def _run(self, r: Index, first: Expr, count: int, into: Buffer) -> list[Stmt]:
        """`count` places along a dimension."""
        extent, *inner = self._rule.extents[len(r) :]
        alone = not self._nested or extent == 1 or math.prod(inner) == 1

        def place(i: Expr) -> list[Stmt]:
            at = (*r, first + i)
            return self._nest(at, into) if alone else self._apart(partial(self._nest, at), into)

        return self._loop("r", count, place)

    def _loop(self, name: str, extent: int, body: Callable[[Expr], list[Stmt]]) -> list[Stmt]:
        """A loop whose variable has a range."""
        name = self._names.fresh(name)
        self._ranges[name] = (0, extent - 1)
        return loop(name, extent, body, self._loops)

    def _term(self, r: Index, into: Buffer) -> list[Stmt]:
        """One term, combined with what stands in the accumulator."""
        op = self._rule.op
        with self._elements.nested() as statements:
            term = self._rule.body(r)
            total = Load(into, _HERE)
            if op == "add" and isinstance(term, Binary) and term.op == "mul":
                value: Expr = Fma(term.lhs, term.rhs, total)
            else:
                value = binary(op, total, term)
            return [*statements, Store(into, _HERE, value)]


def reduce_in_vectors(
    elements: Elements, rule: Reduction, dtype: DType, lanes: int, names: Names, ranges: dict[str, Interval]
) -> Expr:
    """A reduction in any order (of integers, an extremum, a sum), a vector along the last dimension at a time.

    Raises `NotVectorizableError` where elements don't lie so.
    """
    *outer, extent = rule.extents
    total = Buffer(names.fresh("acc"), dtype, (1,), Space.REGISTER)
    parts = Buffer(names.fresh("acc"), dtype, (1,), Space.REGISTER, lanes=lanes)
    starts = [Store(b, _HERE, start_of(rule.op, VectorType(dtype, b.lanes))) for b in (total, parts)]

    def combine(into: Buffer, term: Expr) -> Stmt:
        return Store(into, _HERE, binary(rule.op, Load(into, _HERE), term))

    def step(r: Index, lane: Var, width: int) -> list[Stmt]:
        ranges[lane.name] = (0, extent - 1)
        with elements.vectors(lane, width) as statements:
            term = elements.let(rule.body((*r, lane)))
            if width == lanes:
                return [*statements, combine(parts, term)]
            return [*statements, combine(total, Reduce(rule.op, term) if width > 1 else term)]

    def nest(r: Index) -> list[Stmt]:
        if len(r) == len(outer):
            return vector_loop(names, extent, lanes, partial(step, r))
        name = names.fresh("r")
        ranges[name] = (0, outer[len(r)] - 1)
        return loop(name, outer[len(r)], lambda i: nest((*r, i)))

    body = nest(())
    last = combine(total, Reduce(rule.op, Load(parts, _HERE)))
    elements.statements += [Allocate(total), Allocate(parts), *starts, *body, last]
    return elements.let(Load(total, _HERE))
