"""Operators that pick, place and sort elements by numbers."""

from __future__ import annotations

import math

import numpy as np

from ....compiler.graph.ir import Array, Value
from ....compiler.ops.moves import scattering
from ....compiler.ops.moves.indexing import coordinates
from ....compiler.types import DType
from ..node import Node
from ..registry import Rule, onnx


def _from_front(c: Node, place: int, size: int) -> Value:
    """Indices, of which negative ones count from the end."""
    known = c.known(place)
    if known is not None:
        return c.made(np.where(known < 0, known + size, known).astype(known.dtype))
    indices = c.value(place)
    below = c.emit("less", indices, c.scalar(0, indices))
    return c.emit("select", below, c.emit("add", indices, c.scalar(size, indices)), indices)


@onnx("Gather")
def gather(c: Node) -> Value:
    """Slices along an axis, in the order of indices."""
    return gather_slices(c, c.value(0), int(c.attribute("axis", 0)))


def gather_slices(c: Node, x: Value, given: int) -> Value:
    """Slices of a value along an axis, in the order of the indices at input 1."""
    axis = c.axis(given, x.type.rank)
    size = x.type.shape[axis]
    known = c.known(1)
    if known is not None and known.size == 1 and x.type.rank:
        place = int(known.reshape(-1)[0])
        if not -size <= place < size:
            c.unsupported(f"there is no element {place} along axis {axis} of {x.type}")
        begin = tuple(place % size if d == axis else 0 for d in range(x.type.rank))
        part = c.emit("slice", x, begin=begin, size=tuple(1 if d == axis else s for d, s in enumerate(x.type.shape)))
        return c.reshape(part, (*x.type.shape[:axis], *known.shape, *x.type.shape[axis + 1 :]))
    return c.emit("gather", x, _from_front(c, 1, size), axis=axis)


@onnx("GatherElements")
def gather_elements(c: Node) -> Value:
    """Elements at the places of indices, but along an axis where these say."""
    x = c.value(0)
    axis = c.axis(c.attribute("axis", 0), x.type.rank)
    indices = _from_front(c, 1, x.type.shape[axis])
    wide = tuple(s if d == axis else i for d, (s, i) in enumerate(zip(x.type.shape, indices.type.shape, strict=True)))
    if wide != x.type.shape:
        x = c.emit("slice", x, begin=(0,) * x.type.rank, size=wide)
    return c.emit("take_along_axis", x, indices, axis=axis)


@onnx("GatherND")
def gather_nd(c: Node) -> Value:
    """Slices at places whose indices stand along the last dimension."""
    x, batch = c.value(0), int(c.attribute("batch_dims", 0))
    indices = _places_from_front(c, 1, x.type.shape[batch:])
    if batch:
        lead = x.type.shape[:batch]
        grid = np.stack(np.meshgrid(*(np.arange(s) for s in lead), indexing="ij"), axis=-1)
        grid = grid.reshape(*lead, *(1,) * (indices.type.rank - 1 - batch), batch)
        wide = c.made(np.broadcast_to(grid, (*indices.type.shape[:-1], batch)).astype(np.int64))
        indices = c.emit("concat", wide, c.cast(indices, DType.I64), axis=-1)
    return c.emit("gather_nd", x, indices)


def _places_from_front(c: Node, place: int, shape: tuple[int, ...]) -> Value:
    """Indices [..., K] into the first dimensions of a shape, of which negative ones count from the end."""
    indices = c.value(place)
    if not indices.type.rank or indices.type.shape[-1] > len(shape):
        c.unsupported(f"{indices.type} are no places in {list(shape)}")
    sizes = np.array(shape[: indices.type.shape[-1]])
    known = c.known(place)
    if known is not None:
        return c.made(np.where(known < 0, known + sizes, known).astype(known.dtype))
    below = c.emit("less", indices, c.scalar(0, indices))
    moved = c.emit("add", indices, c.made(sizes.astype(indices.type.dtype.numpy)))
    return c.emit("select", below, moved, indices)


@onnx("ScatterND")
def scatter_nd(c: Node) -> Value:
    """A tensor with slices replaced, or combined with updates."""
    x, updates = c.value(0), c.value(2)
    begin = _rectangle(c, x) if c.choice("reduction", "none", "none", "add", "mul", "max", "min") == "none" else None
    if begin is not None and updates.type.dtype is x.type.dtype:
        return _with_rectangle(c, x, begin, c.reshape(updates, c.shape(1)[:-1]))
    indices = _places_from_front(c, 1, x.type.shape)
    return _scattered(c, x, indices, updates)


def _rectangle(c: Node, x: Value) -> tuple[int, ...] | None:
    """Where the rectangle begins that all places are, each once and in order: what `x[a:b, c:d] = y` is exported as."""
    *sizes, depth = c.shape(1) or (0,)
    known = c.known(1)
    columns = _columns(c, c.value(1) if known is None else known)
    if columns is None or len(sizes) != depth or depth != x.type.rank or not math.prod(sizes):
        return None
    begin = []
    for d, (column, size) in enumerate(zip(columns, x.type.shape, strict=True)):
        if column.ndim != depth or column.shape[d] != sizes[d]:
            return None
        first = int(column.reshape(-1)[0])
        steps = np.arange(first, first + sizes[d]).reshape([-1 if i == d else 1 for i in range(depth)])
        if not (column == steps).all():
            return None
        first = first + size if first < 0 <= first + size else first
        if not 0 <= first <= size - sizes[d]:
            return None
        begin.append(first)
    return tuple(begin)


def _columns(c: Node, places: Array | Value) -> list[Array] | None:
    """The indices of each dimension, where they are known, without dimensions along which they were broadcast."""
    if not isinstance(places, Value):
        return [places[..., k] for k in range(places.shape[-1])]
    made = {result: op for op in c.builder.operations for result in op.results}
    joined = made.get(places)
    if joined is None or joined.name != "concat" or joined.attributes["axis"] not in (-1, places.type.rank - 1):
        return None
    found = []
    for value in joined.operands:
        source = value
        while (op := made.get(source)) is not None and op.name in ("reshape", "broadcast_to"):
            wide = op.operands[0].type.shape
            if op.name == "reshape" and (*wide, 1) != source.type.shape:
                return None
            source = op.operands[0]
        if op is None or op.name != "constant" or value.type.shape[-1] != 1:
            return None
        array = op.attributes["value"]
        array = array[..., 0] if source is value else array
        found.append(array.reshape((1,) * (places.type.rank - 1 - array.ndim) + array.shape))
    return found


def _with_rectangle(c: Node, x: Value, begin: tuple[int, ...], block: Value) -> Value:
    """X with a block in the place of a rectangle of it."""
    sizes = block.type.shape
    for axis in reversed(range(len(sizes))):
        ends = (0, begin[axis], begin[axis] + sizes[axis], x.type.shape[axis])
        start = (*begin[:axis], 0, *(0,) * (len(sizes) - axis - 1))
        shape = (*sizes[:axis], 0, *x.type.shape[axis + 1 :])
        margins = [
            c.emit(
                "slice",
                x,
                begin=tuple(low if d == axis else s for d, s in enumerate(start)),
                size=tuple(high - low if d == axis else s for d, s in enumerate(shape)),
            )
            if high > low
            else None
            for low, high in (ends[:2], ends[2:])
        ]
        parts = [part for part in (margins[0], block, margins[1]) if part is not None]
        block = parts[0] if len(parts) == 1 else c.emit("concat", *parts, axis=axis)
    return block


def _scattered(c: Node, x: Value, indices: Value, updates: Value) -> Value:
    match c.choice("reduction", "none", "none", "add", "mul", "max", "min"):
        case "none":
            return scattering.scatter_nd_update(c, x, indices, updates)
        case "add":
            return scattering.scatter_nd_add(c, x, indices, updates)
        case other:
            return _combined(c, x, indices, updates, other)


def _combined(c: Node, x: Value, indices: Value, updates: Value, reduction: str) -> Value:
    if not indices.type.size or not updates.type.size:
        return x
    operator = {"mul": "mul", "max": "maximum", "min": "minimum"}[reduction]
    return c.emit("scatter_combine", x, indices, updates, by=operator)


@onnx("ScatterElements", "Scatter")
def scatter_elements(c: Node) -> Value:
    """A tensor with elements replaced, or combined with updates, at places along an axis."""
    x, updates = c.value(0), c.value(2)
    axis = c.axis(c.attribute("axis", 0), x.type.rank)
    indices = _from_front(c, 1, x.type.shape[axis])
    reduction = c.choice("reduction", "none", "none", "add", "mul", "max", "min")
    if reduction == "none":
        return scattering.scatter(c, x, indices, updates, axis)
    if reduction == "add":
        return scattering.scatter_add(c, x, indices, updates, axis)
    spots = coordinates(c, indices, axis)
    return _combined(c, x, spots, c.reshape(updates, spots.type.shape[:-1]), reduction)


@onnx("OneHot")
def one_hot(c: Node) -> Value:
    """Vectors with one number at the place of each index, and another elsewhere."""
    depth = int(c.one(1))
    off, on = c.constant(2).reshape(-1)
    dtype = c.type(2).dtype
    indices = c.value(0)
    axis = c.axis(c.attribute("axis", -1), indices.type.rank + 1)
    if indices.type.dtype.is_float:
        indices = c.cast(indices, DType.I64)
    wrapped = c.emit(
        "select",
        c.emit("less", indices, c.scalar(0, indices)),
        c.emit("add", indices, c.scalar(depth, indices)),
        indices,
    )
    rules = {"depth": depth, "dtype": str(dtype), "on": on.item(), "off": off.item(), "axis": axis}
    return c.emit("one_hot", wrapped, **rules)


@onnx("NonZero")
def non_zero(c: Node) -> Array:
    """The places of elements that aren't 0, of a tensor that must be known."""
    return np.array(np.nonzero(c.constant(0)), np.int64)


@onnx("Compress")
def compress(c: Node) -> Value:
    """Slices along an axis (or elements) where a condition, which must be known, holds."""
    x = c.value(0)
    axis = c.attribute("axis")
    picked = np.nonzero(c.constant(1))[0].astype(np.int64)
    if axis is None:
        return c.emit("gather", c.reshape(x, (x.type.size,)), c.made(picked), axis=0)
    return c.emit("gather", x, c.made(picked), axis=c.axis(axis, x.type.rank))


@onnx("Unique")
def unique(c: Node) -> tuple[Array, ...]:
    """The different elements (or slices) of a tensor that must be known, where they stand, and how often."""
    x, axis, in_order = c.constant(0), c.attribute("axis"), c.flag("sorted", True)
    values, first, inverse, counts = np.unique(x, True, True, True, axis=axis)
    inverse = inverse.reshape(-1)
    if not in_order:
        order = np.argsort(first)
        back = np.argsort(order)
        values = values.take(order, axis if axis is not None else 0)
        first, counts, inverse = first[order], counts[order], back[inverse]
    return values, *(np.asarray(a, np.int64) for a in (first, inverse, counts))


@onnx("ReverseSequence")
def reverse_sequence(c: Node) -> Value:
    """The first elements of each sequence in reverse order; lengths must be known."""
    x, lengths = c.value(0), c.constant(1)
    batch, time = int(c.attribute("batch_axis", 1)), int(c.attribute("time_axis", 0))
    steps = np.arange(x.type.shape[time])
    places = np.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)
    shape = [1] * x.type.rank
    shape[batch], shape[time] = places.shape
    turned = places if batch < time else places.T
    indices = np.broadcast_to(turned.reshape(shape), x.type.shape)
    return c.emit("take_along_axis", x, c.made(np.ascontiguousarray(indices)), axis=time)


MOST_PLACES = 1 << 26
"""Of a matrix, of which a constant says what is kept."""


def _triangle(upper: bool) -> Rule:
    def rule(c: Node) -> Value:
        x = c.value(0)
        k = int(c.one(1)) if c.has(1) else 0
        rows, columns = x.type.shape[-2:]
        if rows * columns > MOST_PLACES:
            c.unsupported(f"a triangle of {rows} x {columns} is not supported, only up to {MOST_PLACES} places")
        mask = (
            np.triu(np.ones((rows, columns), np.bool_), k) if upper else np.tril(np.ones((rows, columns), np.bool_), k)
        )
        return c.emit("select", c.made(mask), x, c.scalar(0, x))

    return rule


@onnx("Trilu")
def trilu(c: Node) -> Value:
    """The upper or the lower triangles of matrices, and zeros."""
    result = _triangle(c.flag("upper", True))(c)
    assert isinstance(result, Value)
    return result
