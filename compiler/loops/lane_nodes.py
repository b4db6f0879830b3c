"""Nodes across the lanes of vectors: copies, reductions, other orders, tables (see `nodes`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..types import DType
from .buffers import VectorType
from .expressions import Expr, Load, types_of
from .operations import OPERATIONS, Number
from .spelling import spelled


@spelled("broadcast")
@dataclass(frozen=True, slots=True)
class Broadcast(Expr):
    """A scalar in every lane."""

    value: Expr
    lanes: int

    def result(self) -> VectorType:
        return VectorType(self.value.type.dtype, self.lanes)

    def fault(self) -> str:
        fits = self.value.type.lanes == 1 and self.lanes >= 1
        return "" if fits else f"{self.value.type} is not one element"

    def meaning(self) -> Callable[..., Number]:
        return lambda value: np.full(self.lanes, value) if self.lanes > 1 else value


@spelled("spread")
@dataclass(frozen=True, slots=True)
class Spread(Expr):
    """Lanes of a vector, repeated: lane l of the result is lane l // run * step + start of the value."""

    value: Expr
    lanes: int
    run: int
    step: int
    start: int

    def result(self) -> VectorType:
        return VectorType(self.value.type.dtype, self.lanes)

    def fault(self) -> str:
        if min(self.lanes, self.run) < 1:
            return "lanes and run must be positive"
        outside = [place for place in self.places if not 0 <= place < self.value.type.lanes]
        return f"{self.value.type} has no lane {outside[-1]}" if outside else ""

    def meaning(self) -> Callable[..., Number]:
        return lambda value: (
            np.atleast_1d(value)[list(self.places)] if self.lanes > 1 else np.atleast_1d(value)[self.start]
        )

    @property
    def places(self) -> tuple[int, ...]:
        """The lane of the value that each lane of the result is."""
        return tuple(lane // self.run * self.step + self.start for lane in range(self.lanes))


@spelled("reduce")
@dataclass(frozen=True, slots=True)
class Reduce(Expr):
    """All lanes of a vector combined into a scalar by the operation `op`.

    Halves are combined while the number of lanes is even, then one lane after the other.
    """

    op: str
    value: Expr

    def result(self) -> VectorType:
        return VectorType(self.value.type.dtype)

    def fault(self) -> str:
        operation = OPERATIONS.get(self.op)
        return "" if operation and operation.combines else f"lanes can't be combined by {self.op}"

    def meaning(self) -> Callable[..., Number]:
        combine = OPERATIONS[self.op].meaning

        def combined(value: Number) -> Number:
            lanes = np.atleast_1d(value)
            while lanes.size > 1 and lanes.size % 2 == 0:
                half = lanes.size // 2
                lanes = np.asarray(combine(lanes[:half], lanes[half:])).astype(lanes.dtype)
            total = lanes[0]
            for lane in lanes[1:]:
                total = combine(total, lane)
            return total

        return combined


@spelled("interleave")
@dataclass(frozen=True, slots=True)
class Interleave(Expr):
    """The lanes of two or four vectors of the same type in turn: lane n * i + j is lane i of part j."""

    parts: tuple[Expr, ...]

    def result(self) -> VectorType:
        first = self.parts[0].type
        return VectorType(first.dtype, first.lanes * len(self.parts))

    def fault(self) -> str:
        fits = len(self.parts) in (2, 4) and len({part.type for part in self.parts}) == 1
        return "" if fits else f"takes two or four operands of one type: {types_of(*self.parts)}"

    def meaning(self) -> Callable[..., Number]:
        return lambda *parts: np.stack([np.atleast_1d(part) for part in parts], axis=-1).reshape(-1)


@spelled("join")
@dataclass(frozen=True, slots=True)
class Join(Expr):
    """The lanes of a vector, then those of another one of the same type."""

    a: Expr
    b: Expr

    def result(self) -> VectorType:
        return VectorType(self.a.type.dtype, 2 * self.a.type.lanes)

    def fault(self) -> str:
        return "" if self.a.type is self.b.type else f"operands differ: {types_of(*self.operands)}"

    def meaning(self) -> Callable[..., Number]:
        return lambda a, b: np.concatenate([np.atleast_1d(a), np.atleast_1d(b)])


@spelled("pair_sums")
@dataclass(frozen=True, slots=True)
class PairSums(Expr):
    """Sums of two neighbours: of the lanes of a in the lower half of the result, of those of b in the upper half."""

    a: Expr
    b: Expr

    def result(self) -> VectorType:
        return self.a.type

    def fault(self) -> str:
        fits = self.a.type is self.b.type and self.a.type.lanes % 2 == 0
        return "" if fits else f"operands don't fit: {types_of(*self.operands)}"

    def meaning(self) -> Callable[..., Number]:
        return lambda a, b: np.concatenate([np.asarray(v)[::2] + np.asarray(v)[1::2] for v in (a, b)])


TABLE = 256
"""Bytes that a byte can tell apart."""


@spelled("pick")
@dataclass(frozen=True, slots=True)
class Pick(Expr):
    """Lanes of a vector of 256: lane i is lane `places[i]` of the table. Places are u8, so all lie inside.

    The table has bytes, or words of four bytes, which must lie in memory.
    """

    table: Expr
    places: Expr

    def result(self) -> VectorType:
        return VectorType(self.table.type.dtype, self.places.type.lanes)

    def fault(self) -> str:
        table, places = self.table.type, self.places.type
        is_table = table.dtype in (DType.I8, DType.U8) or (table.dtype is DType.I32 and isinstance(self.table, Load))
        fits = table.lanes == TABLE and is_table and places.dtype is DType.U8
        return "" if fits else f"operands don't fit: {types_of(*self.operands)}"

    def meaning(self) -> Callable[..., Number]:
        return lambda table, places: np.asarray(table)[np.asarray(places, np.int64)]
