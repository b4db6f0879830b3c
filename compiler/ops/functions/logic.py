"""Logic of truth values, bits of whole numbers, and what kind of number a float is."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, Builder, Operation, Operator, Value
from ...graph.registry import register
from ...loops.compute import Compute
from ...loops.ir import Binary, Expr, Select, Unary, binary, const
from ...types import DType, TensorType
from ..facets import INTEGER, TFLITE, Narrow, TfliteForm
from ..layer import LayerBuilder, layer
from .elementwise import broadcast_shapes


class _Bits(Operator):
    """Base of the operators on bits: of truth values, or of whole numbers."""

    operands: ClassVar[tuple[str, ...]] = ("a", "b")
    elementwise = True
    piecewise_constant = True
    logical: ClassVar[bool] = False
    """It takes truth values alone; others whole numbers, too."""
    numeric: ClassVar[bool] = False
    """It takes whole numbers alone."""
    ufunc: ClassVar[np.ufunc]
    loop_op: ClassVar[str]

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        shape = operands[0].shape
        for x in operands:
            is_truth = x.dtype is DType.BOOL
            if x.dtype.is_float or (self.logical and not is_truth) or (self.numeric and is_truth):
                taken = "truth values" if self.logical else "whole numbers"
                raise ShapeError(f"{self.name} takes {taken}, not {x}", hint="cast or compare them first")
            if x.dtype is not operands[0].dtype:
                raise ShapeError(f"{self.name} can't combine {operands[0]} and {x}: element types differ")
            shape = broadcast_shapes(self.name, shape, x.shape)
        return (TensorType(operands[0].dtype, shape),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        return (np.asarray(type(self).ufunc(*operands), operands[0].dtype),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        return binary(self.loop_op, *(c.load_broadcast(i, index) for i in range(2)))


@register
class LogicalAnd(_Bits):
    """True where a and b are."""

    name = "logical_and"
    commutative = True
    logical = True
    ufunc = np.logical_and
    loop_op = "and"


@register
class LogicalOr(_Bits):
    """True where a or b is."""

    name = "logical_or"
    commutative = True
    logical = True
    ufunc = np.logical_or
    loop_op = "or"


@register
class BitwiseAnd(_Bits):
    """The bits that a and b have."""

    name = "bitwise_and"
    commutative = True
    ufunc = np.bitwise_and
    loop_op = "and"


@register
class BitwiseOr(_Bits):
    """The bits that a or b has."""

    name = "bitwise_or"
    commutative = True
    ufunc = np.bitwise_or
    loop_op = "or"


@register
class BitwiseXor(_Bits):
    """The bits that one of a and b has: exclusive or, of truth values, too."""

    name = "bitwise_xor"
    commutative = True
    ufunc = np.bitwise_xor
    loop_op = "xor"


class _Not(_Bits):
    """Base of the negations."""

    operands = ("x",)
    ufunc = np.invert

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        return Unary("not", c.load(0, index))


@register
class LogicalNot(_Not):
    """True where x is false."""

    name = "logical_not"
    logical = True


@register
class BitwiseNot(_Not):
    """All bits inverted."""

    name = "bitwise_not"


class _Shift(_Bits):
    """Base of the shifts. By the number of bits or more, or by less than 0, all bits are shifted out."""

    numeric = True
    left: ClassVar[bool] = False

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        a, b = operands
        bits = 8 * a.dtype.itemsize
        inside = (b >= 0) & (b < bits)
        places = np.where(inside, b, 0)
        shifted = np.left_shift(a, places) if self.left else np.right_shift(a, places)
        outside = 0 if self.left else np.where(a < 0, -1, 0)
        return (np.asarray(np.where(inside, shifted, outside)).astype(a.dtype),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        a, b = (c.let(c.load_broadcast(i, index)) for i in range(2))
        bits = 8 * a.type.dtype.itemsize
        zero = const(0, a.type)
        inside = c.let(Binary("and", Binary("le", zero, b), Binary("lt", b, const(bits, b.type))))
        shifted = Binary("shl" if self.left else "shr", a, Select(inside, b, zero))
        if self.left or a.type.dtype is DType.U8:
            return Select(inside, shifted, zero)
        return Select(inside, shifted, Select(Binary("lt", a, zero), const(-1, a.type), zero))


@register
class LeftShift(_Shift):
    """a * 2^b without the bits that leave the type; 0 where b is below 0, or as large as the number of bits."""

    name = "left_shift"
    left = True


@register
class RightShift(_Shift):
    """a / 2^b rounded down; only the sign is left where b is below 0, or as large as the number of bits."""

    name = "right_shift"


class _Kind(Operator):
    """Base of the questions about floats, which have truth values as answers."""

    operands = ("x",)
    floats_only = True
    elementwise = True
    piecewise_constant = True
    ufunc: ClassVar[np.ufunc]

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        return (TensorType(DType.BOOL, operands[0].shape),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        return (np.asarray(type(self).ufunc(*operands)),)


@register
class IsNan(_Kind):
    """True where x is NaN."""

    name = "isnan"
    ufunc = np.isnan

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        x = c.let(c.load(0, index))
        return Binary("ne", x, x)

    def expand(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        return b.emit("not_equal", operands[0], operands[0])


@register
class IsInf(_Kind):
    """True where x is infinite."""

    name = "isinf"
    ufunc = np.isinf

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        return binary("eq", Unary("abs", c.load(0, index)), float("inf"))

    def expand(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        return b.emit("equal", b.emit("abs", operands[0]), b.scalar(float("inf"), operands[0].type.dtype))


@register
class IsFinite(_Kind):
    """True where x is neither infinite nor NaN."""

    name = "isfinite"
    ufunc = np.isfinite

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        return binary("lt", Unary("abs", c.load(0, index)), float("inf"))

    def expand(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        return b.emit("less", b.emit("abs", operands[0]), b.scalar(float("inf"), operands[0].type.dtype))


def _write(kind: str, table: str | None = None) -> TfliteForm:
    def emit(c: Any, op: Operation) -> None:
        if op.result.type.dtype is DType.I64:
            c.fail(op, f"TFLite's {kind} takes no 64-bit integers", "cast them first")
        c.node(kind, [c.place(v) for v in op.operands], [c.result(op)], table)

    return TfliteForm(emit, kind, narrow=Narrow.COPIED)


def _write_xor(c: Any, op: Operation) -> None:
    """BITWISE_XOR; of truth values NOT_EQUAL, which is the same."""
    if op.result.type.dtype is DType.BOOL:
        c.node("NOT_EQUAL", [c.place(v) for v in op.operands], [c.result(op)], "NotEqualOptions")
    else:
        _write("BITWISE_XOR", "BitwiseXorOptions").emit(c, op)


def _write_and(c: Any, op: Operation) -> None:
    """STABLEHLO_AND of operands of one shape; of truth values LOGICAL_AND."""
    if op.result.type.dtype is DType.BOOL:
        _write("LOGICAL_AND", "LogicalAndOptions").emit(c, op)
        return
    if any(v.type.shape != op.result.type.shape for v in op.operands):
        c.fail(op, "TFLite has no such operator on operands of different shapes", "broadcast them first")
    c.node("STABLEHLO_AND", [c.place(v) for v in op.operands], [c.result(op)])


INTEGER.none("truth values and bits have no scale", _Bits, _Kind)
TFLITE.add(_write("LOGICAL_AND", "LogicalAndOptions"), LogicalAnd)
TFLITE.add(_write("LOGICAL_OR", "LogicalOrOptions"), LogicalOr)
TFLITE.add(_write("LOGICAL_NOT", "LogicalNotOptions"), LogicalNot)
TFLITE.add(TfliteForm(_write_xor, ("BITWISE_XOR", "NOT_EQUAL"), narrow=Narrow.COPIED), BitwiseXor)
TFLITE.add(_write("RIGHT_SHIFT", "RightShiftOptions"), RightShift)
TFLITE.add(TfliteForm(_write_and, ("STABLEHLO_AND", "LOGICAL_AND"), narrow=Narrow.COPIED), BitwiseAnd)
TFLITE.none("TFLite has no such operator", BitwiseNot, BitwiseOr)
TFLITE.none("made of others", IsFinite, IsInf, IsNan)


@layer("logical_xor")
def logical_xor(b: LayerBuilder, x: Value, y: Value) -> Value:
    """True where one of two truth values is."""
    for value in (x, y):
        if value.type.dtype is not DType.BOOL:
            raise ShapeError(f"logical_xor takes truth values, not {value.type}", hint="cast or compare them first")
    return b.emit("bitwise_xor", x, y)
