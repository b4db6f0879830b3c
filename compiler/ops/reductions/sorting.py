"""Elements in order: sort, argsort, the k largest, and where they stood.

In short rows an element's place in the order is the number of elements before it (`sort_order`); the others select by
that place. This work grows with the square of the elements along the axis, but has vectors and no branch. In long rows
`radix_order` finds the positions of the elements in order.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from ...errors import ShapeError
from ...graph.element_types import check_numbers
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Operation, Operator, Scales, Value
from ...graph.registry import register
from ...loops.compute import Compute, Reduction
from ...loops.ir import Binary, Cast, Expr, Select, VectorType, const
from ...types import DType, TensorType
from ..facets import INTEGER, PERMUTED, TFLITE, IntegerForm, Narrow, TfliteForm, along_axis, reads
from ..gradients import reshaped
from ..layer import LayerBuilder, layer
from ..moves.indexing import coordinates
from .reduction import normalize_axis

LONG_ROW = 96
"""Elements along the axis from which on digits are sorted: about as fast here as counting."""
_DESCENDING = {"descending": AttributeSpec(bool, "the largest first", False)}
_AXIS = {"axis": AttributeSpec(int, "dimension that is put in order", -1)}


def _argsort(x: Array, axis: int, descending: bool) -> Array:
    """Stable; NaN counts as larger than all numbers, as in NumPy and PyTorch."""
    if not descending:
        order: Array = np.argsort(x, axis=axis, kind="stable")
        return order
    # The last of equal elements comes last if the mirrored ones are sorted and mirrored again.
    mirrored: Array = np.flip(np.argsort(np.flip(x, axis), axis=axis, kind="stable"), axis)
    positions: Array = x.shape[axis] - 1 - mirrored
    return positions


@register
class SortOrder(Operator):
    """The place of each element in the order along the last dimension; `places` counts 0, 1, 2 ... along it."""

    name = "sort_order"
    internal = True
    operands = ("x", "places")
    attributes = _DESCENDING
    piecewise_constant = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, places = operands
        check_numbers(self, x)
        if x.rank < 1 or places != TensorType(DType.I32, x.shape[-1:]):
            raise ShapeError(f"sort_order: the places {places} don't fit {x}")
        return (TensorType(DType.I32, x.shape),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x, places = operands
        other, own = x[..., :, np.newaxis], x[..., np.newaxis, :]
        before = (other < own) | ((own != own) & (other == other))
        after = (other > own) | ((other != other) & (own == own))
        if attributes["descending"]:
            before, after = after, before
        earlier = before | (~after & (places[:, np.newaxis] < places))
        return (earlier.sum(axis=-2, dtype=np.int32),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Reduction:
        x, place = c.load(0, index), c.load(1, index[-1:])
        descending, is_float = attributes["descending"], c.type(0).dtype.is_float

        def less(a: Expr, b: Expr) -> Expr:
            if not is_float:
                return Binary("lt", a, b)
            return Select(Binary("ne", b, b), Binary("eq", a, a), Binary("lt", a, b))

        def is_before(r: tuple[Expr, ...]) -> Expr:
            other = c.let(c.load(0, (*index[:-1], *r)))
            before, after = less(other, x), less(x, other)
            if descending:
                before, after = after, before
            kind = VectorType(DType.I32, x.type.lanes)
            earlier = Cast(Binary("lt", c.load(1, r), place), DType.I32)
            return Select(before, const(1, kind), Select(after, const(0, kind), earlier))

        return Reduction("add", c.type(0).shape[-1:], is_before)


class Ordered(Operator):
    """Base of what takes the elements along an axis, or where they stand, in order."""

    operands = ("x",)
    positions: ClassVar[bool]
    """Results are positions (i32) in place of elements."""

    def descending(self, attributes: Attributes) -> bool:
        """Whether the largest comes first."""
        return bool(attributes["descending"])

    def count(self, size: int, attributes: Attributes) -> int:
        """How many of `size` elements are taken."""
        return size

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (x,) = operands
        axis = normalize_axis(self.name, attributes["axis"], x.rank)
        check_numbers(self, x)
        shape = (*x.shape[:axis], self.count(x.shape[axis], attributes), *x.shape[axis + 1 :])
        return (TensorType(DType.I32 if self.positions else x.dtype, shape),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,), axis = operands, attributes["axis"]
        count = self.count(x.shape[axis], attributes)
        order = np.take(_argsort(x, axis, self.descending(attributes)), np.arange(count), axis=axis)
        return (order.astype(np.int32) if self.positions else np.take_along_axis(x, order, axis),)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (x,) = operands
        axis = normalize_axis(self.name, attributes["axis"], x.type.rank)
        x, back = _axis_last(b, x, axis)
        *outer, size = x.type.shape
        count = self.count(size, attributes)
        if size >= LONG_ROW:
            y = _first(b, x, count, self.descending(attributes))
            y = y if self.positions else b.emit("take_along_axis", x, y)
            return b.emit("transpose", y, permutation=back) if back else y
        order = _order(b, x, self.descending(attributes))
        source = b.constant(np.arange(size, dtype=np.int32)) if self.positions else x
        column = reshaped(b, source, (size, 1) if self.positions else (*outer, size, 1))
        chosen = b.emit("equal", reshaped(b, order, (*outer, size, 1)), b.constant(np.arange(count, dtype=np.int32)))
        zero = b.constant(np.zeros((), column.type.dtype.numpy))
        y = b.emit("reduce_sum", b.emit("select", chosen, column, zero), axes=(len(outer),))
        return b.emit("transpose", y, permutation=back) if back else y


class OrderedElements(Ordered):
    """Base of what takes elements."""

    positions = False
    keeps_quantization = True
    scales = Scales.OPERAND
    finds: ClassVar[str]
    """The operator that gives the positions of its results."""

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        return (self._scatter(b, op, cotangents[0]),)

    def _scatter(self, b: Builder, op: Operation, dy: Value) -> Value:
        """Cotangents of the results, brought to the elements that they were taken from."""
        (x,), attributes = op.operands, op.attributes
        axis = normalize_axis(self.name, attributes["axis"], x.type.rank)
        if x.type.shape[axis] >= LONG_ROW:
            order = b.emit(self.finds, x, **attributes)
            return b.emit("scatter_nd", coordinates(b, order, axis), dy, shape=x.type.shape)
        x, back = _axis_last(b, x, axis)
        dy, _ = _axis_last(b, dy, axis)
        *outer, size = x.type.shape
        count = dy.type.shape[-1]
        places = b.constant(np.arange(count, dtype=np.int32).reshape(count, 1))
        order = reshaped(b, _order(b, x, self.descending(attributes)), (*outer, 1, size))
        spread = b.emit(
            "select", b.emit("equal", places, order), reshaped(b, dy, (*outer, count, 1)), b.scalar(0.0, dy.type.dtype)
        )
        dx = b.emit("reduce_sum", spread, axes=(len(outer),))
        return b.emit("transpose", dx, permutation=back) if back else dx


class OrderedPositions(Ordered):
    """Base of what says where elements stand."""

    positions = True
    non_differentiable = "its results are positions, which are whole numbers"


def _axis_last(b: Builder, x: Value, axis: int) -> tuple[Value, tuple[int, ...]]:
    """The tensor with an axis exchanged for the last one, and the permutation that undoes it; empty for none."""
    rank = x.type.rank
    if axis == rank - 1:
        return x, ()
    order = list(range(rank))
    order[axis], order[-1] = order[-1], order[axis]
    return b.emit("transpose", x, permutation=tuple(order)), tuple(order)


def _order(b: Builder, x: Value, descending: bool) -> Value:
    places = b.constant(np.arange(x.type.shape[-1], dtype=np.int32))
    return b.emit("sort_order", x, places, descending=descending)


def _first(b: Builder, x: Value, count: int, descending: bool) -> Value:
    """Positions of the first elements along the last dimension in order."""
    *outer, size = x.type.shape
    rows = math.prod(outer)
    pairs = b.emit("radix_order", reshaped(b, x, (rows, size)), count=count, descending=descending)
    return reshaped(b, b.emit("slice", pairs, begin=(0, 0, 0), size=(rows, 1, count)), (*outer, count))


@register
class Sort(OrderedElements):
    """Elements along an axis in order; NaN counts as larger than all numbers, as in NumPy and PyTorch."""

    name = "sort"
    finds = "argsort"
    attributes = {**_AXIS, **_DESCENDING}


@register
class ArgSort(OrderedPositions):
    """Positions (i32) of the elements along an axis in order; of equal elements the first comes first."""

    name = "argsort"
    attributes = {**_AXIS, **_DESCENDING}


class TopK(Ordered):
    """Base of the k largest or smallest elements, in order."""

    attributes = {
        "k": AttributeSpec(int, "number of elements that are taken"),
        "axis": AttributeSpec(int, "dimension that is searched", -1),
        "largest": AttributeSpec(bool, "take the largest, else the smallest", True),
    }

    def descending(self, attributes: Attributes) -> bool:
        return bool(attributes["largest"])

    def count(self, size: int, attributes: Attributes) -> int:
        if not 0 <= attributes["k"] <= size:
            raise ShapeError(f"{self.name} can't take {attributes['k']} of {size} elements")
        return int(attributes["k"])


@register
class TopKValues(TopK, OrderedElements):
    """The k largest (or smallest) elements along an axis, in order; NaN counts as larger than all numbers."""

    name = "top_k_values"
    finds = "top_k_indices"


@register
class TopKIndices(TopK, OrderedPositions):
    """Positions (i32) of the k largest (or smallest) elements along an axis; of equal ones the first comes first."""

    name = "top_k_indices"


@layer("top_k")
def top_k(b: LayerBuilder, x: Value, k: int, axis: int = -1, largest: bool = True) -> tuple[Value, ...]:
    """The k largest (or smallest) elements along an axis in order, and their positions: two tensors."""
    options = {"k": k, "axis": axis, "largest": largest}
    return b.emit("top_k_values", x, **options), b.emit("top_k_indices", x, **options)


def _integer(q: Any, op: Operation) -> Value:
    """Integers have the order of what they stand for."""
    result: Value = q.emit(op, op.name, q.integer(op.operands[0]), **op.attributes)
    return result


def _write(c: Any, op: Operation) -> None:
    x = op.operands[0]
    if normalize_axis(op.name, op.attributes["axis"], x.type.rank) != x.type.rank - 1:
        c.fail(op, "TFLite's TOPK_V2 runs over the last dimension", "transpose the tensor first")
    if not op.attributes["largest"]:
        c.fail(op, "TFLite's TOPK_V2 takes the largest elements", "negate the tensor first")
    k = c.constant(np.array(op.attributes["k"], np.int32), f"numbers/k_{op.attributes['k']}")
    other = op.result.type.dtype
    values, positions = (x.type.dtype, x.type.quantization), (DType.I32, None)
    dtype, quantization = positions if isinstance(op.operator, TopKValues) else values
    unused = c.intermediate(TensorType(dtype, op.result.type.shape, None, quantization), f"{op.name}/{other}/unused")
    result = c.place(op.result)
    outputs = [result, unused] if isinstance(op.operator, TopKValues) else [unused, result]
    c.node("TOPK_V2", [c.place(x), k], outputs, None, 2 if x.type.dtype is DType.I8 else 1)


def _read(c: Any) -> tuple[Value, ...]:
    k, x = int(c.integers(1)[0]), c.value(0)
    if x.type.dtype is DType.F16 or not 0 <= k <= x.type.shape[-1]:
        c.unsupported("its form is not supported")
    places = c.cast(c.emit("top_k_indices", x, k=k), c.output_type(1).dtype)
    return c.emit("top_k_values", x, k=k), places


INTEGER.add(IntegerForm(_integer), Sort, ArgSort, TopK)
INTEGER.none("part of the code that sorting becomes", SortOrder)
TFLITE.none("part of the code that sorting becomes", SortOrder)
TFLITE.none("TFLite has no kernel for it", Sort, ArgSort)
TFLITE.add(TfliteForm(_write, "TOPK_V2", narrow=Narrow.ALIKE), TopK)
PERMUTED.add(along_axis, Ordered)
PERMUTED.none("the last dimension is put in order", SortOrder)
reads(_read, "TOPK_V2")
