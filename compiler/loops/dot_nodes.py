"""Nodes that add products: dot products of bytes, of pairs of 16-bit integers, of bfloat16 (see `nodes`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..numerics import from_bfloat16_bits, normal_or_zero
from ..types import DType
from .buffers import Space, VectorType
from .expressions import Expr, Load, types_of
from .operations import Number
from .spelling import spelled


@dataclass(frozen=True, slots=True)
class _Products(Expr):
    """Base of those that add products of a and b to c."""

    a: Expr
    b: Expr
    c: Expr

    def result(self) -> VectorType:
        return self.c.type

    def _fault_of_dots(self, count: int, elements: set[DType], sums: DType, *, in_turn: bool = False) -> str:
        """What is wrong if each sum takes `count` neighbours of `b`, and as many of `a` or those that serve every sum.

        Both have such elements. Those of `a` may be more than `count` that serve sums `in_turn`.
        """
        a, b, c = self.a.type, self.b.type, self.c.type
        some = in_turn and a.lanes % count == b.lanes % a.lanes == 0
        lanes = (some or a.lanes in (count, b.lanes)) and b.lanes == count * c.lanes
        types = {a.dtype, b.dtype} <= elements and c.dtype is sums
        return "" if lanes and types else f"operands don't fit: {types_of(*self.operands)}"


def _sums_of(count: int, lanes: int) -> Callable[..., Number]:
    """The sums of so many products each, and of what was there."""

    def products(a: Number, b: Number, c: Number) -> Number:
        left, right = (np.asarray(x, np.int64).reshape(-1, count) for x in (a, b))
        left = np.tile(left, (len(right) // len(left), 1))
        sums = np.asarray(c, np.int64) + (left * right).sum(axis=1)
        return sums[0] if lanes == 1 else sums

    return products


@spelled("dot_all")
@dataclass(frozen=True, slots=True)
class DotAll(_Products):
    """Vectors of signed bytes, multiplied lane by lane, and all products added to c, an i32."""

    def fault(self) -> str:
        fits = self.a.type is self.b.type and self.a.type.dtype is DType.I8 and self.c.type is VectorType(DType.I32)
        return "" if fits else f"operands don't fit: {types_of(*self.operands)}"

    def meaning(self) -> Callable[..., Number]:
        return lambda a, b, c: np.sum(np.asarray(a, np.int64) * np.asarray(b, np.int64)) + c


@spelled("dot4")
@dataclass(frozen=True, slots=True)
class Dot4(_Products):
    """Dot products of 8-bit integers, four at a time: lane i is c[i] + the sum over j < 4 of a[4i + j] * b[4i + j].

    `b` has four times as many lanes as the i32 sums in `c`, and so has `a`, or a part of them, four at least, which
    serve all sums in turn; each may be signed or not. Sums wrap around.
    """

    def fault(self) -> str:
        return self._fault_of_dots(4, {DType.I8, DType.U8}, DType.I32, in_turn=True)

    def meaning(self) -> Callable[..., Number]:
        return _sums_of(4, self.type.lanes)


@spelled("tile_dot4")
@dataclass(frozen=True, slots=True)
class TileDot4(_Products):
    """Products of tiles of 8-bit integers: c[m, n] + the sum over k and j < 4 of a[m, 4k + j] * b[k, 4n + j].

    Tiles count as vectors, row after row: `c` has rows of `columns` i32 sums, `b` of four times as many bytes, one row
    for each four columns of `a`. Both may be signed or not. Sums wrap around.
    """

    columns: int

    def fault(self) -> str:
        types = {self.a.type.dtype, self.b.type.dtype} <= {DType.I8, DType.U8} and self.c.type.dtype is DType.I32
        return _fault_of_tiles(self.operands, self.columns, 4, types)

    def meaning(self) -> Callable[..., Number]:
        columns = self.columns

        def products(a: Number, b: Number, c: Number) -> Number:
            left = np.asarray(a, np.int64).reshape(np.size(c) // columns, -1)
            right = np.asarray(b, np.int64).reshape(-1, columns, 4).transpose(0, 2, 1).reshape(-1, columns)
            return (left @ right).reshape(-1) + np.asarray(c, np.int64)

        return products


def _fault_of_tiles(operands: Sequence[Expr], columns: int, count: int, types: bool) -> str:
    """What is wrong with a product of tiles, each sum of which takes `count` products of a row; empty if nothing is.

    `types`: the elements fit.
    """
    if columns < 1:
        return "tiles have columns"
    if not all(isinstance(e, Load) and e.buffer.space is Space.TILE for e in operands):
        return "products are those of tiles"
    a, b, c = (e.type.lanes for e in operands)
    (rows, spare), (depth, rest) = divmod(c, columns), divmod(b, count * columns)
    fits = types and spare == rest == 0 and a == rows * depth * count
    return "" if fits else f"operands don't fit: {types_of(*operands)}"


@spelled("halves")
@dataclass(frozen=True, slots=True)
class Halves(Expr):
    """Bytes `start` and `start` + 2 of four, widened to the lower and upper half of an i32."""

    value: Expr
    start: int

    def result(self) -> VectorType:
        return VectorType(DType.I32)

    def fault(self) -> str:
        if self.start not in (0, 1):
            return "halves start at byte 0 or 1"
        kind = self.value.type
        return "" if kind.lanes == 4 and kind.dtype in (DType.I8, DType.U8) else f"{kind} is not four bytes"

    def meaning(self) -> Callable[..., Number]:
        def widened(value: Number) -> Number:
            low, high = (int(np.asarray(value)[self.start + place]) & 0xFFFF for place in (0, 2))
            return np.array(low | high << 16, np.uint32).astype(np.int32)

        return widened


@spelled("dot2")
@dataclass(frozen=True, slots=True)
class Dot2(_Products):
    """c + the products of the lower and of the upper halves of a and b, as signed 16-bit numbers. All are i32."""

    def fault(self) -> str:
        fits = all(operand.type is VectorType(DType.I32) for operand in self.operands)
        return "" if fits else f"operands don't fit: {types_of(*self.operands)}"

    def meaning(self) -> Callable[..., Number]:
        def total(a: Number, b: Number, c: Number) -> Number:
            x, y = (np.array([v], np.int32).view(np.int16).astype(np.int64) for v in (a, b))
            return np.asarray(int(c) + int((x * y).sum()), np.int64).astype(np.int32)

        return total


@spelled("dot2_words")
@dataclass(frozen=True, slots=True)
class Dot2Words(_Products):
    """Dot products of 16-bit integers, two at a time: lane i is c[i] + a[2i] * b[2i] + a[2i + 1] * b[2i + 1].

    `b` has twice as many lanes of i16 as the i32 sums in `c`, and so has `a`, or two, which serve every sum. Sums wrap
    around.
    """

    def fault(self) -> str:
        return self._fault_of_dots(2, {DType.I16}, DType.I32)

    def meaning(self) -> Callable[..., Number]:
        return _sums_of(2, self.type.lanes)


@spelled("dot2_bfloat16")
@dataclass(frozen=True, slots=True)
class Dot2Bfloat16(_Products):
    """Products of bfloat16, two at a time: lane i is c[i] + a[2i + 1] * b[2i + 1], rounded, + a[2i] * b[2i], rounded.

    `b` holds bits in i16, in twice as many lanes as the f32 sums in `c`, and so does `a`, or two, which serve every
    sum. Products are exact. Numbers below the normal range, 2^-126, may count as zeros, as x86's instruction has it.
    """

    def fault(self) -> str:
        return self._fault_of_dots(2, {DType.I16}, DType.F32)

    def meaning(self) -> Callable[..., Number]:
        def products(a: Number, b: Number, c: Number) -> Number:
            left, right = (normal_or_zero(from_bfloat16_bits(x)).astype(np.float64).reshape(-1, 2) for x in (a, b))
            sums = normal_or_zero(c)
            with np.errstate(all="ignore"):
                for place in (1, 0):
                    sums = normal_or_zero((sums + left[:, place] * right[:, place]).astype(np.float32))
            return sums[0] if self.type.lanes == 1 else sums

        return products


@spelled("tile_dot2_bfloat16")
@dataclass(frozen=True, slots=True)
class TileDot2Bfloat16(_Products):
    """Products of tiles of bfloat16: c[m, n] + the sum over k and j < 2 of a[m, 2k + j] * b[k, 2n + j].

    Tiles count as vectors, row after row: `c` has rows of `columns` f32 sums, `a` and `b` hold bits in i16, and `b` has
    a row of twice as many for each two columns of `a`. Products are exact; those of even and of odd columns are added
    up from zero, each to a sum that is rounded, then both to each other, then that to c. Numbers below the normal
    range, 2^-126, count as zeros (TDPBF16PS of Intel's Software Developer's Manual, volume 2).
    """

    columns: int

    def fault(self) -> str:
        types = self.a.type.dtype is self.b.type.dtype is DType.I16 and self.c.type.dtype is DType.F32
        return _fault_of_tiles(self.operands, self.columns, 2, types)

    def meaning(self) -> Callable[..., Number]:
        columns = self.columns

        def products(a: Number, b: Number, c: Number) -> Number:
            left, right = (normal_or_zero(from_bfloat16_bits(x)).astype(np.float64) for x in (a, b))
            left, right = left.reshape(np.size(c) // columns, -1, 2), right.reshape(-1, columns, 2)
            sums = np.zeros((len(left), columns, 2), np.float32)
            with np.errstate(all="ignore"):
                for k, row in enumerate(right):
                    sums = normal_or_zero((sums + left[:, k, None] * row).astype(np.float32))
                both = normal_or_zero(sums[..., 0] + sums[..., 1])
                return normal_or_zero(normal_or_zero(np.asarray(c)) + both.reshape(-1))

        return products


TileProduct = TileDot4 | TileDot2Bfloat16
"""Products that tiles alone have."""


@spelled("add_pairs")
@dataclass(frozen=True, slots=True)
class AddPairs(Expr):
    """Lane i is total[i] + values[2i] + values[2i + 1]: i16 values, which are widened to the i32 of the total."""

    values: Expr
    total: Expr

    def result(self) -> VectorType:
        return self.total.type

    def fault(self) -> str:
        values, total = self.values.type, self.total.type
        fits = (values.dtype, total.dtype, values.lanes) == (DType.I16, DType.I32, 2 * total.lanes)
        return "" if fits else f"operands don't fit: {types_of(*self.operands)}"

    def meaning(self) -> Callable[..., Number]:
        def total(values: Number, start: Number) -> Number:
            pairs = np.asarray(values, np.int64).reshape(-1, 2).sum(axis=1)
            return start + (pairs if self.type.lanes > 1 else pairs[0])

        return total
