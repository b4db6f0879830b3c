"""Largest and smallest elements of floats on machines whose instruction for it loses NaNs: they are kept apart.

`max` in the loop IR keeps every NaN; there it takes three instructions. A reduction needs fewer: one finds the largest
of the numbers, and one compares two elements with themselves at once. What that finds is put in at the end.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

from ..loops.compute import Reduction
from ..loops.interval import Interval
from ..loops.ir import (
    Allocate,
    Binary,
    Bitcast,
    Broadcast,
    Buffer,
    Cast,
    Const,
    Expr,
    Let,
    Load,
    Select,
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
from .loops import loop

_BITS = {DType.F64: DType.I64, DType.F32: DType.I32, DType.F16: DType.I16}
"""Integers as wide as floats: all their bits set make a NaN."""


_HERE = (Const(0),)


def _bits_of(type_: VectorType) -> VectorType:
    """The integers that mark NaNs among floats of a type."""
    return VectorType(_BITS[type_.dtype], type_.lanes)


def _are_numbers(term: Expr, statements: Sequence[Stmt]) -> bool:
    """True if a float comes from literals and integers alone, so that it is no NaN."""
    named = {s.name: s.value for s in statements if isinstance(s, Let)}
    return _is_number(term, named)


def _is_number(expr: Expr, named: Mapping[str, Expr]) -> bool:
    match expr:
        case Const(value):
            return not math.isnan(value)
        case Var(name):
            return name in named and _is_number(named[name], named)
        case Cast(value, _):
            return not value.type.dtype.is_float
        case Broadcast(value, _):
            return _is_number(value, named)
        case Select(_, then, otherwise):
            return _is_number(then, named) and _is_number(otherwise, named)
        case _:
            return False


def _further(op: str, best: Expr, term: Expr) -> Expr:
    """The larger (or smaller) of two numbers; `best` if one of them is NaN."""
    return Select(binary("lt", best, term) if op == "max" else binary("lt", term, best), term, best)


def _marked(marks: Expr, *terms: Expr) -> Expr:
    """Marks, also where one of the terms is NaN."""
    unequal = [Binary("ne", term, term) for term in terms]
    found = unequal[0] if len(unequal) == 1 else Binary("or", *unequal)
    return Select(found, const(-1, marks.type), marks)


def _with_nans(best: Expr, marks: Expr) -> Expr:
    """The number, or NaN where marked."""
    bits = Binary("or", Bitcast(best, marks.type.dtype), marks)
    return Bitcast(bits, best.type.dtype)


def reduce_window(elements: Elements, rule: Reduction) -> Expr:
    """The extremum of a few elements, written out. The first one is where the comparisons start, and stays if NaN."""
    terms = [
        elements.let(rule.body(tuple(map(Const, place))))
        for place in itertools.product(*(range(extent) for extent in rule.extents))
    ]
    best, *others = terms
    for term in others:
        best = elements.let(_further(rule.op, best, term))
    doubtful = [t for t in others if not _are_numbers(t, elements.statements)]
    if not doubtful:
        return best
    marks: Expr = const(0, _bits_of(best.type))
    for i in range(0, len(doubtful), 2):
        marks = elements.let(_marked(marks, *doubtful[i : i + 2]))
    return _with_nans(best, marks)


def reduce_in_loops(
    elements: Elements, rule: Reduction, start: Const, names: Names, ranges: dict[str, Interval]
) -> Expr:
    """The extremum of any number of elements, in loops; `start` leaves all numbers as they are."""
    marks_type = _bits_of(start.type)
    best = Buffer(names.fresh("acc"), start.dtype, (1,), Space.REGISTER, start.lanes)
    marks = Buffer(names.fresh("nan"), marks_type.dtype, (1,), Space.REGISTER, marks_type.lanes)
    is_marked = False

    def combine(r: tuple[Expr, ...]) -> list[Stmt]:
        nonlocal is_marked
        with elements.nested() as statements:
            term = elements.let(rule.body(r))
            stores = [Store(best, _HERE, _further(rule.op, Load(best, _HERE), term))]
            if not _are_numbers(term, statements):
                is_marked = True
                stores.append(Store(marks, _HERE, _marked(Load(marks, _HERE), term)))
            return [*statements, *stores]

    def nest(r: tuple[Expr, ...]) -> list[Stmt]:
        if len(r) == len(rule.extents):
            return combine(r)
        name, extent = names.fresh("r"), rule.extents[len(r)]
        ranges[name] = (0, extent - 1)
        return loop(name, extent, lambda i: nest((*r, i)))

    loops = nest(())
    elements.statements += [Allocate(best), Store(best, _HERE, start)]
    if is_marked:
        elements.statements += [Allocate(marks), Store(marks, _HERE, const(0, marks_type))]
    elements.statements += loops
    found = elements.let(Load(best, _HERE))
    return _with_nans(found, Load(marks, _HERE)) if is_marked else found
