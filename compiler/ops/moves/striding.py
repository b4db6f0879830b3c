"""Every n-th element along each dimension, forward or backward; padding that mirrors.

`strided_slice` says which elements it takes by the first one, their number and the step (the layer of this name takes
NumPy's begin and end). A negative step walks backward: `flip` is a strided slice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Emits, Operation, Operator, Seams, Value
from ...graph.registry import register
from ...loops.compute import Compute
from ...loops.ir import Binary, Const, Expr, Select, const, maximum, minimum
from ...types import TensorType
from .movement import PADDING, Movement, Padding

STRIDES = AttributeSpec(tuple, "step in each dimension, not 0; negative ones walk backward")
BEGIN = AttributeSpec(tuple, "first index in each dimension")


def _check_places(
    name: str, x: tuple[int, ...], begin: tuple[int, ...], size: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    """Raise `ShapeError` unless `size` elements from `begin` on lie inside a tensor of shape `x`."""
    if not len(begin) == len(size) == len(strides) == len(x):
        raise ShapeError(f"{name}: begin {list(begin)}, size {list(size)}, strides {list(strides)} don't fit {list(x)}")
    if any(step == 0 for step in strides):
        raise ShapeError(f"{name}: a stride can't be 0")
    for first, count, step, length in zip(begin, size, strides, x, strict=True):
        last = first + (count - 1) * step
        if count < 0 or (count and not (0 <= first < length and 0 <= last < length)):
            raise ShapeError(f"{name}: {count} elements from {first} on, {step} apart, don't lie in {length}")


@register
class StridedSlice(Movement):
    """The elements begin + i * strides, `size` of them in each dimension."""

    name = "strided_slice"
    attributes = {"begin": BEGIN, "size": AttributeSpec(tuple, "number of elements"), "strides": STRIDES}

    def shape(self, x: TensorType, attributes: Attributes) -> tuple[int, ...]:
        size: tuple[int, ...] = attributes["size"]
        _check_places(self.name, x.shape, attributes["begin"], size, attributes["strides"])
        return size

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        return (operands[0][_places(attributes["begin"], attributes["size"], attributes["strides"])],)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        ranges = zip(index, attributes["begin"], attributes["strides"], strict=True)
        return c.load(0, tuple(i * step + first for i, first, step in ranges))

    def adjoint(self, b: Builder, dy: Value, x: TensorType, attributes: Attributes) -> Value:
        begin, strides = attributes["begin"], attributes["strides"]
        return b.emit("strided_slice_gradient", dy, shape=x.shape, begin=begin, strides=strides)


def _places(begin: tuple[int, ...], size: tuple[int, ...], strides: tuple[int, ...]) -> tuple[slice, ...]:
    """The elements as NumPy's slices. An end before the first element is none at all."""
    places = []
    for first, count, step in zip(begin, size, strides, strict=True):
        end = first + count * step
        places.append(slice(first, None if end < 0 else end, step) if count else slice(0, 0))
    return tuple(places)


@register
class StridedSliceGradient(Operator):
    """Zeros of a shape with dy at the places begin + i * strides: the adjoint of strided_slice."""

    name = "strided_slice_gradient"
    internal = True
    operands = ("dy",)
    attributes = {"shape": AttributeSpec(tuple, "shape of the result"), "begin": BEGIN, "strides": STRIDES}

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (dy,), shape = operands, attributes["shape"]
        _check_places(self.name, shape, attributes["begin"], dy.shape, attributes["strides"])
        return (TensorType(dy.dtype, shape),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (dy,) = operands
        result = np.zeros(attributes["shape"], dy.dtype)
        result[_places(attributes["begin"], dy.shape, attributes["strides"])] = dy
        return (result,)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        place: list[Expr] = []
        between: list[Expr] = []
        for i, first, step in zip(index, attributes["begin"], attributes["strides"], strict=True):
            distance = i - first if step > 0 else Const(first) - i
            place.append(distance if abs(step) == 1 else distance // abs(step))
            if abs(step) != 1:
                between.append(Binary("eq", distance % abs(step), Const(0)))
        element = c.load_padded(0, tuple(place), 0.0)
        for is_taken in between:
            element = Select(c.splat(is_taken), element, const(0, element.type))
        return element

    def seams(self, operands: Sequence[TensorType], attributes: Attributes) -> Seams:
        if not operands[0].shape or attributes["strides"][-1] != 1:
            return Seams()
        return Seams(-1, (attributes["begin"][-1], attributes["begin"][-1] + operands[0].shape[-1]))

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        given = {key: op.attributes[key] for key in ("begin", "strides")}
        return (b.emit("strided_slice", cotangents[0], size=op.operands[0].type.shape, **given),)


MIRRORS = ("reflect", "symmetric")


@register
class MirrorPad(Padding):
    """x surrounded by its own mirror image: "reflect" leaves the border element out of it, "symmetric" repeats it."""

    name = "mirror_pad"
    attributes = {
        "padding": PADDING,
        "mode": AttributeSpec(str, "reflect or symmetric", "reflect"),
    }

    def shape(self, x: TensorType, attributes: Attributes) -> tuple[int, ...]:
        mode = attributes["mode"]
        if mode not in MIRRORS:
            raise ShapeError(f'mirror_pad: the mode can\'t be "{mode}"', hint=f"use {' or '.join(MIRRORS)}")
        shape = super().shape(x, attributes)
        for size, sides in zip(x.shape, attributes["padding"], strict=True):
            if max(sides) > max(size - (mode == "reflect"), 0):
                raise ShapeError(f"mirror_pad: {size} elements can't be mirrored to {max(sides)} by {mode}")
        return shape

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,) = operands
        if not any(sum(sides) for sides in attributes["padding"]):  # np.pad takes no empty list, and no empty tensor
            return (x,)
        return (np.pad(x, attributes["padding"], mode=attributes["mode"]),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        edge = int(attributes["mode"] == "symmetric")
        place: list[Expr] = []
        for i, (before, _), size in zip(index, attributes["padding"], c.type(0).shape, strict=True):
            inner = i - before if before else i
            low, high = c.bounds(inner)
            if low >= 0 and high < size:
                place.append(inner)
                continue
            first = maximum(inner, Const(-edge) - inner)
            back = Const(size - 1) - first
            mirrored = Const(size - 1) - maximum(back, Const(-edge) - back)
            place.append(maximum(minimum(mirrored, size - 1), 0))
        return c.load(0, tuple(place))

    def adjoint(self, b: Builder, dy: Value, x: TensorType, attributes: Attributes) -> Value:
        edge = int(attributes["mode"] == "symmetric")
        for axis, (before, after) in enumerate(attributes["padding"]):
            if before or after:
                dy = _folded(b, dy, axis, before, after, 1 - edge)
        return dy


def _folded(b: Builder, dy: Value, axis: int, before: int, after: int, gap: int) -> Value:
    """Both margins of an axis turned back and added to what they mirror, which begins `gap` elements inside."""
    size = dy.type.shape[axis] - before - after
    result = part(b, dy, axis, before, size)
    for first, count, place in ((0, before, gap), (before + size, after, size - gap - after)):
        if count:
            margin = part(b, dy, axis, first + count - 1, count, -1)
            around = tuple((place, size - place - count) if d == axis else (0, 0) for d in range(dy.type.rank))
            result = b.emit("add", result, b.emit("pad", margin, padding=around))
    return result


def part(b: Emits, x: Value, axis: int, begin: int, count: int, step: int = 1) -> Value:
    """`count` elements of one axis from `begin` on, `step` apart, and all of the others; x itself where that is all."""
    shape = x.type.shape
    if (begin, count, step) == (0, shape[axis], 1):
        return x
    first = tuple(begin if d == axis else 0 for d in range(len(shape)))
    size = tuple(count if d == axis else s for d, s in enumerate(shape))
    if step == 1:
        return b.emit("slice", x, begin=first, size=size)
    return b.emit(
        "strided_slice", x, begin=first, size=size, strides=tuple(step if d == axis else 1 for d in range(len(shape)))
    )
