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
from .reductions.reduction import check_some, normalize_axis


def element_type(name: str, text: str) -> DType:
    """The element type that an attribute names.

    Raises `ShapeError` if there is none of this name.
    """
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
    """`on` at the place of each label, else `off`: integers become vectors of `depth` along a new axis.

    Labels out of range, negative ones among them, are nowhere (TFLite's ONE_HOT).
    """

    name = "one_hot"
    operands = ("labels",)
    attributes = {
        "depth": AttributeSpec(int, "number of classes"),
        "dtype": AttributeSpec(str, "element type of the result", "f32"),
        "on": AttributeSpec((int, float), "the element of a label", 1.0),
        "off": AttributeSpec((int, float), "all other elements", 0.0),
        "axis": AttributeSpec(int, "where the classes stand in the result", -1),
    }
    piecewise_constant = True

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        ends = attributes["on"], attributes["off"]
        return min(ends), max(ends)

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (labels,) = operands
        if labels.dtype.is_float or labels.dtype is DType.BOOL:
            raise ShapeError(f"one_hot takes integers, not {labels}", hint="cast them first")
        if attributes["depth"] < 1:
            raise ShapeError(f"one_hot needs at least one class, not {attributes['depth']}")
        dtype = element_type(self.name, attributes["dtype"])
        for number in (attributes["on"], attributes["off"]):
            if not dtype.holds(number):
                raise ShapeError(f"one_hot: elements of type {dtype} can't be {number}")
        axis = normalize_axis(self.name, attributes["axis"], labels.rank + 1)
        return (TensorType(dtype, (*labels.shape[:axis], attributes["depth"], *labels.shape[axis:])),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (labels,) = operands
        hot = labels[..., np.newaxis] == np.arange(attributes["depth"])
        on, off = (np.array(attributes[key], DType(attributes["dtype"]).numpy) for key in ("on", "off"))
        return (np.moveaxis(np.where(hot, on, off), -1, attributes["axis"]),)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (labels,) = operands
        kind = labels.type.dtype
        # An 8-bit label can't equal class 256: what the integers can't hold needs wider ones.
        if attributes["depth"] - 1 > np.iinfo(str(kind.numpy)).max:
            labels, kind = b.emit("cast", labels, dtype="i64"), DType.I64
        shape = labels.type.shape
        axis = normalize_axis(self.name, attributes["axis"], len(shape) + 1)
        column = b.emit("reshape", labels, shape=(*shape[:axis], 1, *shape[axis:]))
        numbers = np.arange(attributes["depth"], dtype=kind.numpy)
        hot = b.emit("equal", column, b.constant(numbers.reshape(-1, *(1,) * (len(shape) - axis))))
        if (attributes["on"], attributes["off"]) == (1, 0):
            return b.emit("cast", hot, dtype=attributes["dtype"])
        dtype = DType(attributes["dtype"])
        return b.emit("select", hot, b.scalar(attributes["on"], dtype), b.scalar(attributes["off"], dtype))


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
