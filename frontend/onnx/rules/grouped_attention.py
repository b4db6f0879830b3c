"""Attention in which groups of heads share keys and values, with a cache of these, as language models have it."""

from __future__ import annotations

import math

import numpy as np

from ....compiler.graph.ir import Value
from ....compiler.types import DType
from ..node import Node
from ..registry import onnx
from .attention_parts import attended, cut, heads_of, joined
from .contributed import DOMAIN
from .rotary import turned


@onnx("GroupQueryAttention", domain=DOMAIN)
def group_query_attention(c: Node) -> tuple[Value, ...]:
    """Causal attention in which heads of queries share those of keys, with a cache that grows to a given length."""
    c.refuse_outputs(3)
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
        places = _places(c, begins, rows, is_first=is_first)
        in_pairs = c.flag("rotary_interleaved")
        q, k = (turned(c, x, places, c.value(7), c.value(8), interleaved=in_pairs) for x in (q, k))
    total = max(length, kept)
    k, v = (_in_cache(c, x, place, begins, total) for x, place in ((k, 3), (v, 4)))
    keys, values = (_for_each(c, x, heads // shared) for x in (k, v))
    y = attended(c, q, keys, values, _window(c, begins, rows, total))
    return joined(c, y), k, v


def _places(c: Node, begins: Value, rows: int, *, is_first: bool) -> Value:
    """The rows' places in the tables of angles. Of a first prompt an input says that of the first row alone."""
    if c.has(9) and not is_first:
        return c.value(9)
    along = c.made(np.arange(rows, dtype=np.int32))
    if c.has(9):
        first = cut(c, cut(c, c.value(9), 0, 0, 1), 1, 0, 1)
        begins = c.broadcast(c.cast(first, DType.I32), begins.type.shape)
    return c.emit("add", begins, along)


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
        q, k, v = (cut(c, c.value(0), 2, b, w) for b, w in zip(starts, widths, strict=True))
    return heads_of(c, q, heads), heads_of(c, k, shared), heads_of(c, v, shared)


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
    flat = c.reshape(c.transpose(pool, (0, 2, 1, 3)), (samples * pool.type.shape[2], heads, features))
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
    if not c.has(10):
        return [mask]
    bias = c.value(10)
    free = total - bias.type.shape[3]  # of a cache that is longer than what counts
    if free > 0:
        bias = c.emit("concat", bias, c.full((*bias.type.shape[:3], free), 0, bias.type.dtype), axis=3)
    return [mask, bias]
