"""Attention as ONNX Runtime's optimizers and its builders of language models write it, with masks and caches.

Source: ONNX Runtime's list of contributed operators. Each is spelt out as products with a softmax between them, which
`form-attention` makes one operation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ....compiler.graph.ir import Value
from ....compiler.types import DType
from ..node import Node
from ..registry import onnx
from .contributed import DOMAIN, as_floats
from .convolutions import product

Results = tuple[Value | None, ...]
LOWEST = float(np.finfo(np.float32).min)
"""Added to the scores of what lies ahead."""
LOWEST_OF_HALF = -(2.0**15)
"""The same in f16, with room for a score: rows without any key are no NaNs."""


# ---- parts ----------------------------------------------------------------------------------------------------------


def _heads(c: Node, x: Value, heads: int) -> Value:
    """[N, rows, heads * features] as [N, heads, rows, features]."""
    if x.type.rank != 3 or heads < 1 or x.type.shape[2] % heads:
        c.unsupported(f"{x.type} has no {heads} heads")
    samples, rows, features = x.type.shape
    return c.transpose(c.reshape(x, (samples, rows, heads, features // heads)), (0, 2, 1, 3))


def _joined(c: Node, y: Value) -> Value:
    """[N, heads, rows, features] as [N, rows, heads * features]."""
    samples, heads, rows, features = y.type.shape
    return c.reshape(c.transpose(y, (0, 2, 1, 3)), (samples, rows, heads * features))


def _cut(c: Node, x: Value, axis: int, begin: int, size: int) -> Value:
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


def _attended(c: Node, q: Value, k: Value, v: Value, masks: Sequence[Value]) -> Value:
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
class _Sizes:
    samples: int
    rows: int
    """Of queries."""
    past: int
    """Keys of former calls."""
    total: int
    """Keys, those of former calls included."""
    dtype: DType
    """Of scores."""


def _masks(c: Node, place: int, sizes: _Sizes, *, causal: bool, bias: int) -> list[Value]:
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


def _given(c: Node, place: int, sizes: _Sizes, fill: float) -> Value:
    """The mask of an input: numbers of 0 where a key doesn't count, or where the keys of each sample end and begin."""
    given, samples, total = c.value(place), sizes.samples, sizes.total
    shape = given.type.shape
    if shape in ((samples,), (2 * samples,)):
        places = c.made(np.arange(total, dtype=np.int32))
        ends = c.reshape(c.cast(_cut(c, given, 0, 0, samples), DType.I32), (samples, 1))
        outside = c.emit("greater_equal", places, ends)
        if shape != (samples,):
            begins = c.reshape(c.cast(_cut(c, given, 0, samples, samples), DType.I32), (samples, 1))
            outside = c.emit("logical_or", outside, c.emit("less", places, begins))
        outside = c.reshape(outside, (samples, 1, 1, total))
    elif shape in ((samples, total), (samples, sizes.rows, total)):
        outside = c.emit("less_equal", given, c.scalar(0, given))
        outside = c.reshape(outside, (samples, 1, *((1,) if len(shape) == 2 else ()), *shape[1:]))
    else:
        c.unsupported(f"a mask {given.type} for {sizes.rows} queries and {total} keys is not supported")
    return c.emit("select", outside, c.builder.scalar(fill, DType.F32), c.builder.scalar(0, DType.F32))


def _unsupported_outputs(c: Node, *places: int) -> None:
    for place in places:
        if c.wants(place):
            c.unsupported(f"output {place}, `{c.outputs[place]}`, is not supported")


# ---- with the projection --------------------------------------------------------------------------------------------


@onnx("Attention", domain=DOMAIN)
def attention(c: Node) -> Results:
    """Attention with the products that make queries, keys and values of one tensor."""
    y = product(c, c.value(0), c.value(1), is_weight=c.known(1) is not None)
    return _with_projection(c, c.emit("add", y, c.value(2)) if c.has(2) else y, mask=3, past=4, bias=5)


@onnx("QAttention", domain=DOMAIN)
def quantized_attention(c: Node) -> Results:
    """Attention whose projection multiplies bytes."""
    return _with_projection(c, as_floats(c, (0, 6), (1, 7), (3, 4), 2), mask=5, past=8, bias=9)


def _with_projection(c: Node, projected: Value, mask: int, past: int, bias: int) -> Results:
    c.ignore("rotary_embedding_dim")
    if c.flag("do_rotary") or c.flag("past_present_share_buffer") or c.has(bias + 1):
        c.unsupported("turned places and caches that are written in place are not supported")
    heads, width = int(c.needed("num_heads")), projected.type.shape[-1]
    widths = tuple(c.attribute("qkv_hidden_sizes", ())) or (width // 3,) * 3
    if len(widths) != 3 or sum(widths) != width:
        c.unsupported(f"{width} columns aren't those of queries, keys and values, {list(widths)}")
    starts = (0, widths[0], widths[0] + widths[1])
    q, k, v = (_heads(c, _cut(c, projected, 2, b, w), heads) for b, w in zip(starts, widths, strict=True))
    new = [c.emit("concat", *(c.reshape(part, (1, *part.type.shape)) for part in (k, v)), axis=0)] if c.wants(1) else []
    before = 0
    if c.has(past):
        kept = c.value(past)
        before = kept.type.shape[3]
        cache = [c.reshape(_cut(c, kept, 0, i, 1), kept.type.shape[1:]) for i in range(2)]
        k, v = (c.emit("concat", old, part, axis=2) for old, part in zip(cache, (k, v), strict=True))
        new = [c.emit("concat", kept, *new, axis=3)] if new else []
    sizes = _Sizes(q.type.shape[0], q.type.shape[2], before, k.type.shape[2], q.type.dtype)
    y = _attended(c, q, k, v, _masks(c, mask, sizes, causal=c.flag("unidirectional"), bias=bias))
    return (_joined(c, y), *(new or (None,)))


# ---- of queries, keys and values ------------------------------------------------------------------------------------


@onnx("MultiHeadAttention", domain=DOMAIN)
def multi_head_attention(c: Node) -> Results:
    """Attention of queries, keys and values, which may be packed in one tensor; a bias for each, a cache of both."""
    _unsupported_outputs(c, 3)
    if c.has(8) or c.has(9):
        c.unsupported("caches that are written in place are not supported")
    heads = int(c.needed("num_heads"))
    q, k, v = _operands(c, heads)
    before = 0
    if c.has(6):
        before = c.shape(6)[2]
        k, v = c.emit("concat", c.value(6), k, axis=2), c.emit("concat", c.value(7), v, axis=2)
    sizes = _Sizes(q.type.shape[0], q.type.shape[2], before, k.type.shape[2], q.type.dtype)
    y = _attended(c, q, k, v, _masks(c, 4, sizes, causal=c.flag("unidirectional"), bias=5))
    return _joined(c, y), k, v


def _operands(c: Node, heads: int) -> tuple[Value, Value, Value]:
    """Queries, keys and values, [N, heads, rows, features] each, with their bias."""
    if c.type(0).rank == 5:
        if c.has(1) or c.has(2):
            c.unsupported("packed queries leave no room for keys")
        parts = _unpacked(c, c.value(0), 3)
    elif c.type(1).rank == 5:
        parts = [c.value(0), *_unpacked(c, c.value(1), 2)]
    else:
        parts = [c.value(place) for place in range(3)]
    if parts[1].type.rank == 4:  # keys and values of another network, with heads in front
        if c.has(3):
            c.unsupported("a bias of keys that have their heads in front is not supported")
        return _heads(c, parts[0], heads), parts[1], parts[2]
    if c.has(3):
        ends = np.cumsum([0, *(part.type.shape[-1] for part in parts)])
        bias = [_cut(c, c.value(3), 0, int(b), int(e - b)) for b, e in pairwise(ends)]
        parts = [c.emit("add", part, b) for part, b in zip(parts, bias, strict=True)]
    q, k, v = (_heads(c, part, heads) for part in parts)
    return q, k, v


def _unpacked(c: Node, x: Value, count: int) -> list[Value]:
    """[N, rows, heads, count, features] as tensors [N, rows, heads * features]."""
    samples, rows, heads, parts, features = x.type.shape
    if parts != count:
        c.unsupported(f"{x.type} should hold {count} tensors")
    return [c.reshape(_cut(c, x, 3, i, 1), (samples, rows, heads * features)) for i in range(count)]


# ---- places as turns ------------------------------------------------------------------------------------------------


@onnx("RotaryEmbedding", domain=DOMAIN)
def rotary_embedding(c: Node) -> Value:
    """Pairs of features of each head, turned by an angle for each place."""
    if c.flag("is_packed_batching"):
        c.unsupported("packed samples are not supported")
    c.ignore("scale")
    x, places, width = c.value(0), c.value(1), 2 * c.shape(2)[1]
    part, count = int(c.attribute("rotary_embedding_dim", 0)), int(c.attribute("num_heads", 0))
    if part > 0 and (count < 1 or part != width):
        c.unsupported(f"`rotary_embedding_dim` {part} with `num_heads` {count} and tables of {width} is not supported")
    by_head = x.type.rank == 4
    if not by_head:
        x = _heads(c, x, count if part > 0 else x.type.shape[2] // width)
    rows = x.type.shape[2]
    if places.type.size == 1 and places.type.rank == 1:
        places = c.emit("add", c.made(np.arange(rows)), c.cast(places, DType.I64))
    y = _turned(c, x, places, c.value(2), c.value(3), interleaved=c.flag("interleaved"))
    return y if by_head else _joined(c, y)


def _turned(c: Node, x: Value, places: Value, cosines: Value, sines: Value, *, interleaved: bool) -> Value:
    """Features [N, heads, rows, features] turned by the rows of two tables that stand at `places` [rows] or [N, rows].

    Partners stand beside each other if `interleaved`, else in the first and the second half; features beyond the
    tables stay.
    """
    *front, features = x.type.shape
    half = cosines.type.shape[1]
    if 2 * half > features:
        c.unsupported(f"{half} angles are too many for {features} features")
    angles = (places.type.shape[0] if places.type.rank == 2 else 1, 1, x.type.shape[2], half)
    cos, sin = (c.reshape(c.emit("gather", table, places, axis=0), angles) for table in (cosines, sines))
    turned = _cut(c, x, 3, 0, 2 * half)
    if interleaved:
        pairs = c.reshape(turned, (*front, half, 2))
        first, second = (c.reshape(_cut(c, pairs, 4, i, 1), (*front, half)) for i in range(2))
    else:
        first, second = (_cut(c, turned, 3, i * half, half) for i in range(2))
    new = (
        c.emit("sub", c.emit("mul", first, cos), c.emit("mul", second, sin)),
        c.emit("add", c.emit("mul", second, cos), c.emit("mul", first, sin)),
    )
    if interleaved:
        apart = (c.reshape(part, (*front, half, 1)) for part in new)
        y = c.reshape(c.emit("concat", *apart, axis=4), (*front, 2 * half))
    else:
        y = c.emit("concat", *new, axis=3)
    rest = features - 2 * half
    return c.emit("concat", y, _cut(c, x, 3, 2 * half, rest), axis=3) if rest else y


# ---- groups of heads with a cache -----------------------------------------------------------------------------------


@onnx("GroupQueryAttention", domain=DOMAIN)
def group_query_attention(c: Node) -> Results:
    """Causal attention in which heads of queries share those of keys, with a cache that grows to a given length."""
    _unsupported_outputs(c, 3)
    c.ignore("qk_output", "kv_cache_bit_width", "k_quant_type", "v_quant_type")
    c.ignore("qk_norm_epsilon", "q_norm_epsilon", "k_norm_epsilon")
    if any(c.has(place) for place in range(11, c.count)) or c.flag("smooth_softmax") or c.flag("sliding_window_cache"):
        c.unsupported("sinks, norms of queries and keys, quantized and sliding caches are not supported")
    if not c.flag("causal", True):
        c.unsupported("queries that see what lies behind them are not supported")
    heads, shared = int(c.needed("num_heads")), int(c.needed("kv_num_heads"))
    if shared < 1 or heads % shared:
        c.unsupported(f"{shared} heads of keys for {heads} of queries")
    q, k, v = _in_groups(c, heads, shared)
    samples, _, rows, _ = q.type.shape
    length, kept = int(c.one(6)), c.shape(3)[2] if c.has(3) else 0
    is_first = rows == length
    ends = c.emit("add", c.cast(c.value(5), DType.I32), c.builder.scalar(1, DType.I32))
    begins = c.emit("sub", c.reshape(ends, (samples, 1)), c.builder.scalar(rows, DType.I32))
    begins = c.made(np.zeros((samples, 1), np.int32)) if is_first else begins
    if c.flag("do_rotary"):
        places = c.value(9) if c.has(9) else c.emit("add", begins, c.made(np.arange(rows, dtype=np.int32)))
        in_pairs = c.flag("rotary_interleaved")
        q, k = (_turned(c, x, places, c.value(7), c.value(8), interleaved=in_pairs) for x in (q, k))
    total = max(length, kept)
    k, v = (_in_cache(c, x, place, begins, total) for x, place in ((k, 3), (v, 4)))
    keys, values = (_for_each(c, x, heads // shared) for x in (k, v))
    y = _attended(c, q, keys, values, _window(c, begins, rows, total))
    return _joined(c, y), k, v


def _for_each(c: Node, x: Value, count: int) -> Value:
    """Heads [N, heads, rows, features], each `count` times."""
    samples, heads, rows, features = x.type.shape
    wide = c.broadcast(c.reshape(x, (samples, heads, 1, rows, features)), (samples, heads, count, rows, features))
    return c.reshape(wide, (samples, heads * count, rows, features))


def _in_groups(c: Node, heads: int, shared: int) -> tuple[Value, Value, Value]:
    """Queries, keys and values, [N, heads, rows, features] each; they may stand in one tensor."""
    if c.has(1):
        q, k, v = (c.value(place) for place in range(3))
    else:
        features = c.shape(0)[2] // (heads + 2 * shared)
        widths = (heads * features, shared * features, shared * features)
        starts = (0, widths[0], widths[0] + widths[1])
        q, k, v = (_cut(c, c.value(0), 2, b, w) for b, w in zip(starts, widths, strict=True))
    return _heads(c, q, heads), _heads(c, k, shared), _heads(c, v, shared)


def _in_cache(c: Node, new: Value, place: int, begins: Value, total: int) -> Value:
    """The cache of an input up to where the new rows begin, then these, then zeros: [N, heads, total, features]."""
    samples, heads, rows, features = new.type.shape
    parts = [c.value(place)] if c.has(place) else []
    kept = parts[0].type.shape[2] if parts else 0
    pool = c.emit("concat", *parts, new, c.full((samples, heads, 1, features), 0, new.type.dtype), axis=2)
    slots = c.made(np.arange(total, dtype=np.int32).reshape(1, total))
    behind = c.emit("sub", slots, begins)
    nothing = c.builder.scalar(kept + rows, DType.I32)
    is_new, is_old = (c.emit("less", behind, c.builder.scalar(end, DType.I32)) for end in (rows, 0))
    old = c.emit("minimum", slots, c.builder.scalar(kept - 1, DType.I32)) if kept else nothing
    source = c.emit("select", is_new, c.emit("add", behind, c.builder.scalar(kept, DType.I32)), nothing)
    source = c.emit("select", is_old, old, source)
    if samples == 1:
        return c.emit("gather", pool, c.reshape(source, (total,)), axis=2)
    turned = c.transpose(pool, (0, 2, 1, 3))
    flat = c.reshape(turned, (samples * pool.type.shape[2], heads, features))
    starts = np.arange(samples, dtype=np.int32).reshape(samples, 1) * pool.type.shape[2]
    return c.transpose(c.emit("gather", flat, c.emit("add", source, c.made(starts)), axis=0), (0, 2, 1, 3))


def _window(c: Node, begins: Value, rows: int, total: int) -> list[Value]:
    """What is added to scores: no query sees keys behind its own place, or too far in front of it."""
    samples, window = begins.type.shape[0], int(c.attribute("local_window_size", -1))
    own = c.emit("add", begins, c.made(np.arange(rows, dtype=np.int32)))
    own = c.reshape(own, (samples, 1, rows, 1))
    keys = c.made(np.arange(total, dtype=np.int32).reshape(1, 1, 1, total))
    outside = c.emit("greater", keys, own)
    if window != -1:
        if window < 1:
            c.unsupported(f"`local_window_size` can't be {window}")
        first = c.emit("sub", own, c.builder.scalar(window - 1, DType.I32))
        outside = c.emit("logical_or", outside, c.emit("less", keys, first))
    mask = c.emit("select", outside, c.builder.scalar(-math.inf, DType.F32), c.builder.scalar(0, DType.F32))
    return [mask, *([c.value(10)] if c.has(10) else [])]
