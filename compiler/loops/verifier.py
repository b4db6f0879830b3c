"""Checks that a kernel is well formed: names, types, loop structure, and accesses that stay inside their buffers.

Bounds are checked by interval analysis where loop bounds are known; what it can't bound is left to `interpreter`. A
violation is a bug of the schedule that built the kernel, so it raises `InternalError` with the kernel's text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import InternalError
from ..graph.types import DType
from .interval import UNKNOWN, Interval, interval
from .ir import (
    ARITHMETIC,
    COMPARISON,
    INDEX,
    INTEGER,
    UNARY,
    Allocate,
    Binary,
    Bitcast,
    Broadcast,
    Buffer,
    Cast,
    Const,
    Dot4,
    Expr,
    FixedMul,
    Fma,
    For,
    If,
    Interleave,
    Kernel,
    Let,
    Load,
    LoopKind,
    Reduce,
    Select,
    Space,
    Stmt,
    Store,
    Unary,
    Var,
    VectorType,
    children,
    statements,
)
from .module import Memory, Module
from .printer import print_expr, print_kernel

STACK_BYTES = 128 * 1024
"""Most that the stack buffers of a kernel may take together; some systems give threads little more than this."""


class _ViolationError(Exception):
    """What is wrong, without the text of the kernel."""


def verify_kernel(kernel: Kernel) -> None:
    """Raise `InternalError` unless the kernel is well formed."""
    try:
        _Verifier().kernel(kernel)
    except _ViolationError as error:
        raise InternalError(f"loop verifier: @{kernel.name}: {error}\n{print_kernel(kernel)}") from None


def verify_module(module: Module) -> None:
    """Raise `InternalError` unless all kernels are well formed and all calls fit them and their memory."""
    for kernel in module.kernels:
        verify_kernel(kernel)
    kernels = {kernel.name: kernel for kernel in module.kernels}
    try:
        _check(len(kernels) == len(module.kernels), "two kernels have the same name")
        for call in module.calls:
            _check(call.kernel in kernels, f"call of @{call.kernel}, which is not there")
            _arguments(module, kernels[call.kernel], [(s.memory, s.offset) for s in call.arguments])
        _conditions(module, kernels)
    except _ViolationError as error:
        raise InternalError(f"loop verifier: module @{module.name}: {error}") from None


def _arguments(module: Module, kernel: Kernel, slots: Sequence[tuple[Memory, int]]) -> None:
    """Arguments are as many as parameters and lie inside the memory they are in."""
    _check(len(slots) == len(kernel.params), f"@{kernel.name} takes {len(kernel.params)} arguments, not {len(slots)}")
    for (memory, offset), buffer in zip(slots, kernel.params, strict=True):
        place = f"argument {memory.value}[{offset}] for %{buffer.name} of @{kernel.name}"
        _place(module, memory, offset, math.prod(buffer.shape) * buffer.dtype.itemsize, place)
        writable = memory in (Memory.ARENA, Memory.OUTPUT, Memory.STATE)
        _check(writable or buffer.space is not Space.OUT, f"{place} is written, but it is read only")


def _conditions(module: Module, kernels: Mapping[str, Kernel]) -> None:
    """Conditions of calls lie inside the memory they are in, and from the first use on nothing writes there."""
    used: dict[tuple[Memory, int], str] = {}
    for call in module.calls:
        if call.when is not None:
            memory, offset = call.when.memory, call.when.offset
            place = used[memory, offset] = f"condition {memory.value}[{offset}]"
            _check(memory is not Memory.STATE, f"{place} may change while the program runs")
            _place(module, memory, offset, DType.BOOL.itemsize, place)
        for slot, buffer in zip(call.arguments, kernels[call.kernel].params, strict=True):
            extent = 1 if slot.memory is Memory.OUTPUT else math.prod(buffer.shape) * buffer.dtype.itemsize
            for (memory, offset), place in used.items():
                hit = slot.memory is memory and slot.offset <= offset < slot.offset + extent
                _check(not hit or buffer.space is not Space.OUT, f"{place} is overwritten by @{call.kernel}")


def _place(module: Module, memory: Memory, offset: int, size: int, place: str) -> None:
    """The bytes are inside the memory they are in."""
    regions = {
        Memory.ARENA: module.arena_bytes,
        Memory.WEIGHTS: module.weights_bytes,
        Memory.STATE: module.state_bytes,
    }
    tensors = {Memory.INPUT: module.inputs, Memory.OUTPUT: module.outputs}
    if memory in regions:
        _check(offset >= 0 and offset + size <= regions[memory], f"{place} ends outside its region")
    else:
        _check(0 <= offset < len(tensors[memory]), f"{place} doesn't exist")
        _check(size <= tensors[memory][offset][1].bytes, f"{place} is smaller than the {size} bytes that are used")


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise _ViolationError(message)


@dataclass(slots=True)
class _Scope:
    """What is defined at a place."""

    buffers: dict[str, Buffer] = field(default_factory=dict[str, Buffer])
    types: dict[str, VectorType] = field(default_factory=dict[str, VectorType])
    ranges: dict[str, Interval] = field(default_factory=dict[str, Interval])
    constant: set[str] = field(default_factory=set[str])
    """Variables that are constants once unrolled loops are expanded."""
    in_loop: bool = False

    def inner(self) -> _Scope:
        return _Scope(dict(self.buffers), dict(self.types), dict(self.ranges), set(self.constant), self.in_loop)


class _Verifier:
    def kernel(self, kernel: Kernel) -> None:
        scope = _Scope()
        for buffer in kernel.params:
            self.declare(buffer, scope)
            _check(
                buffer.space in (Space.ARGUMENT, Space.OUT), f"parameter %{buffer.name} lies in {buffer.space.value}"
            )
        loops = [s for s in kernel.body if isinstance(s, For) and s.kind is LoopKind.PARALLEL]
        _check(len(loops) <= 1, "there are two parallel loops")
        self.shared = bool(loops)
        stack = [s.buffer for s in statements(kernel.body) if isinstance(s, Allocate) and s.buffer.space is Space.STACK]
        taken = sum(math.prod(b.shape) * b.dtype.itemsize for b in stack)
        _check(taken <= STACK_BYTES, f"stack buffers take {taken} bytes, more than {STACK_BYTES}")
        self.block(kernel.body, scope)

    def declare(self, buffer: Buffer, scope: _Scope) -> None:
        _check(all(n >= 0 for n in buffer.shape), f"buffer %{buffer.name} has a negative size")
        _check(buffer.lanes >= 1, f"buffer %{buffer.name} has no lanes")
        _check(buffer.lanes == 1 or buffer.space is Space.REGISTER, f"only registers hold vectors, not %{buffer.name}")
        scope.buffers[buffer.name] = buffer

    # ---- statements ----

    def block(self, body: Sequence[Stmt], scope: _Scope) -> None:
        for stmt in body:
            match stmt:
                case Let(name, value):
                    self.let(name, value, scope)
                case Allocate(buffer):
                    _check(buffer.space in (Space.REGISTER, Space.STACK), f"%{buffer.name} can't be allocated")
                    self.declare(buffer, scope)
                case Store(buffer, indices, value):
                    self.store(buffer, indices, value, scope)
                case If(condition, then, otherwise):
                    _check(self.expr(condition, scope) == VectorType(DType.BOOL), "a condition is one boolean")
                    self.block(then, _refined(scope, condition))
                    self.block(otherwise, scope.inner())
                case For():
                    self.loop(stmt, scope)

    def let(self, name: str, value: Expr, scope: _Scope) -> None:
        scope.types[name] = self.expr(value, scope)
        scope.constant.discard(name)
        scope.ranges[name] = interval(value, scope.ranges) if scope.types[name] == INDEX else UNKNOWN
        if self.is_constant(value, scope):
            scope.constant.add(name)

    def store(self, buffer: Buffer, indices: Sequence[Expr], value: Expr, scope: _Scope) -> None:
        kind = self.expr(value, scope)
        _check(buffer.space is not Space.ARGUMENT, f"%{buffer.name} is read only")
        _check(kind.dtype is buffer.dtype, f"%{buffer.name} holds {buffer.dtype}, but {kind} is stored")
        private = buffer.space in (Space.REGISTER, Space.STACK)
        _check(private or scope.in_loop or not self.shared, f"%{buffer.name} is written outside the parallel loop")
        self.access(buffer, indices, kind.lanes, scope)

    def loop(self, stmt: For, scope: _Scope) -> None:
        for bound in (stmt.start, stmt.stop):
            _check(self.expr(bound, scope) == INDEX, f"a bound of loop %{stmt.var} is not an index")
        _check(stmt.step >= 1, f"loop %{stmt.var} has step {stmt.step}")
        inner = scope.inner()
        inner.types[stmt.var] = INDEX
        inner.ranges[stmt.var] = _loop_range(stmt, scope)
        inner.constant.discard(stmt.var)
        if stmt.kind is LoopKind.UNROLL:
            fixed = self.is_constant(stmt.start, scope) and self.is_constant(stmt.stop, scope)
            _check(fixed, f"bounds of unrolled loop %{stmt.var} are not constant")
            inner.constant.add(stmt.var)
        if stmt.kind is LoopKind.PARALLEL:
            _check(not scope.in_loop and self.shared, f"parallel loop %{stmt.var} is not outermost")
        inner.in_loop = True
        if inner.ranges[stmt.var][0] <= inner.ranges[stmt.var][1]:
            self.block(stmt.body, inner)

    # ---- expressions ----

    def access(self, buffer: Buffer, indices: Sequence[Expr], lanes: int, scope: _Scope) -> None:
        """Rank, bounds, and constant indices of registers."""
        _check(scope.buffers.get(buffer.name) == buffer, f"buffer %{buffer.name} is not defined here")
        _check(len(indices) == len(buffer.shape), f"%{buffer.name} is accessed with {len(indices)} indices")
        for index in indices:
            _check(self.expr(index, scope) == INDEX, f"an index of %{buffer.name} is not an index")
        if buffer.space is Space.REGISTER:
            _check(lanes == buffer.lanes, f"%{buffer.name} holds {buffer.lanes} lanes, not {lanes}")
            fixed = all(self.is_constant(i, scope) for i in indices)
            _check(fixed, f"register buffer %{buffer.name} has an index that is not constant")
            lanes = 1
        for dimension, (index, size) in enumerate(zip(indices, buffer.shape, strict=True)):
            low, high = interval(index, scope.ranges)
            last = high + (lanes - 1 if dimension == len(buffer.shape) - 1 else 0)
            inside = (low >= 0 or math.isinf(low)) and (last < size or math.isinf(last))
            reach = f"{_bound(low)} to {_bound(last)}"
            _check(inside, f"%{buffer.name}, index {print_expr(index)}: {reach} lies outside 0 to {size - 1}")

    def is_constant(self, expr: Expr, scope: _Scope) -> bool:
        """True if only unrolled loops' variables occur."""
        if isinstance(expr, Var):
            return expr.name in scope.constant
        return not isinstance(expr, Load) and all(self.is_constant(e, scope) for e in children(expr))

    def expr(self, expr: Expr, scope: _Scope) -> VectorType:
        """Check an expression and return its type."""
        if isinstance(expr, Load):
            self.access(expr.buffer, expr.indices, expr.type.lanes, scope)
            _check(expr.lanes >= 1, f"a load of %{expr.buffer.name} has no lanes")
            return expr.type
        types = [self.expr(e, scope) for e in children(expr)]
        problem = _problem(expr, types, scope)
        _check(problem is None, f"{print_expr(expr)}: {problem}")
        return expr.type


def _problem(expr: Expr, types: Sequence[VectorType], scope: _Scope) -> str | None:
    """What is wrong with an expression whose operands have the given types."""
    match expr:
        case Var(name, kind):
            return None if scope.types.get(name) == kind else f"no value %{name} of type {kind} is defined here"
        case Const(value, dtype, lanes):
            whole = dtype.is_float or float(value).is_integer()
            return None if lanes >= 1 and whole else f"is no literal of {dtype}"
        case Binary(op, _, _):
            return _binary_problem(op, types)
        case Unary(op, _):
            return None if op in UNARY else f"there is no operation {op}"
        case Fma():
            return None if len(set(types)) == 1 else f"operands differ: {_joined(types)}"
        case Dot4():
            a, b, c = types
            bytes_ = (DType.I8, DType.U8)
            fits = a.lanes in (4, b.lanes) and b.lanes == 4 * c.lanes and a.dtype in bytes_ and b.dtype in bytes_
            return None if fits and c.dtype is DType.I32 else f"operands don't fit: {_joined(types)}"
        case FixedMul():
            fits = set(types) == {VectorType(DType.I32, types[0].lanes)}
            return None if fits else f"operands don't fit: {_joined(types)}"
        case Interleave(parts):
            fits = len(parts) in (2, 4) and len(set(types)) == 1
            return None if fits else f"takes two or four operands of one type: {_joined(types)}"
        case Select():
            condition = types[0] in (VectorType(DType.BOOL), VectorType(DType.BOOL, types[1].lanes))
            return None if condition and types[1] == types[2] else f"operands don't fit: {_joined(types)}"
        case Bitcast(_, dtype):
            same = dtype.itemsize == types[0].dtype.itemsize and DType.BOOL not in (dtype, types[0].dtype)
            return None if same else f"{types[0].dtype} and {dtype} differ in size"
        case Broadcast(_, lanes):
            return None if types[0].lanes == 1 and lanes >= 1 else f"{types[0]} is not one element"
        case Reduce(op, _):
            return None if op in ("add", "max", "min", "mul") else f"lanes can't be combined by {op}"
        case Cast():
            return None
    return f"{type(expr).__name__} is no expression of the loop IR"


def _binary_problem(op: str, types: Sequence[VectorType]) -> str | None:
    if types[0] != types[1]:
        return f"operands differ: {_joined(types)}"
    if op not in (*ARITHMETIC, *INTEGER, *COMPARISON):
        return f"there is no operation {op}"
    if op in INTEGER and types[0].dtype.is_float:
        return f"{op} takes integers, not {types[0]}"
    if types[0].dtype is DType.BOOL and op in ARITHMETIC:
        return f"{op} takes numbers, not {types[0]}"
    return None


def _loop_range(stmt: For, scope: _Scope) -> Interval:
    """Values of a loop variable; with constant bounds the last one is exact."""
    start, stop = interval(stmt.start, scope.ranges), interval(stmt.stop, scope.ranges)
    if start[0] == start[1] and math.isfinite(start[0] + stop[1]):
        return (start[0], start[0] + (stop[1] - 1 - start[0]) // stmt.step * stmt.step)
    return (start[0], stop[1] - 1)


def _refined(scope: _Scope, condition: Expr) -> _Scope:
    """The scope in which `variable < constant` or `constant <= variable` conditions hold."""
    inner = scope.inner()
    match condition:
        case Binary("and", a, b):
            return _refined(_refined(scope, a), b)
        case Binary("lt" | "le" as op, Var(name, _), b) if name in inner.ranges:
            low, high = inner.ranges[name]
            inner.ranges[name] = (low, min(high, interval(b, scope.ranges)[1] - (op == "lt")))
        case Binary("lt" | "le" as op, a, Var(name, _)) if name in inner.ranges:
            low, high = inner.ranges[name]
            inner.ranges[name] = (max(low, interval(a, scope.ranges)[0] + (op == "lt")), high)
    return inner


def _bound(value: float) -> str:
    return "unknown" if math.isinf(value) else str(int(value))


def _joined(types: Sequence[VectorType]) -> str:
    return ", ".join(map(str, types))
