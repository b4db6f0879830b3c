"""Operators that move elements, and those that combine them along dimensions."""

from __future__ import annotations

import numpy as np

from netc.compiler.graph import Value
from netc.compiler.types import DType

from .maker import ALL, FLOATS, INTEGERS, Maker
from .recipes import recipe

NUMBERS = (*FLOATS, *INTEGERS)


@recipe("reshape")
def reshape(m: Maker, name: str) -> Value:
    """Dimensions exchanged, merged, split, added: up to six."""
    x = m.operand(ALL)
    shape = list(x.type.shape)
    for _ in range(m.number(1, 3)):
        kind = m.number(0, 3)
        if kind == 0 and len(shape) > 1:
            at = m.number(0, len(shape) - 2)
            shape[at : at + 2] = [shape[at] * shape[at + 1]]
        elif kind == 1 and len(shape) < 6:
            shape.insert(m.number(0, len(shape)), 1)
        elif kind == 2 and len(shape) > 1:
            at = m.number(0, len(shape) - 2)
            shape[at], shape[at + 1] = shape[at + 1], shape[at]
        elif len(shape) < 6:
            at = next((i for i, s in enumerate(shape) if s > 3 and s % 2 == 0), None)
            if at is not None:
                shape[at : at + 1] = [2, shape[at] // 2]
    if shape and x.type.size and m.flag(3):
        shape[m.number(0, len(shape) - 1)] = -1
    return m.emit(name, x, shape=tuple(shape))


@recipe("transpose")
def transpose(m: Maker, name: str) -> Value:
    x = m.operand(ALL)
    order = list(range(x.type.rank))
    for i in range(len(order) - 1):
        j = m.number(i, len(order) - 1)
        order[i], order[j] = order[j], order[i]
    return m.emit(name, x, permutation=tuple(order))


@recipe("broadcast_to")
def broadcast_to(m: Maker, name: str) -> Value:
    x = m.operand(ALL)
    shape = [s if s != 1 or m.flag() else m.choice((3, 2, 5)) for s in x.type.shape]
    while len(shape) < 6 and m.flag(3):
        shape.insert(0, m.choice((2, 1, 3)))
    return m.emit(name, x, shape=tuple(shape))


def _around(m: Maker, rank: int) -> tuple[tuple[int, int], ...]:
    """(before, after) for each dimension: often zero, behind the last one, too."""
    return tuple((m.choice((0, 0, 1, 2)), m.choice((0, 0, 1, 3))) for _ in range(rank))


@recipe("pad")
def pad(m: Maker, name: str) -> Value:
    x = m.operand(ALL)
    values = (0.0, 0, 1.5, -1.0, 3) if x.type.dtype.is_float else (0, 1, 3)
    if x.type.dtype is DType.BOOL:
        values = (0, 1)
    return m.emit(name, x, padding=_around(m, x.type.rank), value=m.choice(values))


@recipe("slice")
def slice_(m: Maker, name: str) -> Value:
    x = m.operand(ALL)
    begin, size = [], []
    for s in x.type.shape:
        first = 0 if s < 2 or m.flag() else m.number(1, s - 1)
        begin.append(first)
        size.append(s - first if not m.flag(3) else max((s - first) // 2, min(s, 1)))
    return m.emit(name, x, begin=tuple(begin), size=tuple(size))


@recipe("concat")
def concat(m: Maker, name: str) -> Value:
    x = m.operand(ALL, fits=lambda t: t.rank > 0, shape=lambda: m.shape((2, 4, 3, 1, 5, 6)))
    axis = m.choice((-1, *range(x.type.rank)))
    parts = [x]
    for _ in range(m.choice((1, 1, 2, 0, 3))):
        shape = list(x.type.shape)
        if m.flag(3):
            parts.append(x)
            continue
        shape[axis] = m.choice((shape[axis], 1, 2, 3))
        parts.insert(m.number(0, len(parts)), m.operand((x.type.dtype,), shape=tuple(shape)))
    return m.emit(name, *parts, axis=axis)


@recipe("tile")
def tile(m: Maker, name: str) -> Value:
    x = m.operand(ALL)
    return m.emit(name, x, multiples=tuple(m.choice((1, 1, 2, 3)) for _ in x.type.shape))


@recipe("gather_nd")
def gather_nd(m: Maker, name: str) -> Value:
    x = m.operand(ALL, fits=lambda t: t.rank > 0, shape=lambda: m.shape((2, 4, 3, 1, 5, 6)))
    depth = m.number(1, x.type.rank)
    least = min(x.type.shape[:depth])
    indices = m.leaf(m.choice((DType.I32, DType.I64)), m.shape((1, 2, 3), end=(depth,)), str(max(least, 1)))
    return m.emit(name, x, indices)


def _axes(m: Maker, rank: int) -> tuple[int, ...] | None:
    kind = m.number(0, 3)
    if kind == 0:
        return None
    if kind == 1 and rank > 2:
        return tuple(range(1, rank - 1))
    chosen = [d for d in range(rank) if m.flag()]
    return tuple(d - rank if m.flag(4) else d for d in chosen)


@recipe("reduce_sum", "reduce_mean", "reduce_max", "reduce_min", "reduce_prod")
def reduce(m: Maker, name: str) -> Value:
    x = m.operand(NUMBERS)
    return m.emit(name, x, axes=_axes(m, x.type.rank), keepdims=m.flag())


@recipe("softmax", "log_softmax", "logsumexp")
def along_axis(m: Maker, name: str) -> Value:
    x = m.operand(FLOATS, fits=lambda t: t.rank > 0, shape=lambda: m.shape((2, 4, 3, 1, 5, 6)))
    return m.emit(name, x, axis=m.choice((-1, *range(x.type.rank))))


@recipe("reduce_any", "reduce_all")
def reduce_truth(m: Maker, name: str) -> Value:
    x = m.operand((DType.BOOL,))
    return m.emit(name, x, axes=_axes(m, x.type.rank), keepdims=m.flag())


@recipe("argmax", "argmin")
def arg_extremum(m: Maker, name: str) -> Value:
    x = m.operand(NUMBERS, fits=lambda t: t.rank > 0, shape=lambda: m.shape((2, 4, 3, 1, 5, 6)))
    return m.emit(name, x, axis=m.choice((-1, *range(x.type.rank))), last=m.flag())


@recipe("sort", "argsort")
def sort(m: Maker, name: str) -> Value:
    x = m.operand(NUMBERS, fits=lambda t: t.rank > 0, shape=lambda: m.shape((2, 4, 3, 1, 5, 6)))
    return m.emit(name, x, axis=m.choice((-1, *range(x.type.rank))), descending=m.flag())


@recipe("sort_order")
def sort_order(m: Maker, name: str) -> Value:
    x = m.operand(NUMBERS, fits=lambda t: t.rank > 0, shape=lambda: m.shape((2, 4, 3, 1, 5, 6)))
    places = m.given(np.arange(x.type.shape[-1], dtype=np.int32))
    return m.emit(name, x, places, descending=m.flag())


@recipe("radix_order")
def radix_order(m: Maker, name: str) -> Value:
    x = m.operand(NUMBERS, fits=lambda t: t.rank == 2, shape=lambda: (m.choice((3, 1, 0)), m.choice((40, 7, 1))))
    return m.emit(name, x, count=m.number(0, x.type.shape[-1]), descending=m.flag())


@recipe("top_k_values", "top_k_indices")
def top_k(m: Maker, name: str) -> Value:
    x = m.operand(NUMBERS, fits=lambda t: t.rank > 0, shape=lambda: m.shape((2, 4, 3, 1, 5, 6)))
    axis = m.number(0, x.type.rank - 1)
    k = m.number(min(1, x.type.shape[axis]), x.type.shape[axis])
    return m.emit(name, x, k=k, axis=axis, largest=m.flag())


@recipe("batch_norm")
def batch_norm(m: Maker, name: str) -> Value:
    x = m.operand(FLOATS, fits=lambda t: t.rank > 0, shape=lambda: m.shape((2, 4, 3, 1, 5)))
    channels, kind = x.type.shape[-1:], x.type.dtype
    gamma, beta, mean = (m.weight(kind, channels) for _ in range(3))
    options = {"eps": m.choice((1e-5, 1e-3)), "momentum": m.choice((0.1, 0.5))}
    return m.emit(name, x, gamma, beta, mean, m.weight(kind, channels, "positive"), **options)


@recipe("channel_variance")
def channel_variance(m: Maker, name: str) -> Value:
    x = m.operand(FLOATS, fits=lambda t: t.rank > 0, shape=lambda: m.shape((2, 4, 3, 1, 5)))
    mean = m.emit("reduce_mean", x, axes=tuple(range(x.type.rank - 1)))
    return m.emit(name, x, mean)


@recipe("random_uniform")
def random_uniform(m: Maker, name: str) -> Value:
    counter = m.leaf(DType.I64, (), "9")
    kind = str(m.dtype((DType.F32, DType.F64)))
    return m.emit(name, counter, shape=m.shape(), dtype=kind, seed=m.number(0, 3), stream=m.number(0, 3))


@recipe("random_words", "seeded_numbers", "seeded_choices")
def seeded(m: Maker, name: str) -> Value:
    counter, seeds = m.leaf(DType.I64, (), "9"), {"seed": m.number(-3, 3), "seed2": m.number(-3, 3)}
    if name == "random_words":
        return m.emit(name, counter, blocks=m.number(0, 5), **seeds)
    if name == "seeded_numbers":
        return m.emit(name, counter, shape=m.shape(), normal=m.flag(), **seeds)
    logits = m.leaf(DType.F32, (m.choice((2, 1, 3)), m.choice((4, 1, 5))), "9")
    return m.emit(name, counter, logits, count=m.number(0, 6), dtype=m.choice(("i32", "i64")), **seeds)


@recipe("resize_bilinear", "resize_nearest")
def resize(m: Maker, name: str) -> Value:
    kinds = (DType.F32, DType.I8, DType.U8, DType.I16) if name == "resize_bilinear" else NUMBERS
    x = m.operand(kinds, fits=lambda t: t.rank == 4, shape=m.image)
    options = m.choice(({}, {"align_corners": True}, {"half_pixel_centers": True}))
    return m.emit(name, x, size=(m.choice((3, 1, 8, 5)), m.choice((4, 1, 7, 2))), **options)
