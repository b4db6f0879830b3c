"""The loop IR: counted loops over buffers, with scalar, vector and register-tile values.

It is the narrow waist of netc: every operator reaches every machine through it, and nothing above it knows LLVM.
All nodes are frozen and compare by value. Indices are `i64` expressions; arithmetic on constants folds on
construction, so schedules can be written with plain integers.

    kernel @scale(%x: f32[4,32], %y: out f32[4,32]) {
      parallel %i = 0 to 4 {
        for %j = 0 to 32 step 16 {
          %y[%i, %j] = mul(load f32x16 %x[%i, %j], 2.0: f32x16)
        }
      }
    }
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..types import DType


@dataclass(frozen=True, slots=True)
class VectorType:
    """The type of an expression: `lanes` elements of `dtype` (one lane: a scalar)."""

    dtype: DType
    lanes: int = 1

    def __str__(self) -> str:
        return f"{self.dtype}x{self.lanes}" if self.lanes > 1 else str(self.dtype)


INDEX = VectorType(DType.I64)


class Space(enum.Enum):
    """Where a buffer lives."""

    ARGUMENT = "argument"
    """Memory that the caller passes in, read only."""
    OUT = "out"
    """Memory that the caller passes in, written (and possibly read) by the kernel."""
    REGISTER = "register"
    """A tile of registers; every index must be constant once unrolled loops are expanded."""
    STACK = "stack"
    """A small array in the kernel's own frame, one for each thread."""


@dataclass(frozen=True, slots=True)
class Buffer:
    """Row-major memory. `lanes` > 1 (registers only): each element is a vector."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    space: Space = Space.ARGUMENT
    lanes: int = 1

    @property
    def bytes(self) -> int:
        """How much memory it takes; a register tile with several lanes takes more."""
        return math.prod(self.shape) * self.dtype.itemsize


# ---- expressions ----------------------------------------------------------------------------------------------------


class Expr:
    """Base of all expressions. Operators build nodes; those on constants fold."""

    __slots__ = ()

    @property
    def type(self) -> VectorType:
        """Element type and lanes."""
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


@dataclass(frozen=True, slots=True)
class Const(Expr):
    """A literal; with several lanes, the same number in each."""

    value: int | float | bool
    dtype: DType = DType.I64
    lanes: int = 1

    @property
    def type(self) -> VectorType:
        return VectorType(self.dtype, self.lanes)


@dataclass(frozen=True, slots=True)
class Var(Expr):
    """A loop variable, or a value that `Let` defined."""

    name: str
    of: VectorType = INDEX

    @property
    def type(self) -> VectorType:
        return self.of


ARITHMETIC = ("add", "sub", "mul", "div", "min", "max")
"""Floats follow IEEE 754; `min` and `max` are NaN where one side is, and either zero where -0 meets +0.

Integers wrap; their quotient is rounded toward zero, and 0 where the divisor is 0.
"""
INTEGER = ("floordiv", "mod", "and", "or", "xor", "shl", "shr")
"""On integers; `floordiv` and `mod` round toward minus infinity and are 0 where the divisor is 0, `shr` is arithmetic.

Shifts go by less than the number of bits.
"""
COMPARISON = ("lt", "le", "eq", "ne")
"""With a NaN on either side only `ne` holds."""


@dataclass(frozen=True, slots=True)
class Binary(Expr):
    """`op` of two values of the same type; comparisons give `i1`. `and`/`or` serve booleans too."""

    op: str
    lhs: Expr
    rhs: Expr

    @property
    def type(self) -> VectorType:
        t = self.lhs.type
        return VectorType(DType.BOOL, t.lanes) if self.op in COMPARISON else t


UNARY = ("neg", "abs", "sqrt", "floor", "exp", "log", "tanh", "not")


@dataclass(frozen=True, slots=True)
class Unary(Expr):
    """`op` of one value, lane by lane."""

    op: str
    value: Expr

    @property
    def type(self) -> VectorType:
        return self.value.type


@dataclass(frozen=True, slots=True)
class Fma(Expr):
    """a * b + c, rounded once."""

    a: Expr
    b: Expr
    c: Expr

    @property
    def type(self) -> VectorType:
        return self.c.type


@dataclass(frozen=True, slots=True)
class Select(Expr):
    """`then` where `condition` holds, else `otherwise`; both are evaluated."""

    condition: Expr
    then: Expr
    otherwise: Expr

    @property
    def type(self) -> VectorType:
        return self.then.type


@dataclass(frozen=True, slots=True)
class Cast(Expr):
    """Conversion of the element type; `numerics.convert` says what becomes of numbers out of range."""

    value: Expr
    dtype: DType

    @property
    def type(self) -> VectorType:
        return VectorType(self.dtype, self.value.type.lanes)


@dataclass(frozen=True, slots=True)
class Bitcast(Expr):
    """The same bits seen as another element type of equal size."""

    value: Expr
    dtype: DType

    @property
    def type(self) -> VectorType:
        return VectorType(self.dtype, self.value.type.lanes)


@dataclass(frozen=True, slots=True)
class Broadcast(Expr):
    """A scalar in every lane."""

    value: Expr
    lanes: int

    @property
    def type(self) -> VectorType:
        return VectorType(self.value.type.dtype, self.lanes)


@dataclass(frozen=True, slots=True)
class Load(Expr):
    """`lanes` neighbouring elements of a buffer from `indices` on (no alignment assumed)."""

    buffer: Buffer
    indices: tuple[Expr, ...]
    lanes: int = 1

    @property
    def type(self) -> VectorType:
        return VectorType(self.buffer.dtype, self.buffer.lanes if self.buffer.lanes > 1 else self.lanes)


@dataclass(frozen=True, slots=True)
class Reduce(Expr):
    """All lanes of a vector combined into a scalar by `op` (add, max, min)."""

    op: str
    value: Expr

    @property
    def type(self) -> VectorType:
        return VectorType(self.value.type.dtype)


@dataclass(frozen=True, slots=True)
class Interleave(Expr):
    """The lanes of two or four vectors of the same type in turn: lane n * i + j is lane i of part j."""

    parts: tuple[Expr, ...]

    @property
    def type(self) -> VectorType:
        first = self.parts[0].type
        return VectorType(first.dtype, first.lanes * len(self.parts))


@dataclass(frozen=True, slots=True)
class FixedMul(Expr):
    """32-bit integers times the real factor multiplier * 2^(shift - 31), rounded twice.

    Once where the product is divided by 2^31, halves up, and once where that is divided by 2^-shift, halves away from
    zero or up, too. All are i32; 0 <= multiplier and -31 <= shift <= -1, so that no result needs more bits.
    """

    x: Expr
    multiplier: Expr
    shift: Expr
    halves_up: bool = False

    @property
    def type(self) -> VectorType:
        return self.x.type


@dataclass(frozen=True, slots=True)
class Dot4(Expr):
    """Dot products of 8-bit integers, four at a time: lane i is c[i] + the sum over j < 4 of a[4i + j] * b[4i + j].

    `b` has four times as many lanes as the i32 sums in `c`, and so has `a`, or four, which serve every sum; each may
    be signed or not. Sums wrap around.
    """

    a: Expr
    b: Expr
    c: Expr

    @property
    def type(self) -> VectorType:
        return self.c.type


# ---- statements -----------------------------------------------------------------------------------------------------


class Stmt:
    """Base of all statements."""

    __slots__ = ()


class LoopKind(enum.Enum):
    """How a loop runs."""

    SERIAL = "for"
    PARALLEL = "parallel"
    """Iterations are shared out to the threads in contiguous, equal parts; at most one, outermost, in a kernel."""
    UNROLL = "unroll"
    """Expanded completely; bounds are constant."""


@dataclass(frozen=True, slots=True)
class For(Stmt):
    """`kind` loop: variable from start up to, not including, stop."""

    var: str
    start: Expr
    stop: Expr
    body: tuple[Stmt, ...]
    kind: LoopKind = LoopKind.SERIAL
    step: int = 1


@dataclass(frozen=True, slots=True)
class Store(Stmt):
    """Write a value (all its lanes, to neighbouring elements) to a buffer."""

    buffer: Buffer
    indices: tuple[Expr, ...]
    value: Expr


@dataclass(frozen=True, slots=True)
class Let(Stmt):
    """Name a value for the rest of the enclosing block."""

    name: str
    value: Expr

    @property
    def var(self) -> Var:
        """The expression that refers to it."""
        return Var(self.name, self.value.type)


@dataclass(frozen=True, slots=True)
class Allocate(Stmt):
    """Make a register or stack buffer for the rest of the enclosing block; its contents start undefined."""

    buffer: Buffer


@dataclass(frozen=True, slots=True)
class If(Stmt):
    """Run `then` where the scalar condition holds, else `otherwise`."""

    condition: Expr
    then: tuple[Stmt, ...]
    otherwise: tuple[Stmt, ...] = ()


@dataclass(frozen=True, slots=True)
class Kernel:
    """A function over buffers; threads are implied by its `parallel` loop."""

    name: str
    params: tuple[Buffer, ...]
    body: tuple[Stmt, ...]

    @property
    def is_parallel(self) -> bool:
        """True if several threads share its work."""
        return any(isinstance(s, For) and s.kind is LoopKind.PARALLEL for s in self.body)


def statements(body: Sequence[Stmt]) -> Iterator[Stmt]:
    """All statements of a block, nested ones too, in order."""
    for s in body:
        yield s
        if isinstance(s, For):
            yield from statements(s.body)
        elif isinstance(s, If):
            yield from statements(s.then)
            yield from statements(s.otherwise)


def children(expr: Expr) -> tuple[Expr, ...]:
    """The direct subexpressions of an expression."""
    match expr:
        case Binary(_, a, b):
            return (a, b)
        case Unary(_, a) | Cast(a, _) | Bitcast(a, _) | Broadcast(a, _) | Reduce(_, a):
            return (a,)
        case Fma(a, b, c) | Select(a, b, c) | Dot4(a, b, c) | FixedMul(a, b, c, _):
            return (a, b, c)
        case Interleave(parts):
            return parts
        case Load(_, indices, _):
            return indices
        case _:
            return ()


# ---- construction ---------------------------------------------------------------------------------------------------


def const(value: int | float, like: VectorType = INDEX) -> Const:
    """A literal of the given type."""
    return Const(float(value) if like.dtype.is_float else int(value), like.dtype, like.lanes)


_FOLD: dict[str, Callable[[int, int], int]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "floordiv": lambda a, b: a // b if b else 0,
    "mod": lambda a, b: a % b if b else 0,
    "min": min,
    "max": max,
}


def binary(op: str, lhs: Expr | int | float, rhs: Expr | int | float) -> Expr:
    """`op` of two values; numbers take the other side's type, index arithmetic on constants folds."""
    if not isinstance(lhs, Expr):
        lhs = const(lhs, rhs.type if isinstance(rhs, Expr) else INDEX)
    if not isinstance(rhs, Expr):
        rhs = const(rhs, lhs.type)
    if lhs.type == INDEX and rhs.type == INDEX:
        return _fold_index(op, lhs, rhs)
    return Binary(op, lhs, rhs)


def _fold_index(op: str, lhs: Expr, rhs: Expr) -> Expr:
    if isinstance(lhs, Const) and isinstance(rhs, Const) and op in _FOLD:
        return Const(_FOLD[op](int(lhs.value), int(rhs.value)))
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
