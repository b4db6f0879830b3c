"""Between numbers and classes: conversion of element types, labels to vectors, scores to labels."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ..errors import ShapeError
from ..graph.element_types import check_numbers
from ..graph.ir import Array, Attributes, AttributeSpec, Builder, Operation, Operator, Value
from ..graph.registry import register
from ..loops.compute import Compute
from ..loops.ir import Cast as Conversion
from ..loops.ir import Expr
from ..numerics import convert
from ..types import DType, TensorType
from .reduction import check_some, normalize_axis


def element_type(name: str, text: str) -> DType:
    """The element type that an attribute names."""
    try:
        return DType(text)
    except ValueError:
        raise ShapeError(f"{name}: there is no element type `{text}`", hint=", ".join(map(str, DType))) from None


@register
class Cast(Operator):
    """The same numbers as another element type.

    Floats lose their fraction on the way to integers; out of range they become the nearest integer, and NaN the
    largest one. Integers become narrower ones modulo 2^bits.
    """

    name = "cast"
    operands = ("x",)
    attributes = {"dtype": AttributeSpec(str, "the new element type, such as f32")}
    elementwise = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        return (TensorType(element_type(self.name, attributes["dtype"]), operands[0].shape),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        return (convert(operands[0], DType(attributes["dtype"])),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        return Conversion(c.load(0, index), DType(attributes["dtype"]))

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        # A result without a fraction has no cotangent, so this is a conversion from or between floats.
        source = op.operands[0].type.dtype
        return (b.emit("cast", cotangents[0], dtype=str(source)) if source.is_float else None,)


@register
class OneHot(Operator):
    """1 at the place of each label, else 0: integers [...] to [..., depth]; labels out of range give zeros."""

    name = "one_hot"
    operands = ("labels",)
    attributes = {
        "depth": AttributeSpec(int, "number of classes"),
        "dtype": AttributeSpec(str, "element type of the result", "f32"),
    }
    piecewise_constant = True

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return 0.0, 1.0

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (labels,) = operands
        if labels.dtype.is_float or labels.dtype is DType.BOOL:
            raise ShapeError(f"one_hot takes integers, not {labels}", hint="cast them first")
        if attributes["depth"] < 1:
            raise ShapeError(f"one_hot needs at least one class, not {attributes['depth']}")
        return (TensorType(element_type(self.name, attributes["dtype"]), (*labels.shape, attributes["depth"])),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (labels,) = operands
        hot = labels[..., np.newaxis] == np.arange(attributes["depth"])
        return (hot.astype(DType(attributes["dtype"]).numpy),)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (labels,) = operands
        kind = labels.type.dtype
        # An 8-bit label can't equal class 256: what the integers can't hold needs wider ones.
        if attributes["depth"] - 1 > np.iinfo(str(kind.numpy)).max:
            labels, kind = b.emit("cast", labels, dtype="i64"), DType.I64
        column = b.emit("reshape", labels, shape=(*labels.type.shape, 1))
        classes = b.constant(np.arange(attributes["depth"], dtype=kind.numpy))
        return b.emit("cast", b.emit("equal", column, classes), dtype=attributes["dtype"])


class ArgExtremum(Operator):
    """Base of argmax and argmin."""

    operands = ("x",)
    attributes = {
        "axis": AttributeSpec(int, "dimension that is searched", -1),
        "last": AttributeSpec(bool, "of several such elements (or NaNs) take the last one", False),
    }
    non_differentiable = "its results are positions, which are whole numbers"
    reduction: ClassVar[str]
    """The operator that finds the element itself."""

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (x,) = operands
        axis = normalize_axis(self.name, attributes["axis"], x.rank)
        check_numbers(self, x)
        check_some(self, x, (axis,))
        return (TensorType(DType.I32, x.shape[:axis] + x.shape[axis + 1 :]),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,), axis, last = operands, attributes["axis"], attributes["last"]
        find = np.argmax if self.reduction == "reduce_max" else np.argmin
        position: Any = find(np.flip(x, axis) if last else x, axis=axis)
        return (np.asarray(x.shape[axis] - 1 - position if last else position, np.int32),)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (x,) = operands
        axis = normalize_axis(self.name, attributes["axis"], x.type.rank)
        size, last = x.type.shape[axis], attributes["last"]
        found = b.emit("equal", x, b.emit(self.reduction, x, axes=(axis,), keepdims=True))
        # Positions are compared as floats: they are exact there, and reductions know no other type.
        kind = x.type.dtype if x.type.dtype is DType.F64 else DType.F32
        places = np.arange(size, dtype=kind.numpy).reshape((size,) + (1,) * (x.type.rank - axis - 1))
        if x.type.dtype.is_float:  # no NaN equals the extremum
            found = b.emit("select", b.emit("not_equal", x, x), b.scalar(True, DType.BOOL), found)
        place = b.emit("select", found, b.constant(places), b.scalar(0 if last else size - 1, kind))
        return b.emit("cast", b.emit("reduce_max" if last else "reduce_min", place, axes=(axis,)), dtype="i32")


@register
class ArgMax(ArgExtremum):
    """Position (i32) of the largest element along an axis, the first one if there are several; of the first NaN."""

    name = "argmax"
    reduction = "reduce_max"


@register
class ArgMin(ArgExtremum):
    """Position (i32) of the smallest element along an axis, the first one if there are several; of the first NaN."""

    name = "argmin"
    reduction = "reduce_min"
