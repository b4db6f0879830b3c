"""Checks one kernel: names, types, loop structure, and that no access leaves its buffer.

Bounds are proved from loop bounds and conditions (see `linear`); an index that can't be bounded is a violation, too.
What was found out about accesses is kept (see `accesses`), so that calls can be checked against each other (`races`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np

from ..types import DType
from .accesses import AccessRecord, KernelFacts
from .buffers import BOOLEAN
from .interval import UNKNOWN, Interval
from .ir import (
    INDEX,
    Allocate,
    Binary,
    Buffer,
    Cast,
    Const,
    Expr,
    For,
    If,
    Kernel,
    Let,
    Load,
    LoopKind,
    Prefetch,
    Select,
    Space,
    Stmt,
    Store,
    Var,
    VectorType,
)
from .linear import Knowledge, Linear, constant
from .printer import print_expr
from .tiles import MOST_TILES, check_tile, tile_fault, tiles_read
from .violation import ViolationError, check

STACK_BYTES = 128 * 1024
"""Most that the stack buffers of a kernel may take together; some systems give threads little more than this."""


@dataclass(slots=True)
class _Scope:
    """What is defined at a place."""

    buffers: dict[str, Buffer]
    types: dict[str, VectorType]
    forms: dict[str, Linear]
    constant: set[str]
    """Variables that are constants once unrolled loops are expanded."""
    in_loop: bool = False
    seen: dict[int, Linear] = field(default_factory=dict[int, Linear])
    """Identity of an expression that was met here -> its form; expressions share parts."""
    registers: dict[tuple[int, int, int], Sequence[Expr]] = field(
        default_factory=dict[tuple[int, int, int], Sequence[Expr]]
    )
    """Accesses to registers that were found to be right here, by identity of buffer and indices, and lanes."""

    def inner(self) -> _Scope:
        return _Scope(dict(self.buffers), dict(self.types), dict(self.forms), set(self.constant), self.in_loop)


class KernelVerifier:
    """Verifies one kernel; raises `ViolationError`."""

    def __init__(self) -> None:
        self.knowledge = Knowledge()
        self.facts = KernelFacts(self.knowledge)
        self.record = AccessRecord(self.facts)
        self.stack_bytes = 0
        self.tiles: set[int] = set()
        """Identities of loads of tiles at places where these may stand."""

    def kernel(self, kernel: Kernel) -> KernelFacts:
        """Verify a kernel and say what it touches."""
        scope = _Scope({}, {}, {}, set())
        for buffer in kernel.params:
            self.declare(buffer, scope)
            check(buffer.space in (Space.ARGUMENT, Space.OUT), f"parameter %{buffer.name} lies in {buffer.space.value}")
            self.facts.accesses[buffer.name] = []
        loops = [s for s in kernel.body if isinstance(s, For) and s.kind is LoopKind.PARALLEL]
        check(len(loops) <= 1, "there are two parallel loops")
        self.shared = bool(loops)
        self.block(kernel.body, scope)
        return self.facts

    def declare(self, buffer: Buffer, scope: _Scope) -> None:
        """A buffer is well formed and can be used from here on."""
        check(all(n >= 0 for n in buffer.shape), f"buffer %{buffer.name} has a negative size")
        check(buffer.lanes >= 1, f"buffer %{buffer.name} has no lanes")
        check(buffer.lanes == 1 or buffer.is_register, f"only registers hold vectors, not %{buffer.name}")
        if buffer.space is Space.TILE:
            check_tile(buffer)
        scope.buffers[buffer.name] = buffer

    # ---- statements ----

    def block(self, body: Sequence[Stmt], scope: _Scope) -> None:
        """Statements in order."""
        for stmt in body:
            if isinstance(stmt, Let):
                self.let(stmt, scope)
            elif isinstance(stmt, Store):
                self.store(stmt, scope)
            elif isinstance(stmt, For):
                self.loop(stmt, scope)
            elif isinstance(stmt, If):
                self.branch(stmt, scope)
            elif isinstance(stmt, Allocate):
                self.allocate(stmt.buffer, scope)
            elif isinstance(stmt, Prefetch):
                self.prefetch(stmt, scope)

    def allocate(self, buffer: Buffer, scope: _Scope) -> None:
        """A buffer of the kernel's own, from here on."""
        check(buffer.is_register or buffer.space is Space.STACK, f"%{buffer.name} can't be allocated")
        self.declare(buffer, scope)
        tiles = sum(math.prod(b.places) for b in scope.buffers.values() if b.space is Space.TILE)
        check(tiles <= MOST_TILES, f"there are {tiles} tiles at %{buffer.name}, more than {MOST_TILES}")
        self.stack_bytes += buffer.bytes if buffer.space is Space.STACK else 0
        check(self.stack_bytes <= STACK_BYTES, f"stack buffers take more than {STACK_BYTES} bytes")

    def let(self, stmt: Let, scope: _Scope) -> None:
        """A name for a value, from here on."""
        name = stmt.name
        kind = self.type_of(stmt.value, scope)
        if name in scope.types:
            scope.seen.clear()
            scope.registers.clear()
            scope.forms.pop(name, None)
            scope.constant.discard(name)
        scope.types[name] = kind
        if kind is INDEX:
            scope.forms[name] = self.index(stmt.value, scope)
            if self.is_constant(stmt.value, scope):
                scope.constant.add(name)

    def store(self, stmt: Store, scope: _Scope) -> None:
        """The value fits a buffer that may be written here."""
        self.tiles.update(map(id, tiles_read(stmt)))
        kind = self.type_of(stmt.value, scope)
        buffer = stmt.buffer
        if kind.dtype is not buffer.dtype:
            raise ViolationError(f"%{buffer.name} holds {buffer.dtype}, but {kind} is stored")
        if buffer.space is Space.ARGUMENT:
            raise ViolationError(f"%{buffer.name} is read only")
        if buffer.space is Space.OUT and self.shared and not scope.in_loop:
            raise ViolationError(f"%{buffer.name} is written outside the parallel loop")
        if buffer.space is Space.TILE and (fault := tile_fault(stmt)):
            raise ViolationError(f"%{buffer.name} = {print_expr(stmt.value)}: {fault}")
        self.access(buffer, stmt.indices, kind.lanes, True, scope)

    def prefetch(self, stmt: Prefetch, scope: _Scope) -> None:
        """It lies inside the buffer, like an access, but threads may meet there."""
        buffer, forms = stmt.buffer, [self.index(index, scope) for index in stmt.indices]
        check(scope.buffers.get(buffer.name) == buffer, f"buffer %{buffer.name} is not defined here")
        check(not buffer.is_register, f"%{buffer.name} lies in no memory")
        check(len(forms) == len(buffer.shape), f"%{buffer.name} is accessed with {len(forms)} indices")
        self.bounds(buffer, stmt.indices, forms, 1)

    def branch(self, stmt: If, scope: _Scope) -> None:
        """Both sides, each where it can run, with what the condition says there."""
        check(self.type_of(stmt.condition, scope) is BOOLEAN, "a condition is one boolean")
        for body, facts in (
            (stmt.then, self.facts_of(stmt.condition, scope, True)),
            (stmt.otherwise, self.facts_of(stmt.condition, scope, False)),
        ):
            with self.knowledge.assuming(*facts) as possible:
                if possible:
                    self.block(body, scope.inner())

    def facts_of(self, condition: Expr, scope: _Scope, holds: bool) -> list[Linear]:
        """Forms that are not negative where a condition holds, or doesn't."""
        if not isinstance(condition, Binary):
            return []
        if condition.op == "and" and holds:
            return [f for side in (condition.lhs, condition.rhs) for f in self.facts_of(side, scope, True)]
        if condition.op not in ("lt", "le", "eq") or (condition.op == "eq" and not holds):
            return []
        if self.type_of(condition.lhs, scope) is not INDEX:
            return []
        a, b = self.index(condition.lhs, scope), self.index(condition.rhs, scope)
        if condition.op == "eq":
            return [a.plus(b, -1), b.plus(a, -1)]
        strict = condition.op == "lt"
        return [b.plus(a, -1).shifted(-strict)] if holds else [a.plus(b, -1).shifted(strict - 1)]

    def loop(self, stmt: For, scope: _Scope) -> None:
        """The body, for all values of the variable; nothing where it has none."""
        if self.type_of(stmt.start, scope) is not INDEX or self.type_of(stmt.stop, scope) is not INDEX:
            raise ViolationError(f"a bound of loop %{stmt.var} is not an index")
        if stmt.step < 1:
            raise ViolationError(f"loop %{stmt.var} has step {stmt.step}")
        inner = scope.inner()
        inner.types[stmt.var] = INDEX
        inner.constant.discard(stmt.var)
        inner.forms.pop(stmt.var, None)
        if stmt.kind is LoopKind.UNROLL:
            fixed = self.is_constant(stmt.start, scope) and self.is_constant(stmt.stop, scope)
            check(fixed, f"bounds of unrolled loop %{stmt.var} are not constant")
            inner.constant.add(stmt.var)
        if stmt.kind is LoopKind.PARALLEL:
            check(not scope.in_loop and self.shared, f"parallel loop %{stmt.var} is not outermost")
        inner.in_loop = True
        start, stop = self.index(stmt.start, scope), self.index(stmt.stop, scope)
        if self.knowledge.range(stop.plus(start, -1))[1] <= 0:
            return
        key = ("parallel",) if stmt.kind is LoopKind.PARALLEL else ()
        variable, facts = self.knowledge.loop_variable(start, stop, stmt.step, key)
        inner.forms[stmt.var] = variable
        if key:
            self.facts.parallel = variable
        with self.knowledge.assuming(*facts) if facts else _POSSIBLE as possible:
            if possible:
                self.block(stmt.body, inner)

    # ---- accesses ----

    def access(self, buffer: Buffer, indices: Sequence[Expr], lanes: int, writes: bool, scope: _Scope) -> None:
        """Rank, bounds, and constant indices of registers."""
        if buffer.is_register and (id(buffer), id(indices), lanes) in scope.registers:
            return
        known = scope.buffers.get(buffer.name)
        if known is not buffer and known != buffer:
            raise ViolationError(f"buffer %{buffer.name} is not defined here")
        if len(indices) != len(buffer.places):
            raise ViolationError(f"%{buffer.name} is accessed with {len(indices)} indices")
        if buffer.space is Space.ARGUMENT or buffer.space is Space.OUT:
            forms = [self.index(index, scope) for index in indices]
            if not self.record.keep(buffer, forms, lanes, writes, scope.in_loop):
                self.bounds(buffer, indices, forms, lanes)
            return
        if buffer.is_register:
            if lanes != buffer.element.lanes:
                raise ViolationError(f"%{buffer.name} holds {buffer.element.lanes} lanes, not {lanes}")
            if not all(self.is_constant(i, scope) for i in indices):
                raise ViolationError(f"register buffer %{buffer.name} has an index that is not constant")
            scope.registers[id(buffer), id(indices), lanes] = indices
            lanes = 1
        self.bounds(buffer, indices, [self.index(index, scope) for index in indices], lanes)

    def bounds(self, buffer: Buffer, indices: Sequence[Expr], forms: Sequence[Linear], lanes: int) -> None:
        """All indices lie inside the buffer."""
        knowledge, last = self.knowledge, len(forms) - 1
        for d, (form, size) in enumerate(zip(forms, buffer.places, strict=True)):
            end = size - lanes if d == last else size - 1
            low, high = knowledge.range(form) if form.terms else (form.constant, form.constant)
            inside = (low >= 0 or knowledge.proves(form)) and (
                high <= end or knowledge.proves(Linear(end).plus(form, -1))
            )
            if not inside:
                raise ViolationError(_outside(buffer, indices[d], low, high + size - 1 - end, size))

    # ---- expressions ----

    def is_constant(self, expr: Expr, scope: _Scope) -> bool:
        """True if only unrolled loops' variables occur."""
        if isinstance(expr, Const):
            return True
        if isinstance(expr, Var):
            return expr.name in scope.constant
        return not isinstance(expr, Load) and all(self.is_constant(e, scope) for e in expr.operands)

    def type_of(self, expr: Expr, scope: _Scope) -> VectorType:
        """Check an expression; its type."""
        if isinstance(expr, Var):
            if scope.types.get(expr.name) is not expr.of:
                raise ViolationError(f"{print_expr(expr)}: no value %{expr.name} of type {expr.of} is defined here")
        elif isinstance(expr, Load):
            self.load(expr, scope)
        elif id(expr) not in scope.seen:  # else it has been found to be an index
            types = scope.types
            for operand in expr.operands:
                if isinstance(operand, Var):
                    if types.get(operand.name) is operand.of:
                        continue
                elif isinstance(operand, Const) and not operand.fault():
                    continue
                self.type_of(operand, scope)
            if fault := expr.fault():
                raise ViolationError(f"{print_expr(expr)}: {fault}")
        return expr.type

    def load(self, expr: Load, scope: _Scope) -> None:
        """What is loaded lies inside its buffer."""
        buffer = expr.buffer
        if expr.lanes < 1:
            raise ViolationError(f"a load of %{buffer.name} has no lanes")
        if expr.rows < 1 or expr.pitch < 0:
            raise ViolationError(f"a load of %{buffer.name} has {expr.rows} rows of pitch {expr.pitch}")
        if buffer.space is Space.TILE and id(expr) not in self.tiles:
            raise ViolationError(f"tile %{buffer.name} is neither multiplied nor stored")
        self.access(buffer, expr.indices, expr.type.lanes if buffer.is_register else expr.span, False, scope)

    def index(self, expr: Expr, scope: _Scope) -> Linear:
        """The linear form of an index."""
        if isinstance(expr, Binary):
            form = scope.seen.get(id(expr))
            if form is None:
                form = scope.seen[id(expr)] = self.combined(expr, scope)
            return form
        if isinstance(expr, Var):
            form = scope.forms.get(expr.name)
            if form is not None and expr.of is INDEX:
                return form
        elif isinstance(expr, Const) and expr.type is INDEX and not expr.fault():
            return constant(int(expr.value))
        return self.other_index(expr, scope)

    def combined(self, expr: Binary, scope: _Scope) -> Linear:
        """The form of an operation on two indices."""
        op, lhs, rhs = expr.op, expr.lhs, expr.rhs
        if op not in _INDEX_OPERATIONS:
            return self.other_index(expr, scope)
        a = self.index(lhs, scope)
        if isinstance(rhs, Const) and rhs.type is INDEX and isinstance(rhs.value, int):
            number = rhs.value
            if op == "add":
                return Linear(a.constant + number, a.terms)
            if op == "mul":
                return self.knowledge.times(a, number)
            return self.knowledge.binary(op, a, constant(number))
        return self.knowledge.binary(op, a, self.index(rhs, scope))

    def other_index(self, expr: Expr, scope: _Scope) -> Linear:
        """A number that isn't made of loop variables by arithmetic."""
        if self.type_of(expr, scope) is not INDEX:
            raise ViolationError(f"index {print_expr(expr)} is not an index")
        if isinstance(expr, Select):
            return self.knowledge.select(self.index(expr.then, scope), self.index(expr.otherwise, scope))
        return self.knowledge.fresh(self.reach(expr, scope))

    def reach(self, expr: Expr, scope: _Scope) -> Interval:
        """The range of a number that may be anything: of a small integer, what its type can hold."""
        kind = self.type_of(expr.value, scope).dtype if isinstance(expr, Cast) else DType.I64
        if kind is DType.BOOL:
            return (0, 1)
        if kind.is_float or kind is DType.I64:
            return UNKNOWN
        limits = np.iinfo(str(kind.numpy))
        return (int(limits.min), int(limits.max))


_INDEX_OPERATIONS = frozenset({"add", "sub", "mul", "floordiv", "mod", "min", "max"})


_POSSIBLE: AbstractContextManager[bool] = nullcontext(True)


def _outside(buffer: Buffer, index: Expr, low: float, last: float, size: int) -> str:
    reach = " to ".join("unknown" if math.isinf(end) else str(int(end)) for end in (low, last))
    return f"%{buffer.name}, index {print_expr(index)}: {reach} lies outside 0 to {size - 1}"
