"""Rotary embedding: the place of a token as an angle by which pairs of its features are turned."""

from __future__ import annotations

import numpy as np

from ....compiler.graph.ir import Value
from ....compiler.types import DType
from ..node import Node
from ..registry import onnx
from .attention_parts import cut, heads_of, joined
from .contributed import DOMAIN


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
        x = heads_of(c, x, count if part > 0 else x.type.shape[2] // width)
    rows = x.type.shape[2]
    if places.type.size == 1 and places.type.rank == 1:
        places = c.emit("add", c.made(np.arange(rows)), c.cast(places, DType.I64))
    y = turned(c, x, places, c.value(2), c.value(3), interleaved=c.flag("interleaved"))
    return y if by_head else joined(c, y)


def turned(c: Node, x: Value, places: Value, cosines: Value, sines: Value, *, interleaved: bool) -> Value:
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
    part = cut(c, x, 3, 0, 2 * half)
    if interleaved:
        pairs = c.reshape(part, (*front, half, 2))
        first, second = (c.reshape(cut(c, pairs, 4, i, 1), (*front, half)) for i in range(2))
    else:
        first, second = (cut(c, part, 3, i * half, half) for i in range(2))
    new = (
        c.emit("sub", c.emit("mul", first, cos), c.emit("mul", second, sin)),
        c.emit("add", c.emit("mul", second, cos), c.emit("mul", first, sin)),
    )
    if interleaved:
        apart = (c.reshape(x, (*front, half, 1)) for x in new)
        y = c.reshape(c.emit("concat", *apart, axis=4), (*front, 2 * half))
    else:
        y = c.emit("concat", *new, axis=3)
    rest = features - 2 * half
    return c.emit("concat", y, cut(c, x, 3, 2 * half, rest), axis=3) if rest else y
