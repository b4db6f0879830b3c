"""The loop IR: counted loops over buffers, with scalar, vector and register-tile values.

It is the narrow waist of netc: every operator reaches every machine through it, and nothing above it knows LLVM.
This module is its door: here stand statements and kernels; `buffers`, `expressions` and `*nodes` have the rest.
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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .buffers import INDEX, Buffer, Space, VectorType
from .dot_nodes import (
    AddPairs,
    Dot2,
    Dot2Bfloat16,
    Dot2Words,
    Dot4,
    DotAll,
    Halves,
    TileDot2Bfloat16,
    TileDot4,
    TileProduct,
)
from .expressions import (
    Binary,
    Const,
    Expr,
    Load,
    Unary,
    Var,
    binary,
    const,
    maximum,
    minimum,
    rebuilt,
    row_major,
    row_major_index,
)
from .lane_nodes import Broadcast, Interleave, Join, PairSums, Pick, Reduce, Spread
from .nodes import (
    Bitcast,
    Cast,
    FixedMul,
    Fma,
    FromBfloat16,
    HighProduct,
    RealMul,
    Select,
    ToBfloat16,
    UpperProduct,
    Within,
)

__all__ = [
    "INDEX",
    "AddPairs",
    "Allocate",
    "Binary",
    "Bitcast",
    "Broadcast",
    "Buffer",
    "Cast",
    "Const",
    "Dot2",
    "Dot2Bfloat16",
    "Dot2Words",
    "Dot4",
    "DotAll",
    "Expr",
    "FixedMul",
    "Fma",
    "For",
    "FromBfloat16",
    "Halves",
    "HighProduct",
    "If",
    "Interleave",
    "Join",
    "Kernel",
    "Let",
    "Load",
    "LoopKind",
    "PairSums",
    "Pick",
    "Prefetch",
    "RealMul",
    "Reduce",
    "Select",
    "Space",
    "Spread",
    "Stmt",
    "Store",
    "TileDot2Bfloat16",
    "TileDot4",
    "TileProduct",
    "ToBfloat16",
    "Unary",
    "UpperProduct",
    "Var",
    "VectorType",
    "Within",
    "binary",
    "const",
    "maximum",
    "minimum",
    "rebuilt",
    "row_major",
    "row_major_index",
    "statements",
]


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
class Prefetch(Stmt):
    """Begin to bring the line of memory with an element into the caches; no value changes."""

    buffer: Buffer
    indices: tuple[Expr, ...]
    writes: bool = False
    """The element is written next."""
    ahead: int = 0
    """So many elements behind it in memory is what is asked for, which may lie beyond the buffer."""
    far: bool = False
    """It goes into the L2 cache only, as much else is read before it."""


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
    """Make a register, tile or stack buffer for the rest of the enclosing block; its contents start undefined."""

    buffer: Buffer


@dataclass(frozen=True, slots=True)
class If(Stmt):
    """Run `then` where the scalar condition holds, else `otherwise`."""

    condition: Expr
    then: tuple[Stmt, ...]
    otherwise: tuple[Stmt, ...] = ()


@dataclass(frozen=True)
class Kernel:
    """A function over buffers; threads are implied by its `parallel` loop."""

    name: str
    params: tuple[Buffer, ...]
    body: tuple[Stmt, ...]

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[Any, ...]:
        return Kernel, (self.name, self.params, self.body)  # hashes of texts differ in another process

    @cached_property
    def _hash(self) -> int:
        """Computed once, as kernels are looked up for every call, and of little, as a body is long."""
        return hash((self.name, self.params, sum(1 for _ in statements(self.body))))

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
