"""What attention is made of: heads, scores with what is added to them, the mean of values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ....compiler.graph.ir import Value
from ....compiler.types import DType
from ..node import Node

LOWEST = float(np.finfo(np.float32).min)
"""Added to the scores of what lies ahead."""
LOWEST_OF_HALF = -(2.0**15)
"""The same in f16, with room for a score: rows without any key are no NaNs."""


def heads_of(c: Node, x: Value, heads: int) -> Value:
    """[N, rows, heads * features] as [N, heads, rows, features]."""
    if x.type.rank != 3 or heads < 1 or x.type.shape[2] % heads:
        c.unsupported(f"{x.type} has no {heads} heads")
    samples, rows, features = x.type.shape
    return c.transpose(c.reshape(x, (samples, rows, heads, features // heads)), (0, 2, 1, 3))


def joined(c: Node, y: Value) -> Value:
    """[N, heads, rows, features] as [N, rows, heads * features]."""
    samples, heads, rows, features = y.type.shape
    return c.reshape(c.transpose(y, (0, 2, 1, 3)), (samples, rows, heads * features))


def cut(c: Node, x: Value, axis: int, begin: int, size: int) -> Value:
    """Part of a dimension."""
    shape = x.type.shape
    if begin < 0 or begin + size > shape[axis]:
        c.unsupported(f"{x.type} has no {size} elements from {begin} on along axis {axis}")
    if size == shape[axis]:
        return x
    starts = tuple(begin if d == axis else 0 for d in range(len(shape)))
    return c.emit("slice", x, begin=starts, size=tuple(size if d == axis else s for d, s in enumerate(shape)))


def _scale(c: Node, features: int) -> float:
    given = float(c.attribute("scale", 0.0))
    return given if given else 1 / math.sqrt(features) if features else 1.0


def attended(c: Node, q: Value, k: Value, v: Value, masks: Sequence[Value]) -> Value:
    """The mean of values by the softmax of scores plus masks, for heads apart."""
    scores = c.emit("matmul", q, c.transpose(k, (0, 1, 3, 2)))
    scores = c.emit("mul", scores, c.scalar(_scale(c, q.type.shape[-1]), scores))
    if (cap := float(c.attribute("softcap", 0.0))) > 0:
        scores = c.emit("mul", c.emit("tanh", c.emit("div", scores, c.scalar(cap, scores))), c.scalar(cap, scores))
    if masks:
        first, *others = (c.cast(mask, scores.type.dtype) for mask in masks)
        for other in others:
            first = c.emit("add", first, other)
        scores = c.emit("add", scores, first)
    return c.emit("matmul", c.emit("softmax", scores, axis=3), v)


@dataclass(frozen=True)
class Sizes:
    """Of scores [samples, heads, rows, total]."""

    samples: int
    rows: int
    """Of queries."""
    past: int
    """Keys of former calls."""
    total: int
    """Keys, those of former calls included."""
    dtype: DType


def masks_of(c: Node, place: int, sizes: Sizes, *, causal: bool, bias: int) -> list[Value]:
    """What is added to scores [N, heads, rows, total]: by an input that says what counts and by order, and a bias."""
    lowest = LOWEST_OF_HALF if sizes.dtype == DType.F16 else LOWEST
    fill = max(float(c.attribute("mask_filter_value", -10000.0)), lowest)
    mask = _given(c, place, sizes, fill) if c.has(place) else None
    if causal and sizes.rows > 1:
        if sizes.total > sizes.past + sizes.rows:  # ONNX Runtime hides those in between alone
            c.unsupported(f"`unidirectional` says nothing of {sizes.total} keys for {sizes.rows} queries")
        ahead = np.arange(sizes.total) > np.arange(sizes.rows)[:, None] + sizes.past
        if mask is None:
            mask = c.made(np.where(ahead, lowest, 0).astype(np.float32).reshape(1, 1, sizes.rows, sizes.total))
        else:
            mask = c.emit("select", c.made(ahead.reshape(1, 1, *ahead.shape)), c.scalar(lowest, mask), mask)
    return [*([] if mask is None else [mask]), *([c.value(bias)] if c.has(bias) else [])]


def _given(c: Node, place: int, sizes: Sizes, fill: float) -> Value:
    """The mask of an input: numbers of 0 where a key doesn't count, or where the keys of each sample end and begin."""
    given, samples, total = c.value(place), sizes.samples, sizes.total
    shape = given.type.shape
    if shape in ((samples,), (2 * samples,)):
        places = c.made(np.arange(total, dtype=np.int32))
        ends = c.reshape(c.cast(cut(c, given, 0, 0, samples), DType.I32), (samples, 1))
        outside = c.emit("greater_equal", places, ends)
        if shape != (samples,):
            begins = c.reshape(c.cast(cut(c, given, 0, samples, samples), DType.I32), (samples, 1))
            outside = c.emit("logical_or", outside, c.emit("less", places, begins))
        outside = c.reshape(outside, (samples, 1, 1, total))
    elif shape in ((samples, total), (samples, sizes.rows, total)):
        outside = c.emit("less_equal", given, c.scalar(0, given))
        outside = c.reshape(outside, (samples, 1, *((1,) if len(shape) == 2 else ()), *shape[1:]))
    else:
        c.unsupported(f"a mask {given.type} for {sizes.rows} queries and {total} keys is not supported")
    return c.emit("select", outside, c.builder.scalar(fill, DType.F32), c.builder.scalar(0, DType.F32))
