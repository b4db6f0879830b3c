"""Operators that move elements without changing them: reshape, transpose, broadcast, pad, concat, slice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Operation, Operator, Scales, Seams, Value
from ...graph.registry import register
from ...loops.compute import Compute
from ...loops.ir import Binary, Const, Expr, Select, row_major, row_major_index
from ...types import DType, TensorType
from ..core import PassThrough
from ..gradients import sum_to
from ..layer import LayerBuilder, layer
from ..reductions.reduction import normalize_axis
from .axes import inverse
from .movement import PADDING, Movement, Padding


@register
class Identity(PassThrough):
    """x itself."""

    name = "identity"
    view = True

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        return cotangents


@register
class Reshape(Movement):
    """The same elements, in row-major order, under another shape; one size may be -1."""

    name = "reshape"
    view = True
    memory_bound = True
    work = 0
    attributes = {"shape": AttributeSpec(tuple, "new sizes; -1 stands for what is left")}

    def shape(self, x: TensorType, attributes: Attributes) -> tuple[int, ...]:
        shape = list(attributes["shape"])
        if any(not isinstance(s, int) or s < -1 for s in shape) or shape.count(-1) > 1:
            raise ShapeError(f"reshape: {shape} is not a shape")
        if -1 in shape:
            known = math.prod(s for s in shape if s != -1)
            shape[shape.index(-1)] = x.size // known if known else 0
        if math.prod(shape) != x.size:
            raise ShapeError(f"reshape can't bring {x} ({x.size} elements) to {list(attributes['shape'])}")
        return tuple(shape)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,) = operands
        if -1 not in attributes["shape"]:
            return (x.reshape(attributes["shape"]),)
        return (x.reshape(self.shape(TensorType(DType.of(x.dtype), x.shape), attributes)),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        x = c.type(0)
        shape = self.shape(x, attributes)
        if shape[-1:] == x.shape[-1:]:
            # Keep the last index as it is, so that vectors stay vectors.
            return c.load(0, (*row_major_index(row_major(index[:-1], shape[:-1]), x.shape[:-1]), index[-1]))
        return c.load(0, row_major_index(row_major(index, shape), x.shape))

    def adjoint(self, b: Builder, dy: Value, x: TensorType, attributes: Attributes) -> Value:
        return b.emit("reshape", dy, shape=x.shape)


@register
class Transpose(Movement):
    """Dimensions in another order: result dimension d is dimension permutation[d] of x."""

    name = "transpose"
    attributes = {"permutation": AttributeSpec(tuple, "old dimension for each new one")}

    def shape(self, x: TensorType, attributes: Attributes) -> tuple[int, ...]:
        permutation = attributes["permutation"]
        if sorted(permutation) != list(range(x.rank)):
            raise ShapeError(f"transpose: {list(permutation)} is not an order of the {x.rank} dimensions of {x}")
        return tuple(x.shape[p] for p in permutation)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        return (operands[0].transpose(attributes["permutation"]),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        return c.load(0, tuple(index[d] for d in inverse(attributes["permutation"])))

    def adjoint(self, b: Builder, dy: Value, x: TensorType, attributes: Attributes) -> Value:
        return b.emit("transpose", dy, permutation=inverse(attributes["permutation"]))


@register
class BroadcastTo(Operator):
    """x repeated along the dimensions that a larger shape adds before it or stretches from size 1."""

    name = "broadcast_to"
    keeps_quantization = True
    scales = Scales.OPERAND
    operands = ("x",)
    attributes = {"shape": AttributeSpec(tuple, "shape of the result")}
    elementwise = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (x,), shape = operands, attributes["shape"]
        added = len(shape) - x.rank
        if added < 0 or any(s not in (1, n) for s, n in zip(x.shape, shape[added:], strict=True)):
            raise ShapeError(f"broadcast_to can't bring {x} to {list(shape)}")
        return (TensorType(x.dtype, shape),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        return (np.broadcast_to(operands[0], attributes["shape"]),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        return c.load_broadcast(0, index)

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        return (sum_to(b, cotangents[0], op.operands[0].type.shape),)


@register
class Pad(Padding):
    """x surrounded by `value`: padding holds (before, after) for each dimension."""

    name = "pad"
    attributes = {
        "padding": PADDING,
        "value": AttributeSpec((int, float), "the new elements", 0.0),
    }

    def shape(self, x: TensorType, attributes: Attributes) -> tuple[int, ...]:
        shape = super().shape(x, attributes)
        if not x.dtype.holds(attributes["value"]):
            raise ShapeError(f"pad: {x} can't hold {attributes['value']}")
        return shape

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,) = operands
        if not x.ndim:  # np.pad takes no empty list
            return (x,)
        return (np.pad(x, attributes["padding"], constant_values=np.asarray(attributes["value"], x.dtype)),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        place = tuple(i - before for i, (before, _) in zip(index, attributes["padding"], strict=True))
        return c.load_padded(0, place, attributes["value"])

    def adjoint(self, b: Builder, dy: Value, x: TensorType, attributes: Attributes) -> Value:
        begin = tuple(before for before, _ in attributes["padding"])
        return b.emit("slice", dy, begin=begin, size=x.shape)


@register
class Concat(Operator):
    """Tensors one after the other along an axis."""

    name = "concat"
    keeps_quantization = True
    moves = True
    scales = Scales.JOINT
    operands = ("*values",)
    attributes = {"axis": AttributeSpec(int, "dimension along which the tensors are joined", -1)}

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        if not operands:
            raise ShapeError("concat needs at least one tensor")
        first = operands[0]
        axis = normalize_axis(self.name, attributes["axis"], first.rank)
        for other in operands[1:]:
            same = other.rank == first.rank and all(
                a == b for d, (a, b) in enumerate(zip(first.shape, other.shape, strict=True)) if d != axis
            )
            if not same or other.dtype is not first.dtype:
                raise ShapeError(f"concat can't join {first} and {other} along dimension {axis}")
        shape = list(first.shape)
        shape[axis] = sum(o.shape[axis] for o in operands)
        return (TensorType(first.dtype, tuple(shape)),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        return (np.concatenate(operands, axis=attributes["axis"]),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        axis = normalize_axis(self.name, attributes["axis"], len(index))
        ends = list(accumulate(c.type(operand).shape[axis] for operand in range(c.count)))
        low, high = c.bounds(index[axis])
        met = [n for n, end in enumerate(ends) if low < end and high >= end - c.type(n).shape[axis]]

        def piece(operand: int) -> Expr:
            start = ends[operand] - c.type(operand).shape[axis]
            return c.load_padded(operand, (*index[:axis], index[axis] - start, *index[axis + 1 :]), 0.0)

        result = piece(met[-1])
        for operand in reversed(met[:-1]):
            result = Select(Binary("lt", index[axis], Const(ends[operand])), piece(operand), result)
        return result

    def seams(self, operands: Sequence[TensorType], attributes: Attributes) -> Seams:
        axis = attributes["axis"]
        return Seams(axis, tuple(accumulate(x.shape[axis] for x in operands)))

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        (dy,) = cotangents
        axis = normalize_axis(self.name, op.attributes["axis"], dy.type.rank)
        begin = [0] * dy.type.rank
        pieces = []
        for operand in op.operands:
            pieces.append(b.emit("slice", dy, begin=tuple(begin), size=operand.type.shape))
            begin[axis] += operand.type.shape[axis]
        return tuple(pieces)


@register
class Slice(Movement):
    """The elements from `begin` on, `size` of them in each dimension."""

    name = "slice"
    attributes = {
        "begin": AttributeSpec(tuple, "first index in each dimension"),
        "size": AttributeSpec(tuple, "number of elements in each dimension"),
    }

    def shape(self, x: TensorType, attributes: Attributes) -> tuple[int, ...]:
        begin, size = attributes["begin"], attributes["size"]
        if len(begin) != x.rank or len(size) != x.rank:
            raise ShapeError(f"slice: begin {list(begin)} and size {list(size)} don't fit the rank of {x}")
        if any(b < 0 or n < 0 or b + n > s for b, n, s in zip(begin, size, x.shape, strict=True)):
            raise ShapeError(f"slice: {list(size)} elements from {list(begin)} on don't lie inside {x}")
        return tuple(size)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        places = tuple(slice(b, b + n) for b, n in zip(attributes["begin"], attributes["size"], strict=True))
        return (operands[0][places],)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        return c.load(0, tuple(i + b for i, b in zip(index, attributes["begin"], strict=True)))

    def adjoint(self, b: Builder, dy: Value, x: TensorType, attributes: Attributes) -> Value:
        places = zip(attributes["begin"], attributes["size"], x.shape, strict=True)
        return b.emit("pad", dy, padding=tuple((first, size - first - count) for first, count, size in places))


@layer("flatten")
def flatten(b: LayerBuilder, x: Value, order: str = "channels_last") -> Value:
    """All dimensions but the first in one; order="channels_first" visits channel by channel, as PyTorch does."""
    if order not in ("channels_last", "channels_first"):
        raise ShapeError(f'flatten: order can\'t be "{order}"', hint="use channels_last or channels_first")
    if x.type.rank < 2:
        raise ShapeError(f"flatten takes [N, ...], not {x.type}")
    if order == "channels_first" and x.type.rank > 2:
        x = b.emit("transpose", x, permutation=(0, x.type.rank - 1, *range(1, x.type.rank - 1)))
    return b.emit("reshape", x, shape=(x.type.shape[0], math.prod(x.type.shape[1:])))


@layer("concat")
def concat(b: LayerBuilder, *values: Value, axis: int = -1) -> Value:
    """Tensors one after the other along an axis (the channels unless told otherwise)."""
    return b.emit("concat", *values, axis=axis)
