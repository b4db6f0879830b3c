"""Kernels that differ in numbers only become one kernel, which reads these numbers from the weights.

Layers of a network of integers have the same loops, but scales and zero points of their own. As kernels of their own
they take most of the time that compiling such a network takes. Numbers of index arithmetic stay: bounds are proved by
them.
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..graph.ir import Array
from ..loops.ir import (
    INDEX,
    Allocate,
    Broadcast,
    Buffer,
    Const,
    Expr,
    For,
    If,
    Kernel,
    Let,
    Load,
    Prefetch,
    Stmt,
    Store,
    Var,
    Within,
    rebuilt,
)
from ..types import DType

SHORTEST = 50
"""Expressions of a kernel that is worth it, at least."""
MOST_NUMBERS = 64
"""Numbers that the kernels of a group may differ in."""
_PREFIX = "shared"
"""Of the names that are added."""


@dataclass(frozen=True, slots=True)
class Shared:
    """The kernel in place of another one, and what its first parameters read, which that one doesn't have."""

    kernel: Kernel
    numbers: tuple[Array, ...]


def shared_kernels(kernels: Iterable[Kernel]) -> Mapping[Kernel, Shared]:
    """The kernels in whose place others stand. The first one of a group gives its name to all."""
    alike: dict[object, list[Kernel]] = defaultdict(list)
    for kernel in kernels:
        alike[kernel.params, len(kernel.body)].append(kernel)
    found: dict[Kernel, Shared] = {}
    for several in alike.values():
        if len(several) > 1:
            found.update(_of_same_parameters(several))
    return found


def _of_same_parameters(kernels: Sequence[Kernel]) -> Mapping[Kernel, Shared]:
    """Those among kernels with the same parameters that can be shared."""
    groups: dict[tuple[Stmt, ...], list[tuple[Kernel, list[Const]]]] = defaultdict(list)
    for kernel in kernels:
        numbers: list[Const] = []

        def numbered(number: Const, numbers: list[Const] = numbers) -> Expr:
            numbers.append(number)
            return Const(len(numbers), number.dtype, number.lanes)

        walk = _Numbers(numbered)
        body = walk.block(kernel.body)
        if walk.shareable and walk.length >= SHORTEST:
            groups[body].append((kernel, numbers))
    found: dict[Kernel, Shared] = {}
    for members in groups.values():
        if len(members) > 1:
            found.update(_shared(members))
    return found


def _shared(members: Sequence[tuple[Kernel, Sequence[Const]]]) -> Mapping[Kernel, Shared]:
    """One kernel for a group that differs in numbers only."""
    first, own = members[0]
    rows = [[np.array(c.value, c.dtype.numpy) for c in numbers] for _, numbers in members]
    places: dict[tuple[DType, bytes], int] = {}
    of_type: dict[DType, list[list[Array]]] = defaultdict(list)
    chosen: list[tuple[DType, int] | None] = []
    for constant, column in zip(own, zip(*rows, strict=True), strict=True):
        key = constant.dtype, b"".join(number.tobytes() for number in column)
        if key[1] == column[0].tobytes() * len(column):
            chosen.append(None)
            continue
        if key not in places:
            places[key] = len(of_type[constant.dtype])
            of_type[constant.dtype].append(list(column))
        chosen.append((constant.dtype, places[key]))
    if not places or len(places) > MOST_NUMBERS:
        return {}
    kernel = _with_numbers(first, chosen, of_type)
    return {
        member: Shared(kernel, tuple(np.array([column[i] for column in columns]) for columns in of_type.values()))
        for i, (member, _) in enumerate(members)
    }


def _with_numbers(
    kernel: Kernel, chosen: Sequence[tuple[DType, int] | None], columns: Mapping[DType, Sequence[Sequence[Array]]]
) -> Kernel:
    """The kernel with chosen numbers read from parameters, whose elements are these in the kernels of its group."""
    buffers = {dtype: Buffer(f"{_PREFIX}_{dtype.value}", dtype, (len(of),)) for dtype, of in columns.items()}
    lets = {
        (dtype, i): Let(f"{_PREFIX}_{dtype.value}_{i}", _within(Load(buffer, (Const(i),)), column))
        for dtype, buffer in buffers.items()
        for i, column in enumerate(columns[dtype])
    }
    places = iter(chosen)

    def read(number: Const) -> Expr:
        place = next(places)
        if place is None:
            return number
        return lets[place].var if number.lanes == 1 else Broadcast(lets[place].var, number.lanes)

    body = _Numbers(read).block(kernel.body)
    return replace(kernel, params=(*buffers.values(), *kernel.params), body=(*lets.values(), *body))


def _within(number: Expr, column: Sequence[Array]) -> Expr:
    """A number that is one of these: like a literal, a float has bounds, which save instructions that limit results.

    Bounds are powers of two, so that few kernels differ in them.
    """
    if not number.type.dtype.is_float or not np.isfinite(column).all():
        return number
    _, exponent = math.frexp(max(abs(float(other)) for other in column))
    if exponent == sys.float_info.max_exp:  # no double is as large as that power
        return number
    return Within(number, 1 << max(0, exponent))


@dataclass
class _Numbers:
    """A kernel's statements with other numbers outside its index arithmetic, which are met in the same order always."""

    change: Callable[[Const], Expr]
    length: int = 0
    """Expressions met."""
    shareable: bool = True
    """No index depends on data, which bounds its numbers keep inside."""
    _known: dict[int, tuple[Expr, Expr]] = field(default_factory=dict[int, tuple[Expr, Expr]])

    def block(self, statements: Sequence[Stmt]) -> tuple[Stmt, ...]:
        """Statements in order."""
        return tuple(map(self._statement, statements))

    def _statement(self, s: Stmt) -> Stmt:
        match s:
            case Let(name, value):
                return Let(name, self.expr(value))
            case Store(buffer, indices, value):
                self._look_at(indices)
                return Store(buffer, indices, self.expr(value))
            case For():
                return replace(s, body=self.block(s.body))
            case If():
                return replace(s, then=self.block(s.then), otherwise=self.block(s.otherwise))
            case Allocate() | Prefetch():
                return s
        self.shareable = False
        return s

    def _look_at(self, indices: Sequence[Expr]) -> None:
        """Note an index that depends on data."""
        for index in indices:
            if isinstance(index, Load) or (isinstance(index, Var) and index.of != INDEX):
                self.shareable = False
            self._look_at(index.operands)

    def expr(self, e: Expr) -> Expr:
        """An expression; parts that are one object stay one."""
        known = self._known.get(id(e))
        if known is None:
            self.length += 1
            known = self._known[id(e)] = (e, self._new(e))
        return known[1]

    def _new(self, e: Expr) -> Expr:
        if isinstance(e, Load):
            self._look_at(e.indices)
            return e
        if e.type == INDEX:
            self._look_at((e,))
            return e
        if isinstance(e, Const):
            return e if e.dtype is DType.BOOL or e.dtype is DType.I64 else self.change(e)
        if not e.operands:
            return e
        return rebuilt(e, self.expr)
