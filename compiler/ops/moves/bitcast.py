"""The same bits as numbers of another element type (TFLite's BITCAST)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Operation, Operator, Value
from ...graph.registry import register
from ...loops.compute import Compute
from ...loops.ir import Bitcast as BitcastExpr
from ...loops.ir import Expr
from ...types import DType, TensorType
from ..conversion import element_type
from ..facets import INTEGER, PERMUTED, TFLITE, Narrow, TfliteForm, reads

_WHOLE = {1: DType.U8, 2: DType.I16, 4: DType.I32, 8: DType.I64}
"""Whole numbers by their size in bytes."""


@register
class Bitcast(Operator):
    """The bits of x as elements of another type.

    Narrower elements lie along a new last dimension, the lowest bits first; wider ones are made of the last dimension,
    which must have just as many elements. Source: TFLite's BITCAST.
    """

    name = "bitcast"
    operands = ("x",)
    attributes = {"dtype": AttributeSpec(str, "the new element type, such as i32")}
    non_differentiable = "bits have no slope"

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (x,) = operands
        dtype = element_type(self.name, attributes["dtype"])
        if DType.BOOL in (dtype, x.dtype):
            raise ShapeError(f"bitcast can't make {dtype} of {x}: truth values have no bits", hint="use cast")
        ratio = dtype.itemsize // x.dtype.itemsize
        if ratio > 1:
            if x.shape[-1:] != (ratio,):
                raise ShapeError(f"bitcast makes each {dtype} of {ratio} elements of a last dimension, not of {x}")
            return (TensorType(dtype, x.shape[:-1]),)
        parts = () if ratio == 1 else (x.dtype.itemsize // dtype.itemsize,)
        return (TensorType(dtype, (*x.shape, *parts)),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,) = operands
        (y,) = self.infer((TensorType(DType.of(x.dtype), x.shape),), attributes)
        flat = np.ascontiguousarray(x).reshape(-1).astype(x.dtype.newbyteorder("<"), copy=False)
        viewed = flat.view(y.dtype.numpy.newbyteorder("<")).astype(y.dtype.numpy, copy=False)
        return (viewed.reshape(y.shape),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        return BitcastExpr(c.load(0, index), DType(attributes["dtype"]))

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value | None:
        (x,), dtype = operands, DType(attributes["dtype"])
        size, wanted = x.type.dtype.itemsize, dtype.itemsize
        if size == wanted:
            return None
        wide = _WHOLE[max(size, wanted)]
        bits = 8 * min(size, wanted)
        steps = b.constant(np.arange(0, 8 * wide.itemsize, bits).astype(wide.numpy))
        x = _as(b, x, _WHOLE[size])
        if size > wanted:
            parts = b.emit("right_shift", b.emit("reshape", x, shape=(*x.type.shape, 1)), steps)
            return _as(b, b.emit("cast", parts, dtype=str(_WHOLE[wanted])), dtype)
        low = b.emit(
            "bitwise_and", b.emit("cast", x, dtype=str(wide)), b.constant(np.array((1 << bits) - 1, wide.numpy))
        )
        return _as(b, b.emit("reduce_sum", b.emit("left_shift", low, steps), axes=(-1,)), dtype)


def _as(b: Builder, x: Value, dtype: DType) -> Value:
    return x if x.type.dtype is dtype else b.emit("bitcast", x, dtype=str(dtype))


def _write(c: Any, op: Operation) -> None:
    c.node("BITCAST", [c.place(op.operands[0])], [c.result(op)], "BitcastOptions")


def _read(c: Any) -> Value:
    x, dtype = c.value(0), c.output_type().dtype
    if x.type.dtype is DType.BOOL:
        x = c.cast(x, DType.U8)
    result: Value = c.emit("bitcast", x, dtype=str(dtype))
    return result


INTEGER.none("bits have no scale", Bitcast)
PERMUTED.none("the last dimension is made of an element, or makes one", Bitcast)
TFLITE.add(TfliteForm(_write, "BITCAST", narrow=Narrow.COPIED), Bitcast)
reads(_read, "BITCAST")
