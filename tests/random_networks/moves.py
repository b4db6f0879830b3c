"""Operators that pick, scatter, mirror and rearrange elements."""

from __future__ import annotations

from netc.compiler.graph import Value
from netc.compiler.types import DType

from .maker import ALL, FLOATS, INTEGERS, Maker
from .recipes import recipe

INDICES = (DType.I32, DType.I64, DType.I8, DType.U8, DType.I16)


def _ranges(m: Maker, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Begin, size and strides of elements inside a shape."""
    begin, size, strides = [], [], []
    for s in shape:
        step = m.choice((1, 1, 2, -1, 3, -2))
        first = (0 if step > 0 else s - 1) if s < 2 or m.flag() else m.number(0, s - 1)
        room = (s - 1 - first if step > 0 else first) // abs(step) + 1 if s else 0
        begin.append(max(first, 0))
        size.append(room if not m.flag(3) else m.number(min(room, 1), room))
        strides.append(step)
    return tuple(begin), tuple(size), tuple(strides)


@recipe("strided_slice")
def strided_slice(m: Maker, name: str) -> Value:
    x = m.operand(ALL)
    begin, size, strides = _ranges(m, x.type.shape)
    return m.emit(name, x, begin=begin, size=size, strides=strides)


@recipe("strided_slice_gradient")
def strided_slice_gradient(m: Maker, name: str) -> Value:
    shape = m.shape()
    begin, size, strides = _ranges(m, shape)
    return m.emit(name, m.leaf(m.dtype(ALL), size), shape=shape, begin=begin, strides=strides)


@recipe("mirror_pad")
def mirror_pad(m: Maker, name: str) -> Value:
    x = m.operand(ALL)
    mode = m.choice(("reflect", "symmetric"))
    most = [max(s - (mode == "reflect"), 0) for s in x.type.shape]
    padding = tuple((m.number(0, min(n, 3)), m.number(0, min(n, 2))) for n in most)
    return m.emit(name, x, padding=padding, mode=mode)


@recipe("space_to_depth", "depth_to_space")
def blocks(m: Maker, name: str) -> Value:
    block = m.choice((2, 1, 3))
    n, h, w, c = m.choice((1, 2)), m.choice((1, 2)), m.choice((2, 1, 3)), m.choice((1, 3, 2))
    deep, wide = (n, h, w, c * block * block), (n, h * block, w * block, c)
    return m.emit(name, m.leaf(m.dtype(ALL), wide if name == "space_to_depth" else deep), block_size=block)


@recipe("space_to_batch_nd", "batch_to_space_nd")
def batches(m: Maker, name: str) -> Value:
    block = m.choice(((2, 2), (2,), (1, 3), (3,)))
    small = tuple(m.choice((2, 1, 3)) for _ in block)
    whole = tuple(s * b for s, b in zip(small, block, strict=True))
    margins = tuple((m.number(0, min(s - 1, 1)), 0) for s in whole)
    rest = m.choice(((3,), (), (1,), (2, 2)))
    if name == "space_to_batch_nd":
        sizes = tuple(s - before for s, (before, _) in zip(whole, margins, strict=True))
        x = m.leaf(m.dtype(ALL), (2, *sizes, *rest))
        return m.emit(name, x, block_shape=block, padding=margins, value=m.choice((0, 1)))
    count = 1
    for b in block:
        count *= b
    return m.emit(name, m.leaf(m.dtype(ALL), (count, *small, *rest)), block_shape=block, crops=margins)


@recipe("gather")
def gather(m: Maker, name: str) -> Value:
    x = m.operand(ALL, fits=lambda t: t.rank > 0, shape=lambda: m.shape((2, 4, 3, 1, 5)))
    axis = m.number(0, x.type.rank - 1)
    batch = m.number(0, axis) if m.flag(3) else 0
    indices = m.leaf(m.choice(INDICES), m.shape((1, 2, 0), x.type.shape[:batch]), str(max(x.type.shape[axis], 1)))
    return m.emit(name, x, indices, axis=axis, batch_dims=batch)


@recipe("take_along_axis")
def take_along_axis(m: Maker, name: str) -> Value:
    x = m.operand(ALL, fits=lambda t: t.rank > 0, shape=lambda: m.shape((2, 4, 3, 1)))
    axis = m.number(0, x.type.rank - 1)
    shape = list(x.type.shape)
    shape[axis] = m.choice((1, 3, 2))
    indices = m.leaf(m.choice(INDICES), tuple(shape), str(max(x.type.shape[axis], 1)))
    return m.emit(name, x, indices, axis=axis)


@recipe("next_nodes")
def next_nodes(m: Maker, name: str) -> Value:
    kind, rows, features, count = m.dtype(FLOATS), m.choice((2, 1, 9)), m.choice((3, 1)), m.choice((7, 3))
    x, whole = m.leaf(kind, (rows, features)), m.choice((DType.I32, DType.I64))
    nodes = m.leaf(whole, (m.choice((rows, 1)), m.choice((5, 1, 17))), str(count))
    ways = m.leaf(whole, (count, 2), str(features))
    comparisons = ("less_equal", "less", "greater_equal", "greater", "equal", "not_equal")
    return m.emit(name, x, nodes, ways, m.leaf(kind, (count,)), comparison=m.choice(comparisons))


@recipe("scatter_nd", "last_update")
def scatter(m: Maker, name: str) -> Value:
    shape = m.shape((2, 1, 3))
    depth = len(shape) if name == "last_update" else m.number(1, max(len(shape), 1))
    limit = min(shape[:depth], default=1)
    indices = m.leaf(m.choice(INDICES), m.shape((2, 3, 1), end=(depth,)), str(max(limit, 1)))
    if name == "last_update":
        return m.emit(name, indices, shape=shape)
    updates = m.operand((*FLOATS, *INTEGERS), shape=(*indices.type.shape[:-1], *shape[depth:]), new=2)
    return m.emit(name, indices, updates, shape=shape)


@recipe("scatter_combine")
def scatter_combine(m: Maker, name: str) -> Value:
    x = m.operand((*FLOATS, *INTEGERS), fits=lambda t: t.rank > 0, shape=lambda: m.shape((2, 1, 3), end=(4,)))
    depth = m.number(1, x.type.rank)
    limit = min(x.type.shape[:depth])
    indices = m.leaf(m.choice(INDICES), m.shape((2, 3, 1), end=(depth,)), str(max(limit, 1)))
    shape = (*indices.type.shape[:-1], *x.type.shape[depth:])
    updates = m.operand((x.type.dtype,), shape=shape, new=2)
    return m.emit(name, x, indices, updates, by=m.choice(("mul", "maximum", "minimum")))
