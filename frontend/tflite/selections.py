"""TFLite's operators that choose elements by comparisons of places or numbers."""

from __future__ import annotations

import numpy as np

from ...compiler.graph.ir import Value
from ...compiler.ops.facets import reads
from ...compiler.types import DType
from .context import Context
from .moves import axis_of


def matrix_diag(c: Context) -> Value:
    """MATRIX_DIAG: rows [..., N] as diagonals of matrices [..., N, N]; elsewhere stand zeros, quantized ones too."""
    x = c.value(0)
    *lead, n = x.type.shape
    row = c.emit("reshape", x, shape=(*lead, 1, n))
    zero = c.builder.constant(np.zeros((), x.type.dtype.numpy), quantization=x.type.quantization)
    chosen = c.emit("select", c.builder.constant(np.eye(n, dtype=np.bool_)), row, zero)
    return c.emit("broadcast_to", chosen, shape=(*lead, n, n))


def matrix_set_diag(c: Context) -> Value:
    """MATRIX_SET_DIAG: matrices [..., H, W] with another diagonal [..., min(H, W)]."""
    x, diagonal = c.value(0), c.value(1)
    *lead, h, w = x.type.shape
    margins = (*((0, 0) for _ in lead), (0, w - min(h, w)))
    row = c.emit("pad", diagonal, padding=margins, value=0) if h < w else diagonal
    row = c.emit("reshape", row, shape=(*lead, 1, w))
    return c.emit("select", c.builder.constant(np.eye(h, w, dtype=np.bool_)), row, x)


def reverse_sequence(c: Context) -> Value:
    """REVERSE_SEQUENCE: the first elements of each sequence in reverse order, the others as they are."""
    x, lengths = c.value(0), c.value(1)
    rank = x.type.rank
    time, batch = (axis_of(c, int(c.option(name, 0)), rank) for name in ("seq_dim", "batch_dim"))
    if time == batch or lengths.type.shape != (x.type.shape[batch],):
        c.fail(f"lengths {lengths.type} don't fit dimensions {time} and {batch} of {x.type}")
    order = (batch, time, *(d for d in range(rank) if d not in (batch, time)))
    steps = x.type.shape[time]
    numbers = c.builder.constant(np.arange(steps, dtype=np.int32))
    length = c.emit("reshape", c.cast(lengths, DType.I32), shape=(-1, 1))
    last = c.emit("sub", length, c.builder.scalar(1, DType.I32))
    turned = c.emit("sub", last, numbers)
    places = c.emit("select", c.emit("less", numbers, length), turned, numbers)
    moved = c.emit("gather", _transposed(c, x, order), places, axis=1, batch_dims=1)
    return _transposed(c, moved, tuple(order.index(d) for d in range(rank)))


def _transposed(c: Context, x: Value, order: tuple[int, ...]) -> Value:
    return x if order == tuple(range(len(order))) else c.emit("transpose", x, permutation=order)


def dynamic_update_slice(c: Context) -> Value:
    """DYNAMIC_UPDATE_SLICE: a part of x replaced; where it begins is brought inside."""
    x, update = c.value(0), c.value(1)
    # Of a list that is written (`lists`), the first dimension alone.
    count = 1 if c.type(2).size == 1 else x.type.rank
    starts = c.cast(c.emit("reshape", c.value(2), shape=(count,)), DType.I32)
    is_inside: Value | None = None
    for d, (size, part) in enumerate(zip(x.type.shape, update.type.shape, strict=True)):
        if part == size:
            continue
        start = c.emit("slice", starts, begin=(d,), size=(1,))
        place = c.emit("sub", c.builder.constant(np.arange(size, dtype=np.int32)), _limited(c, start, size - part))
        zero, end = (c.builder.scalar(n, DType.I32) for n in (0, part))
        taken = c.emit("logical_and", c.emit("greater_equal", place, zero), c.emit("less", place, end))
        taken = c.emit("reshape", taken, shape=tuple(size if i == d else 1 for i in range(x.type.rank)))
        is_inside = taken if is_inside is None else c.emit("logical_and", is_inside, taken)
        update = c.emit("gather", update, _limited(c, place, part - 1), axis=d)
    return update if is_inside is None else c.emit("select", is_inside, update, x)


def _limited(c: Context, places: Value, most: int) -> Value:
    """Whole numbers from 0 to a largest one."""
    low, high = (c.builder.scalar(n, DType.I32) for n in (0, most))
    return c.emit("maximum", c.emit("minimum", places, high), low)


def bucketize(c: Context) -> Value:
    """BUCKETIZE: how many boundaries each number reaches; all of them, if it is NaN."""
    x, boundaries = c.value(0), np.array(c.option("boundaries", ()), np.float32)
    column = c.cast(c.emit("reshape", x, shape=(*x.type.shape, 1)), DType.F32)
    is_beyond = c.cast(c.emit("less", column, c.builder.constant(boundaries)), DType.I32)
    beyond = c.emit("reduce_sum", is_beyond, axes=(x.type.rank,), keepdims=False)
    return c.emit("sub", c.builder.scalar(boundaries.size, DType.I32), beyond)


def one_hot(c: Context) -> Value:
    """ONE_HOT; numbers that aren't known, and quantized ones, are chosen by comparison."""
    depth, labels = c.integers(1)[0], c.value(0)
    dtype, rank = c.output_type().dtype, c.type(0).rank + 1
    on, off = (c.known(i) for i in (2, 3))
    if depth < 1 or c.type(2).size != 1 or c.type(3).size != 1:
        c.unsupported("its form for these numbers is not supported")
    axis = axis_of(c, c.option("axis", 0), rank)
    if on is not None and off is not None and not c.is_quantized:
        given = {"on": on.reshape(-1)[0].item(), "off": off.reshape(-1)[0].item()}
        return c.emit("one_hot", labels, depth=depth, dtype=str(dtype), **given, axis=axis)
    hot = c.emit("one_hot", labels, depth=depth, dtype="i32", on=1, off=0, axis=axis)
    is_hot = c.emit("not_equal", hot, c.builder.scalar(0, DType.I32))
    return c.emit("select", is_hot, *(c.emit("reshape", c.value(i), shape=()) for i in (2, 3)))


reads(matrix_diag, "MATRIX_DIAG")
reads(matrix_set_diag, "MATRIX_SET_DIAG")
reads(reverse_sequence, "REVERSE_SEQUENCE")
reads(dynamic_update_slice, "DYNAMIC_UPDATE_SLICE")
reads(bucketize, "BUCKETIZE")
reads(one_hot, "ONE_HOT")
