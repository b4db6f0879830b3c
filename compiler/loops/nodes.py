"""Nodes that aren't operations by name, each with its word, operands, rule and meaning (see `expressions`).

Here stand those that work lane by lane; `lane_nodes` and `dot_nodes` have the others. A node that is declared so,
here or elsewhere, prints, reads back, is verified and interpreted. For compiled code it needs a rule in
`codegen/expressions.py`, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..numerics import bfloat16_bits, convert, from_bfloat16_bits
from ..types import DType
from .buffers import VectorType
from .expressions import Const, Expr, types_of
from .operations import Number
from .spelling import spelled


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
        return "" if fits else f"operands differ: {types_of(*self.operands)}"

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
        return "" if fits else f"operands don't fit: {types_of(*self.operands)}"

    def meaning(self) -> Callable[..., Number]:
        return lambda condition, then, otherwise: np.where(condition, then, otherwise)


@dataclass(frozen=True, slots=True)
class _OfWords(Expr):
    """Base of those whose operands are i32, of as many lanes as the result."""

    def result(self) -> VectorType:
        return self.operands[0].type

    def fault(self) -> str:
        first = self.operands[0].type
        fits = first.dtype is DType.I32 and all(operand.type is first for operand in self.operands)
        return "" if fits else f"operands don't fit: {types_of(*self.operands)}"


@spelled("fixed_mul_up", halves_up=True)
@spelled("fixed_mul", halves_up=False)
@dataclass(frozen=True, slots=True)
class FixedMul(_OfWords):
    """32-bit integers times the real factor multiplier * 2^(shift - 31), rounded twice.

    Once where the product is divided by 2^31, halves up, and once where that is divided by 2^-shift, halves away from
    zero or up, too. All are i32; 0 <= multiplier and -31 <= shift <= -1, so that no result needs more bits.
    """

    x: Expr
    multiplier: Expr
    shift: Expr
    halves_up: bool = False

    def meaning(self) -> Callable[..., Number]:
        def product(*operands: Number) -> Number:
            x, multiplier, shift = (np.asarray(operand, np.int64) for operand in operands)
            high = (x * multiplier + (1 << 30)) >> 31
            half = (np.int64(1) << (-1 - shift)) - ((high < 0) & (not self.halves_up))
            return (high + half) >> -shift

        return product


@spelled("high_product")
@dataclass(frozen=True, slots=True)
class HighProduct(_OfWords):
    """The upper half of 2 * x * y, halves up, plus an addend; all are i32.

    x is doubled with saturation to 32 bits, and the sum wraps around.
    """

    x: Expr
    y: Expr
    addend: Expr

    def meaning(self) -> Callable[..., Number]:
        def product(*operands: Number) -> Number:
            x, y, addend = (np.asarray(operand, np.int64) for operand in operands)
            return ((np.clip(2 * x, -(1 << 31), (1 << 31) - 1) * y + (1 << 31)) >> 32) + addend

        return product


@spelled("upper_product")
@dataclass(frozen=True, slots=True)
class UpperProduct(_OfWords):
    """The upper half of x * y as unsigned numbers, halves up, plus an addend; all are i32, and the sum wraps around."""

    x: Expr
    y: Expr
    addend: Expr

    def meaning(self) -> Callable[..., Number]:
        def product(x: Number, y: Number, addend: Number) -> Number:
            a, b = (np.asarray(operand, np.int64).astype(np.uint32).astype(np.uint64) for operand in (x, y))
            upper = ((a * b + np.uint64(1 << 31)) >> np.uint64(32)).astype(np.int64)
            return (upper + np.asarray(addend, np.int64)).astype(np.int32)

        return product


@spelled("real_mul_small", is_small=True)
@spelled("real_mul", is_small=False)
@dataclass(frozen=True, slots=True)
class RealMul(Expr):
    """32-bit integers times factors in f64, rounded as a double, then to the nearest integer, halves away from zero.

    Factors are finite; what doesn't fit i32 becomes its smallest or largest number. Small factors lie between 0 and
    1, so that everything fits.
    """

    x: Expr
    factor: Expr
    is_small: bool = False

    @classmethod
    def of(cls, x: Expr, factor: Expr) -> RealMul:
        """The product, which knows of a literal whether it is small."""
        return cls(x, factor, isinstance(factor, Const) and 0 <= factor.value <= 1)

    def result(self) -> VectorType:
        return self.x.type

    def fault(self) -> str:
        x, factor = self.x.type, self.factor.type
        fits = x.dtype is DType.I32 and factor.dtype is DType.F64 and x.lanes == factor.lanes
        if not fits:
            return f"operands don't fit: {types_of(*self.operands)}"
        is_large = self.is_small and isinstance(self.factor, Const) and not 0 <= self.factor.value <= 1
        return "the factor doesn't lie between 0 and 1" if is_large else ""

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


@spelled("within")
@dataclass(frozen=True, slots=True)
class Within(Expr):
    """A float of which who wrote the kernel knows that it lies between -largest and largest: it can't be proved."""

    x: Expr
    largest: int

    def result(self) -> VectorType:
        return self.x.type

    def fault(self) -> str:
        if not self.x.type.dtype.is_float:
            return f"takes floats, not {self.x.type}"
        return "" if self.largest > 0 else "needs a positive number"

    def meaning(self) -> Callable[..., Number]:
        return lambda x: x


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
