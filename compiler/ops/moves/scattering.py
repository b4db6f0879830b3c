"""Elements put at places: scatter_nd adds up those that meet, scatter_combine joins them to what was there by another
operator, last_update finds the one that came last.

What is replaced is made of both kinds of picking: `last_update` says which update stands where, and a gather fetches
it, so that the result, and each gradient, is the same for every number of threads. For indices see `indexing`.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...errors import ShapeError
from ...graph.element_types import check_numbers
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Emits, Operation, Operator, Value
from ...graph.registry import register
from ...loops.compute import Procedure
from ...loops.ir import Cast, Const, Expr, If, Stmt, VectorType, binary, const
from ...types import DType, TensorType
from ..gradients import where
from ..layer import LayerBuilder, layer
from ..procedures import each, each_vector
from ..reductions.reduction import normalize_axis
from .indexing import check_indices, coordinates, inside, place

BAND = 64
"""Fewest columns that a thread takes."""
MOST_BANDS = 8


@dataclass(frozen=True, slots=True)
class Meeting:
    """Elements of an update, side by side, and where in the result they go."""

    update: tuple[Expr, ...]
    """Which one: the indices before its place."""
    row: tuple[Expr, ...]
    """Its place."""
    column: tuple[Expr, ...]
    """Of the first element, in the slice."""
    lanes: int

    @property
    def of_result(self) -> tuple[Expr, ...]:
        """Indices of the first element in the result."""
        return (*self.row, *self.column)

    @property
    def of_update(self) -> tuple[Expr, ...]:
        """Indices of the first element among the updates."""
        return (*self.update, *self.column)


class Scatter(Operator):
    """Base of the operators that put something at places [..., K]: the first K indices of a shape."""

    attributes = {"shape": AttributeSpec(tuple, "shape of the tensor that is filled")}
    procedural = True
    places: ClassVar[int] = 0
    """The operand that holds the places."""

    def check_places(self, indices: TensorType, shape: tuple[int, ...]) -> tuple[int, int]:
        """The number of places and their K; raises `ShapeError` where they don't fit."""
        check_indices(self.name, indices)
        if indices.rank < 1 or not 1 <= indices.shape[-1] <= len(shape):
            raise ShapeError(f"{self.name}: {indices} are no places in {list(shape)}")
        depth = indices.shape[-1]
        if 0 in shape[:depth] and indices.size:
            raise ShapeError(f"{self.name}: there are no places in {list(shape)}")
        return math.prod(indices.shape[:-1]), depth

    def joined(self, by: np.ufunc, result: Array, indices: Array, updates: Array) -> Array:
        """The result, with updates joined to it in place, one after the other."""
        depth = indices.shape[-1]
        flat = inside(self.name, indices.reshape(-1, depth), result.shape[:depth])
        by.at(result, tuple(flat.T), updates.reshape(len(flat), *result.shape[depth:]))
        return result

    def procedure(self, p: Procedure, attributes: Attributes) -> list[Stmt]:
        """Each update is read once, in order; a thread has its own columns of the slices, so no two threads meet."""
        indices, shape = p.type(self.places), p.result.shape
        depth = indices.shape[-1]
        rest = shape[depth:]

        def columns(leading: tuple[Expr, ...], inner: tuple[int, ...], start: Expr) -> list[Stmt]:
            def whole(at: tuple[Expr, ...]) -> tuple[Expr, ...]:
                return (*leading, *at[:-1], at[-1] + start) if at else leading

            def fill(row: tuple[Expr, ...]) -> list[Stmt]:
                def store(at: tuple[Expr, ...], lanes: int) -> list[Stmt]:
                    return [p.store((*row, *whole(at)), self.start(p, (*row, *whole(at)), lanes))]

                return each_vector(p, inner, store)

            def put(update: tuple[Expr, ...]) -> list[Stmt]:
                block: list[Stmt] = []
                there = [place(p.load(self.places, (*update, Const(d))), shape[d]) for d in range(depth)]
                row = tuple(p.let(block, "place", value) for value in there)

                def store(at: tuple[Expr, ...], lanes: int) -> list[Stmt]:
                    meeting = Meeting(update, row, whole(at), lanes)
                    return [p.store(meeting.of_result, self.updated(p, attributes, meeting))]

                return [*block, *each_vector(p, inner, store)]

            return [*each(p, shape[:depth], fill), *each(p, indices.shape[:-1], put)]

        if not math.prod(shape):
            return []
        work = (math.prod(shape[:depth]) + math.prod(indices.shape[:-1])) * math.prod(rest)
        return _shared_columns(p, rest, columns, work)

    def start(self, p: Procedure, at: tuple[Expr, ...], lanes: int) -> Expr:
        """Elements of the result from `at` on before the first update."""
        return const(0, VectorType(p.result.dtype, lanes))

    @abstractmethod
    def updated(self, p: Procedure, attributes: Attributes, at: Meeting) -> Expr:
        """Elements of the result after an update."""


def _shared_columns(
    p: Procedure,
    sizes: tuple[int, ...],
    body: Callable[[tuple[Expr, ...], tuple[int, ...], Expr], list[Stmt]],
    work: int,
) -> list[Stmt]:
    """`body(leading indices, sizes behind them, start of the last)`; threads share the first dimension of several."""
    large = next((d for d, size in enumerate(sizes) if size > 1), len(sizes) - 1)
    ones = (Const(0),) * max(large, 0)
    if large < len(sizes) - 1:
        return p.loop("part", sizes[large], lambda i: body((*ones, i), sizes[large + 1 :], Const(0)), shared=work)
    if not sizes or sizes[-1] < 2 * BAND:
        return body(ones, sizes[-1:], Const(0))
    band = max(BAND, BAND * (sizes[-1] // (MOST_BANDS * BAND)))
    whole, rest = divmod(sizes[-1], band)

    def part(i: Expr) -> list[Stmt]:
        full = body(ones, (band,), i * band)
        if not rest:
            return full
        return [If(binary("lt", i, whole), tuple(full), tuple(body(ones, (rest,), Const(whole * band))))]

    return p.loop("band", whole + (rest > 0), part, shared=work)


@register
class ScatterND(Scatter):
    """Zeros of a shape, with updates [..., slice] added at the places indices [..., K] (TFLite's SCATTER_ND).

    Updates of one place are added in their order.
    """

    name = "scatter_nd"
    operands = ("indices", "updates")

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (indices, updates), shape = operands, attributes["shape"]
        check_numbers(self, updates)
        _, depth = self.check_places(indices, shape)
        wanted = (*indices.shape[:-1], *shape[depth:])
        if updates.shape != wanted:
            raise ShapeError(
                f"scatter_nd: {indices} in {list(shape)} take updates of shape {list(wanted)}, not {updates}"
            )
        return (TensorType(updates.dtype, shape),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        indices, updates = operands
        return (self.joined(np.add, np.zeros(attributes["shape"], updates.dtype), indices, updates),)

    def updated(self, p: Procedure, attributes: Attributes, at: Meeting) -> Expr:
        return p.read(at.of_result, at.lanes) + p.load(1, at.of_update, at.lanes)

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        return None, b.emit("gather_nd", cotangents[0], op.operands[0])


@register
class ScatterCombine(Scatter):
    """X with updates [..., slice] joined to the slices at places [..., K] by an operator, one after the other.

    The gradient is that of PyTorch's scatter_reduce: equal extreme elements share it evenly. Its own derivatives take
    a product of several updates that are 0 for constant.
    """

    name = "scatter_combine"
    operands = ("x", "indices", "updates")
    attributes = {"by": AttributeSpec(str, "the operator: mul, maximum or minimum")}
    places = 1

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (x, indices, updates), by = operands, attributes["by"]
        if by not in _JOINS:
            raise ShapeError(f"scatter_combine has no operator {by!r}", hint=f"there are {', '.join(_JOINS)}")
        check_numbers(self, x)
        _, depth = self.check_places(indices, x.shape)
        wanted = TensorType(x.dtype, (*indices.shape[:-1], *x.shape[depth:]))
        if updates.dense() != wanted:
            raise ShapeError(f"scatter_combine: {indices} in {x} take updates {wanted}, not {updates}")
        return (TensorType(x.dtype, x.shape),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x, indices, updates = operands
        return (self.joined(_JOINS[attributes["by"]][0], x.copy(), indices, updates),)

    def start(self, p: Procedure, at: tuple[Expr, ...], lanes: int) -> Expr:
        return p.load(0, at, lanes)

    def updated(self, p: Procedure, attributes: Attributes, at: Meeting) -> Expr:
        old, new = p.read(at.of_result, at.lanes), p.load(2, at.of_update, at.lanes)
        return binary(_JOINS[attributes["by"]][1], old, new)

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        rule = _product_gradient if op.attributes["by"] == "mul" else _extremum_gradient
        dx, updates = rule(b, op, cotangents[0])
        return dx, None, updates


_JOINS: Mapping[str, tuple[np.ufunc, str]] = {
    "mul": (np.multiply, "mul"),
    "maximum": (np.maximum, "max"),
    "minimum": (np.minimum, "min"),
}
"""Operators of `scatter_combine`: in NumPy and in loops."""


def _extremum_gradient(b: Builder, op: Operation, dy: Value) -> tuple[Value, Value]:
    """What is equal to the result, of x and of the updates, shares the cotangent evenly."""
    x, places, updates = op.operands
    one, zero = (b.scalar(n, dy.type.dtype) for n in (1.0, 0.0))
    is_x = b.emit("equal", x, op.result)
    is_update = b.emit("equal", updates, b.emit("gather_nd", op.result, places))
    hits = b.emit("scatter_nd", places, b.emit("select", is_update, one, zero), shape=x.type.shape)
    share = b.emit("div", dy, b.emit("add", hits, b.emit("select", is_x, one, zero)))
    return where(b, is_x, share), where(b, is_update, b.emit("gather_nd", share, places))


def _product_gradient(b: Builder, op: Operation, dy: Value) -> tuple[Value, Value]:
    """The cotangent times the product of the others, of which those that are 0 are counted, not divided by."""
    x, places, updates = op.operands
    one, zero = (b.scalar(n, dy.type.dtype) for n in (1.0, 0.0))
    ones = b.emit("broadcast_to", one, shape=x.type.shape)
    dx = b.emit("mul", dy, b.emit("scatter_combine", ones, places, updates, by="mul"))
    is_zero = b.emit("equal", updates, zero)
    count = b.emit("select", is_zero, one, zero)
    zeros = b.emit("gather_nd", b.emit("scatter_nd", places, count, shape=x.type.shape), places)
    some = b.emit("select", is_zero, one, updates)
    total = b.emit("mul", dy, b.emit("scatter_combine", x, places, some, by="mul"))
    others = b.emit("div", b.emit("gather_nd", total, places), some)
    return dx, where(b, b.emit("equal", zeros, count), others)


@register
class LastUpdate(Scatter):
    """For each place of a shape the number (i32) of the last index [..., K] that names it, -1 where none does."""

    name = "last_update"
    internal = True
    operands = ("indices",)
    piecewise_constant = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        count, depth = self.check_places(operands[0], attributes["shape"])
        if depth != len(attributes["shape"]):
            raise ShapeError(f"last_update: {operands[0]} don't name elements of {list(attributes['shape'])}")
        if count >= 1 << 31:
            raise ShapeError(f"last_update: {operands[0]} are too many")
        return (TensorType(DType.I32, attributes["shape"]),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (indices,), shape = operands, attributes["shape"]
        numbers = np.arange(math.prod(indices.shape[:-1]), dtype=np.int32)
        return (self.joined(np.maximum, np.full(shape, -1, np.int32), indices, numbers),)

    def start(self, p: Procedure, at: tuple[Expr, ...], lanes: int) -> Expr:
        return const(-1, VectorType(p.result.dtype, lanes))

    def updated(self, p: Procedure, attributes: Attributes, at: Meeting) -> Expr:
        number: Expr = Const(0)
        for position, size in zip(at.update, p.type(0).shape[:-1], strict=True):
            number = number * size + position
        return Cast(number, DType.I32)


def replaced(b: Emits, x: Value, places: Value, updates: Value) -> Value:
    """X with slices replaced at places [..., K]; of several updates of one place the last one counts."""
    depth = places.type.shape[-1]
    shape, rest = x.type.shape, x.type.shape[depth:]
    if not places.type.size or not updates.type.size:
        return x
    last = b.emit("last_update", places, shape=shape[:depth])
    flat = b.emit("reshape", updates, shape=(-1, *rest))
    zero = b.emit("constant", value=np.array(0, np.int32))
    new = b.emit("gather", flat, b.emit("maximum", last, zero), axis=0)
    hit = b.emit("reshape", b.emit("greater_equal", last, zero), shape=(*shape[:depth], *(1,) * len(rest)))
    return b.emit("select", hit, new, x)


def _check_updates(name: str, x: Value, wanted: tuple[int, ...], updates: Value) -> None:
    if updates.type.shape != wanted or updates.type.dtype is not x.type.dtype:
        raise ShapeError(f"{name}: {x.type} takes updates {x.type.dtype}{list(wanted)} here, not {updates.type}")


def _along(name: str, x: Value, indices: Value, updates: Value, axis: int) -> int:
    """The axis, counted from the front, along which the indices fit x."""
    axis = normalize_axis(name, axis, x.type.rank)
    check_indices(name, indices.type)
    sizes = zip(x.type.shape, indices.type.shape, strict=False)
    if x.type.rank != indices.type.rank or any(i > s for d, (s, i) in enumerate(sizes) if d != axis):
        raise ShapeError(f"{name}: {indices.type} don't fit {x.type} off axis {axis}")
    _check_updates(name, x, indices.type.shape, updates)
    return axis


@layer("scatter")
def scatter(b: LayerBuilder, x: Value, indices: Value, updates: Value, axis: int = -1) -> Value:
    """X with elements replaced: update [i, j] goes to [i, indices[i, j]] for the last axis (torch.scatter).

    Of several updates of one element the last one counts.
    """
    spots = coordinates(b, indices, _along("scatter", x, indices, updates, axis))
    return replaced(b, x, spots, updates)


@layer("scatter_add")
def scatter_add(b: LayerBuilder, x: Value, indices: Value, updates: Value, axis: int = -1) -> Value:
    """X with elements added to: update [i, j] goes to [i, indices[i, j]] for the last axis (torch.scatter_add)."""
    spots = coordinates(b, indices, _along("scatter_add", x, indices, updates, axis))
    return b.emit("add", x, b.emit("scatter_nd", spots, updates, shape=x.type.shape))


def _nd(name: str, x: Value, indices: Value, updates: Value) -> None:
    check_indices(name, indices.type)
    if indices.type.rank < 1 or not 1 <= indices.type.shape[-1] <= x.type.rank:
        raise ShapeError(f"{name}: {indices.type} are no places in {x.type}")
    _check_updates(name, x, (*indices.type.shape[:-1], *x.type.shape[indices.type.shape[-1] :]), updates)


@layer("scatter_nd_update")
def scatter_nd_update(b: LayerBuilder, x: Value, indices: Value, updates: Value) -> Value:
    """X with the slices at places [..., K] replaced by updates (ONNX ScatterND); of several the last one counts."""
    _nd("scatter_nd_update", x, indices, updates)
    return replaced(b, x, indices, updates)


@layer("scatter_nd_add")
def scatter_nd_add(b: LayerBuilder, x: Value, indices: Value, updates: Value) -> Value:
    """X with updates added to the slices at places [..., K] (ONNX ScatterND with reduction "add")."""
    _nd("scatter_nd_add", x, indices, updates)
    return b.emit("add", x, b.emit("scatter_nd", indices, updates, shape=x.type.shape))
