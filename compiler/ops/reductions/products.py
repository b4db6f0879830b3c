"""Products and truth over whole dimensions, and what is computed of sums: lengths, variance."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, Builder, Operation, Operator, Value
from ...graph.registry import register
from ...types import DType, TensorType
from ..facets import INTEGER, PERMUTED, Permuted
from ..gradients import reshaped
from ..layer import LayerBuilder, layer
from ..moves.axes import Permutation
from .reduction import Reduce


@register
class ReduceProd(Reduce):
    """Product over dimensions; 1 where there is nothing."""

    name = "reduce_prod"
    loop_op = "mul"
    of_nothing = True

    def function(self, x: Array, **arguments: Any) -> Any:
        return np.prod(x, dtype=x.dtype, **arguments)

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        # The product of the others, not the product over the element: that holds for zeros, and again when derived.
        (x,) = op.operands
        if not x.type.size:
            return (x,)
        shape, rank = x.type.shape, x.type.rank
        axes = self.axes(rank, op.attributes)
        kept = [d for d in range(rank) if d not in axes]
        order = (*kept, *axes)
        outer, count = [shape[d] for d in kept], math.prod(shape[a] for a in axes)
        rows = reshaped(b, b.emit("transpose", x, permutation=order), (math.prod(outer), count))
        dx = _times_others(b, rows, reshaped(b, cotangents[0], (math.prod(outer), 1)))
        dx = reshaped(b, dx, tuple(shape[d] for d in order))
        return (b.emit("transpose", dx, permutation=tuple(order.index(d) for d in range(rank))),)


def _times_others(b: Builder, rows: Value, factor: Value) -> Value:
    """A factor for each row [rows, 1] times the product of the other elements of the row, for each element.

    Products of two, of four ... go up a tree; down it, what is outside a subtree is multiplied by its sibling.
    """
    count, size = rows.type.shape
    depth = (size - 1).bit_length()
    ones = ((0, 0), (0, 2**depth - size))
    level = b.emit("pad", rows, padding=ones, value=1.0) if ones[1][1] else rows
    halves: list[tuple[Value, Value]] = []
    for d in reversed(range(depth)):
        pairs = reshaped(b, level, (count, 2**d, 2))
        left, right = (b.emit("slice", pairs, begin=(0, 0, side), size=(count, 2**d, 1)) for side in (0, 1))
        halves.append((left, right))
        level = reshaped(b, b.emit("mul", left, right), (count, 2**d))
    outside = factor
    for left, right in reversed(halves):
        siblings = b.emit("concat", right, left, axis=2)
        spread = reshaped(b, outside, (count, left.type.shape[1], 1))
        outside = reshaped(b, b.emit("mul", siblings, spread), (count, 2 * left.type.shape[1]))
    return b.emit("slice", outside, begin=(0, 0), size=(count, size))


class ReduceTruth(Operator):
    """Base of reduce_any and reduce_all."""

    operands = ("x",)
    attributes = Reduce.attributes
    piecewise_constant = True
    every: ClassVar[bool]

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (x,) = operands
        if x.dtype is not DType.BOOL:
            raise ShapeError(f"{self.name} takes truth values, not {x}", hint="compare the numbers with 0")
        (counted,) = _PRODUCT.infer((TensorType(DType.I32, x.shape),), attributes)
        return (TensorType(DType.BOOL, counted.shape),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,) = operands
        function = np.all if self.every else np.any
        axes = _PRODUCT.axes(x.ndim, attributes)
        return (np.asarray(function(x, axis=axes, keepdims=attributes["keepdims"])),)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        zero, one = (b.constant(np.array(n, np.int32)) for n in (0, 1))
        counted = b.emit("select", operands[0], *((zero, one) if self.every else (one, zero)))
        found = b.emit("reduce_sum", counted, **attributes)
        return b.emit("equal" if self.every else "not_equal", found, zero)


_PRODUCT = ReduceProd()


@register
class ReduceAny(ReduceTruth):
    """True where an element over dimensions is; false where there is nothing."""

    name = "reduce_any"
    every = False


@register
class ReduceAll(ReduceTruth):
    """True where all elements over dimensions are, and where there is nothing."""

    name = "reduce_all"
    every = True


def _permuted(operands: tuple[TensorType, ...], attributes: Attributes, permutation: Permutation) -> Permuted:
    rank = len(permutation)
    reduced = _PRODUCT.axes(rank, attributes)
    moved = None if attributes["axes"] is None else tuple(sorted(permutation.index(a) for a in reduced))
    left = [d for d in range(rank) if d not in reduced]
    result = permutation if attributes["keepdims"] else tuple(left.index(d) for d in permutation if d in left)
    return Permuted({**attributes, "axes": moved}, result, (permutation,))


INTEGER.none("not done yet", ReduceProd)
INTEGER.none("truth values stay truth values", ReduceTruth)
PERMUTED.add(_permuted, ReduceTruth)


# ---- layers ---------------------------------------------------------------------------------------------------------

Axes = tuple[int, ...] | None


def _count(x: Value, axes: Axes) -> int:
    rank = x.type.rank
    given = range(rank) if axes is None else {a % rank for a in axes if -rank <= a < rank}
    return math.prod(x.type.shape[a] for a in given)


@layer("reduce_l1")
def reduce_l1(b: LayerBuilder, x: Value, axes: Axes = None, keepdims: bool = False) -> Value:
    """Sum of absolute values over dimensions."""
    return b.emit("reduce_sum", b.emit("abs", x), axes=axes, keepdims=keepdims)


@layer("reduce_l2")
def reduce_l2(b: LayerBuilder, x: Value, axes: Axes = None, keepdims: bool = False) -> Value:
    """Root of the sum of squares over dimensions."""
    return b.emit("sqrt", b.emit("reduce_sum", b.emit("mul", x, x), axes=axes, keepdims=keepdims))


@layer("variance")
def variance(b: LayerBuilder, x: Value, axes: Axes = None, correction: int = 0, keepdims: bool = False) -> Value:
    """Mean square distance from the mean over dimensions; `correction = 1` divides by one less, as PyTorch does."""
    count = _count(x, axes)
    if count <= correction or not x.type.dtype.is_float:
        raise ShapeError(f"variance takes floats, more than {correction} along each place, not {x.type}")
    centred = b.emit("sub", x, b.emit("reduce_mean", x, axes=axes, keepdims=True))
    mean = b.emit("reduce_mean", b.emit("mul", centred, centred), axes=axes, keepdims=keepdims)
    if not correction:
        return mean
    factor = np.array(count / (count - correction), x.type.dtype.numpy)
    return b.emit("mul", mean, b.emit("constant", value=factor))


@layer("standard_deviation")
def standard_deviation(
    b: LayerBuilder, x: Value, axes: Axes = None, correction: int = 0, keepdims: bool = False
) -> Value:
    """Root of the variance over dimensions."""
    return b.emit("sqrt", variance(b, x, axes, correction, keepdims))
