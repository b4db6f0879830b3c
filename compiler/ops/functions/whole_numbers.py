"""Whole numbers near a number, and what is left of a division."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np

from ...graph.ir import Attributes, Builder, Operation, Value
from ...graph.registry import register
from ...loops.compute import Compute
from ...loops.ir import Binary, Cast, Expr, Select, binary, const
from ...types import DType
from ..facets import INTEGER, TFLITE, TfliteForm
from ..rules import tflite_unary
from .elementwise import BinaryOperator, NamedFunction


class _Rounding(NamedFunction):
    """Base of the roundings of floats to whole numbers."""

    floats_only = True
    piecewise_constant = True

    def chain(self, b: Builder, op: Operation, dy: Value) -> None:
        return None


@register
class Floor(_Rounding):
    """The largest whole number that is not above x."""

    name = "floor"
    ufunc = np.floor


@register
class Ceil(_Rounding):
    """The smallest whole number that is not below x."""

    name = "ceil"
    ufunc = np.ceil


@register
class Round(_Rounding):
    """The nearest whole number; halves go to the even one."""

    name = "round"
    ufunc = np.rint


@register
class Trunc(_Rounding):
    """x without its fraction."""

    name = "trunc"
    ufunc = np.trunc

    def expand(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (x,) = operands
        return b.emit("mul", b.emit("sign", x), b.emit("floor", b.emit("abs", x)))


class _Remainder(BinaryOperator):
    """Base of the remainders; of integers 0 where b is 0, of floats NaN.

    Those of f64 are exact for quotients below 2^300, those of narrower floats always.
    """

    def partials(self, b: Builder, op: Operation, dy: Value) -> tuple[Value, Value]:
        return dy, b.emit("neg", b.emit("mul", dy, self.quotient(b, *op.operands)))

    @abstractmethod
    def quotient(self, b: Builder, x: Value, y: Value) -> Value:
        """The whole number that the operands' quotient is rounded to."""


@register
class FloorMod(_Remainder):
    """What is left of a divided by b, with the sign of b, as Python's `%` has it."""

    name = "floor_mod"
    ufunc = np.mod
    loop_op = "fmod"

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        a, b = c.load_broadcast(0, index), c.load_broadcast(1, index)
        if not a.type.dtype.is_float:
            return binary("mod", a, b)
        b = c.let(b)
        rest, zero = c.let(binary("fmod", a, b)), const(0, b.type)
        differ = Binary("ne", Cast(Binary("lt", rest, zero), DType.U8), Cast(Binary("lt", b, zero), DType.U8))
        return Select(Binary("and", Binary("ne", rest, zero), differ), rest + b, rest)

    def quotient(self, b: Builder, x: Value, y: Value) -> Value:
        return b.emit("floor", b.emit("div", x, y))


@register
class FMod(_Remainder):
    """What is left of a divided by b, with the sign of a, as C's `%` and `fmod` have it."""

    name = "fmod"
    ufunc = np.fmod
    loop_op = "fmod"

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        a, b = c.let(c.load_broadcast(0, index)), c.let(c.load_broadcast(1, index))
        if a.type.dtype.is_float:
            return binary("fmod", a, b)
        quotient = binary("div", a, b)
        return Select(Binary("eq", b, const(0, b.type)), const(0, a.type), a - quotient * b)

    def quotient(self, b: Builder, x: Value, y: Value) -> Value:
        return b.emit("trunc", b.emit("div", x, y))


def _write(kind: str, table: str | None) -> TfliteForm:
    def emit(c: Any, op: Operation) -> None:
        c.node(kind, [c.place(v) for v in op.operands], [c.result(op)], table)

    return TfliteForm(emit, kind, raw=frozenset({DType.I8, DType.I16}))


INTEGER.none("TFLite has no kernel for 8 bits", Ceil, Floor, FloorMod, Round)
INTEGER.none("TFLite has no such operator", FMod, Trunc)
TFLITE.add(tflite_unary("FLOOR"), Floor)
TFLITE.add(tflite_unary("CEIL"), Ceil)
TFLITE.add(tflite_unary("ROUND"), Round)
TFLITE.add(_write("FLOOR_MOD", "FloorModOptions"), FloorMod)
TFLITE.none("TFLite has no such operator", FMod)
TFLITE.none("made of others", Trunc)
