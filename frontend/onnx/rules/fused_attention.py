"""Attention as ONNX Runtime's optimizers write it, with masks and caches.

Source: ONNX Runtime's list of contributed operators. Each is spelt out as products with a softmax between them, which
`form-attention` makes one operation.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ....compiler.graph.ir import Value
from ..node import Node
from ..registry import onnx
from .attention_parts import Sizes, attended, cut, heads_of, joined, masks_of
from .contributed import DOMAIN, as_floats
from .convolutions import product

Results = tuple[Value | None, ...]

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
    q, k, v = (heads_of(c, cut(c, projected, 2, b, w), heads) for b, w in zip(starts, widths, strict=True))
    new = [c.emit("concat", *(c.reshape(part, (1, *part.type.shape)) for part in (k, v)), axis=0)] if c.wants(1) else []
    before = 0
    if c.has(past):
        kept = c.value(past)
        before = kept.type.shape[3]
        cache = [c.reshape(cut(c, kept, 0, i, 1), kept.type.shape[1:]) for i in range(2)]
        k, v = (c.emit("concat", old, part, axis=2) for old, part in zip(cache, (k, v), strict=True))
        new = [c.emit("concat", kept, *new, axis=3)] if new else []
    sizes = Sizes(q.type.shape[0], q.type.shape[2], before, k.type.shape[2], q.type.dtype)
    y = attended(c, q, k, v, masks_of(c, mask, sizes, causal=c.flag("unidirectional"), bias=bias))
    return (joined(c, y), *(new or (None,)))


# ---- without one ----------------------------------------------------------------------------------------------------


@onnx("MultiHeadAttention", domain=DOMAIN)
def multi_head_attention(c: Node) -> Results:
    """Attention of queries, keys and values, which may be packed in one tensor; a bias for each, a cache of both."""
    c.refuse_outputs(3)
    if c.has(8) or c.has(9):
        c.unsupported("caches that are written in place are not supported")
    heads = int(c.needed("num_heads"))
    q, k, v = _operands(c, heads)
    before = 0
    if c.has(6):
        before = c.shape(6)[2]
        k, v = c.emit("concat", c.value(6), k, axis=2), c.emit("concat", c.value(7), v, axis=2)
    sizes = Sizes(q.type.shape[0], q.type.shape[2], before, k.type.shape[2], q.type.dtype)
    y = attended(c, q, k, v, masks_of(c, 4, sizes, causal=c.flag("unidirectional"), bias=5))
    return joined(c, y), k, v


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
        return heads_of(c, parts[0], heads), parts[1], parts[2]
    if c.has(3):
        ends = np.cumsum([0, *(part.type.shape[-1] for part in parts)])
        bias = [cut(c, c.value(3), 0, int(b), int(e - b)) for b, e in pairwise(ends)]
        parts = [c.emit("add", part, b) for part, b in zip(parts, bias, strict=True)]
    q, k, v = (heads_of(c, part, heads) for part in parts)
    return q, k, v


def _unpacked(c: Node, x: Value, count: int) -> list[Value]:
    """[N, rows, heads, count, features] as tensors [N, rows, heads * features]."""
    samples, rows, heads, parts, features = x.type.shape
    if parts != count:
        c.unsupported(f"{x.type} should hold {count} tensors")
    return [c.reshape(cut(c, x, 3, i, 1), (samples, rows, heads * features)) for i in range(count)]
