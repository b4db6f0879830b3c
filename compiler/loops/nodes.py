"""Nodes that aren't operations by name, each with its word, operands, rule and meaning (see `expressions`).

A node that is declared so, here or elsewhere, prints, reads back, is verified and interpreted. For compiled code it
needs a rule in `codegen/expressions.py`, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..numerics import bfloat16_bits, convert, from_bfloat16_bits, normal_or_zero
from ..types import DType
from .buffers import VectorType
from .expressions import Expr
from .operations import OPERATIONS, Number
from .spelling import spelled


def _joined(*operands: Expr) -> str:
    return ", ".join(str(e.type) for e in operands)


# ---- lane by lane ---------------------------------------------------------------------------------------------------


@spelled("fma")
@dataclass(frozen=True, slots=True)
class Fma(Expr):
    """a * b + c, rounded once."""

    a: Expr
    b: Expr
    c: Expr

    def result(self) -> VectorType:
        return self.c.type

    def fault(self) -> str:
        fits = self.a.type is self.b.type is self.c.type
        return "" if fits else f"operands differ: {_joined(*self.operands)}"

    def meaning(self) -> Callable[..., Number]:
        return _exact_fma if self.type.dtype.is_float else lambda a, b, c: a * b + c


def _exact_fma(a: Number, b: Number, c: Number) -> Number:
    """Half and single products are exact in double, so that only the last step rounds (but for rare ties)."""
    a, b, c = (np.asarray(x, np.float64) for x in (a, b, c))
    return a * b + c


@spelled("select")
@dataclass(frozen=True, slots=True)
class Select(Expr):
    """`then` where `condition` holds, else `otherwise`; both are evaluated."""

    condition: Expr
    then: Expr
    otherwise: Expr

    def result(self) -> VectorType:
        return self.then.type

    def fault(self) -> str:
        condition, kind = self.condition.type, self.then.type
        fits = condition.dtype is DType.BOOL and condition.lanes in (1, kind.lanes) and kind is self.otherwise.type
        return "" if fits else f"operands don't fit: {_joined(*self.operands)}"

    def meaning(self) -> Callable[..., Number]:
        return lambda condition, then, otherwise: np.where(condition, then, otherwise)


@spelled("fixed_mul_up", halves_up=True)
@spelled("fixed_mul", halves_up=False)
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

    def result(self) -> VectorType:
        return self.x.type

    def fault(self) -> str:
        fits = self.x.type.dtype is DType.I32 and self.x.type is self.multiplier.type is self.shift.type
        return "" if fits else f"operands don't fit: {_joined(*self.operands)}"

    def meaning(self) -> Callable[..., Number]:
        def product(*operands: Number) -> Number:
            x, multiplier, shift = (np.asarray(operand, np.int64) for operand in operands)
            high = (x * multiplier + (1 << 30)) >> 31
            half = (np.int64(1) << (-1 - shift)) - ((high < 0) & (not self.halves_up))
            return (high + half) >> -shift

        return product


@spelled("dot_all")
@dataclass(frozen=True, slots=True)
class DotAll(Expr):
    """Vectors of signed bytes, multiplied lane by lane, and all products added to c, an i32."""

    a: Expr
    b: Expr
    c: Expr

    def result(self) -> VectorType:
        return self.c.type

    def fault(self) -> str:
        fits = self.a.type is self.b.type and self.a.type.dtype is DType.I8 and self.c.type is VectorType(DType.I32)
        return "" if fits else f"operands don't fit: {_joined(*self.operands)}"

    def meaning(self) -> Callable[..., Number]:
        return lambda a, b, c: np.sum(np.asarray(a, np.int64) * np.asarray(b, np.int64)) + c


@spelled("high_product")
@dataclass(frozen=True, slots=True)
class HighProduct(Expr):
    """The upper half of 2 * x * y, halves up, plus an addend; all are i32.

    x is doubled with saturation to 32 bits, and the sum wraps around.
    """

    x: Expr
    y: Expr
    addend: Expr

    def result(self) -> VectorType:
        return self.x.type

    def fault(self) -> str:
        fits = self.x.type.dtype is DType.I32 and self.x.type is self.y.type is self.addend.type
        return "" if fits else f"operands don't fit: {_joined(*self.operands)}"

    def meaning(self) -> Callable[..., Number]:
        def product(*operands: Number) -> Number:
            x, y, addend = (np.asarray(operand, np.int64) for operand in operands)
            return ((np.clip(2 * x, -(1 << 31), (1 << 31) - 1) * y + (1 << 31)) >> 32) + addend

        return product


@spelled("real_mul")
@dataclass(frozen=True, slots=True)
class RealMul(Expr):
    """32-bit integers times factors in f64, rounded as a double, then to the nearest integer, halves away from zero.

    Factors are finite; what doesn't fit i32 becomes its smallest or largest number.
    """

    x: Expr
    factor: Expr

    def result(self) -> VectorType:
        return self.x.type

    def fault(self) -> str:
        x, factor = self.x.type, self.factor.type
        fits = x.dtype is DType.I32 and factor.dtype is DType.F64 and x.lanes == factor.lanes
        return "" if fits else f"operands don't fit: {_joined(*self.operands)}"

    def meaning(self) -> Callable[..., Number]:
        def product(x: Number, factor: Number) -> Number:
            exact = np.asarray(x, np.float64) * factor
            whole = np.floor(np.abs(exact))
            return convert(np.copysign(whole + (np.abs(exact) - whole >= 0.5), exact), DType.I32)

        return product


# ---- conversions ----------------------------------------------------------------------------------------------------


@spelled("cast")
@dataclass(frozen=True, slots=True)
class Cast(Expr):
    """Conversion of the element type; `numerics.convert` says what becomes of numbers out of range."""

    value: Expr
    dtype: DType

    def result(self) -> VectorType:
        return VectorType(self.dtype, self.value.type.lanes)

    def fault(self) -> str:
        return ""

    def meaning(self) -> Callable[..., Number]:
        source, goal = self.value.type.dtype.numpy, self.dtype
        return lambda value: convert(np.asarray(value, source), goal)


@spelled("bitcast")
@dataclass(frozen=True, slots=True)
class Bitcast(Expr):
    """The same bits seen as another element type of equal size."""

    value: Expr
    dtype: DType

    def result(self) -> VectorType:
        return VectorType(self.dtype, self.value.type.lanes)

    def fault(self) -> str:
        old, new = self.value.type.dtype, self.dtype
        fits = new.itemsize == old.itemsize and DType.BOOL not in (new, old)
        return "" if fits else f"{old} and {new} differ in size"

    def meaning(self) -> Callable[..., Number]:
        source, goal = self.value.type.dtype.numpy, self.dtype.numpy
        return lambda value: np.asarray(value, source).view(goal)


@spelled("to_bfloat16")
@dataclass(frozen=True, slots=True)
class ToBfloat16(Expr):
    """f32 rounded to bfloat16, as bits in i16; `numerics.bfloat16_bits` says how."""

    value: Expr

    def result(self) -> VectorType:
        return VectorType(DType.I16, self.value.type.lanes)

    def fault(self) -> str:
        return "" if self.value.type.dtype is DType.F32 else f"takes f32, not {self.value.type}"

    def meaning(self) -> Callable[..., Number]:
        return bfloat16_bits


@spelled("from_bfloat16")
@dataclass(frozen=True, slots=True)
class FromBfloat16(Expr):
    """Bits of bfloat16, in i16, as f32."""

    value: Expr

    def result(self) -> VectorType:
        return VectorType(DType.F32, self.value.type.lanes)

    def fault(self) -> str:
        return "" if self.value.type.dtype is DType.I16 else f"takes bits in i16, not {self.value.type}"

    def meaning(self) -> Callable[..., Number]:
        return from_bfloat16_bits


# ---- across lanes ---------------------------------------------------------------------------------------------------


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
        return "" if fits else f"takes two or four operands of one type: {_joined(*self.parts)}"

    def meaning(self) -> Callable[..., Number]:
        return lambda *parts: np.stack([np.atleast_1d(part) for part in parts], axis=-1).reshape(-1)


TABLE = 256
"""Bytes that a byte can tell apart."""


@spelled("pick")
@dataclass(frozen=True, slots=True)
class Pick(Expr):
    """Lanes of a vector of 256 bytes: lane i is lane `places[i]` of the table. Places are u8, so all lie inside."""

    table: Expr
    places: Expr

    def result(self) -> VectorType:
        return VectorType(self.table.type.dtype, self.places.type.lanes)

    def fault(self) -> str:
        table, places = self.table.type, self.places.type
        fits = table.lanes == TABLE and table.dtype in (DType.I8, DType.U8) and places.dtype is DType.U8
        return "" if fits else f"operands don't fit: {_joined(*self.operands)}"

    def meaning(self) -> Callable[..., Number]:
        return lambda table, places: np.asarray(table)[np.asarray(places, np.int64)]


@spelled("dot4")
@dataclass(frozen=True, slots=True)
class Dot4(Expr):
    """Dot products of 8-bit integers, four at a time: lane i is c[i] + the sum over j < 4 of a[4i + j] * b[4i + j].

    `b` has four times as many lanes as the i32 sums in `c`, and so has `a`, or four, which serve every sum; each may
    be signed or not. Sums wrap around.
    """

    a: Expr
    b: Expr
    c: Expr

    def result(self) -> VectorType:
        return self.c.type

    def fault(self) -> str:
        a, b, c = self.a.type, self.b.type, self.c.type
        lanes = a.lanes in (4, b.lanes) and b.lanes == 4 * c.lanes
        types = {a.dtype, b.dtype} <= {DType.I8, DType.U8} and c.dtype is DType.I32
        return "" if lanes and types else f"operands don't fit: {_joined(*self.operands)}"

    def meaning(self) -> Callable[..., Number]:
        def products(a: Number, b: Number, c: Number) -> Number:
            left, right = (np.asarray(x, np.int64).reshape(-1, 4) for x in (a, b))
            sums = np.asarray(c, np.int64) + (left * right).sum(axis=1)
            return sums[0] if self.type.lanes == 1 else sums

        return products


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
class Dot2(Expr):
    """c + the products of the lower and of the upper halves of a and b, as signed 16-bit numbers. All are i32."""

    a: Expr
    b: Expr
    c: Expr

    def result(self) -> VectorType:
        return VectorType(DType.I32)

    def fault(self) -> str:
        fits = all(operand.type == self.type for operand in self.operands)
        return "" if fits else f"operands don't fit: {_joined(*self.operands)}"

    def meaning(self) -> Callable[..., Number]:
        def total(a: Number, b: Number, c: Number) -> Number:
            x, y = (np.array([v], np.int32).view(np.int16).astype(np.int64) for v in (a, b))
            return np.asarray(int(c) + int((x * y).sum()), np.int64).astype(np.int32)

        return total


@spelled("dot2_bfloat16")
@dataclass(frozen=True, slots=True)
class Dot2Bfloat16(Expr):
    """Products of bfloat16, two at a time: lane i is c[i] + a[2i + 1] * b[2i + 1], rounded, + a[2i] * b[2i], rounded.

    `b` holds bits in i16, in twice as many lanes as the f32 sums in `c`, and so does `a`, or two, which serve every
    sum. Products are exact. Numbers below the normal range, 2^-126, may count as zeros, as x86's instruction has it.
    """

    a: Expr
    b: Expr
    c: Expr

    def result(self) -> VectorType:
        return self.c.type

    def fault(self) -> str:
        a, b, c = self.a.type, self.b.type, self.c.type
        fits = a.lanes in (2, b.lanes) and b.lanes == 2 * c.lanes
        types = a.dtype is b.dtype is DType.I16 and c.dtype is DType.F32
        return "" if fits and types else f"operands don't fit: {_joined(*self.operands)}"

    def meaning(self) -> Callable[..., Number]:
        def products(a: Number, b: Number, c: Number) -> Number:
            left, right = (normal_or_zero(from_bfloat16_bits(x)).astype(np.float64).reshape(-1, 2) for x in (a, b))
            sums = normal_or_zero(c)
            with np.errstate(all="ignore"):
                for place in (1, 0):
                    sums = normal_or_zero((sums + left[:, place] * right[:, place]).astype(np.float32))
            return sums[0] if self.type.lanes == 1 else sums

        return products
