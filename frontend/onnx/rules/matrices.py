"""Determinants and inverses of small matrices, by elimination that is written out."""

from __future__ import annotations

from functools import partial

import numpy as np

from ....compiler.graph.ir import Value
from ....compiler.types import DType
from ...elimination import MOST_ROWS, eliminated
from ..node import Node
from ..registry import onnx
from .contributed import DOMAIN


@onnx("Det")
def determinant(c: Node) -> Value:
    """Determinants of matrices; 0 for those that have no inverse."""
    x = c.value(0)
    *front, _ = _checked(c, x).type.shape[:-1]
    _, pivots = _eliminated(c, c.cast(x, DType.F64))
    found = c.full((*front, 1, 1), 1, DType.F64)
    for k, (place, pivot) in enumerate(pivots):
        stays = c.emit("equal", place, _number(c, k))
        signed = c.emit("mul", found, c.emit("select", stays, pivot, c.emit("neg", pivot)))
        is_singular = c.emit("equal", found, c.scalar(0, found))  # further pivots are no numbers
        found = c.emit("select", is_singular, found, signed)
    return c.cast(c.reshape(found, tuple(front)), x.type.dtype)


@onnx("Inverse", domain=DOMAIN)
def inverse(c: Node) -> Value:
    """Inverses of matrices; of those that have none, numbers that aren't finite."""
    x = _checked(c, c.value(0))
    *front, size = x.type.shape[:-1]
    unit = c.broadcast(c.made(np.eye(size)), x.type.shape)
    wide = c.emit("concat", c.cast(x, DType.F64), unit, axis=x.type.rank - 1)
    found, _ = _eliminated(c, wide)
    found = c.emit("slice", found, begin=(*(0 for _ in front), 0, size), size=(*front, size, size))
    return c.cast(found, x.type.dtype)


def _eliminated(c: Node, x: Value) -> tuple[Value, list[tuple[Value, Value]]]:
    """See `eliminated`."""
    rows = c.made(np.arange(x.type.shape[-2], dtype=np.int32).reshape(-1, 1))
    return eliminated(c.emit, partial(_number, c), rows, x, x.type.shape)


def _number(c: Node, value: float) -> Value:
    return c.builder.scalar(value, DType.I32 if isinstance(value, int) else DType.F64)


def _checked(c: Node, x: Value) -> Value:
    """Matrices that are square and not too large."""
    sizes = x.type.shape[-2:]
    if len(sizes) < 2 or sizes[0] != sizes[1] or not 0 < sizes[0] <= MOST_ROWS:
        c.unsupported(f"{x.type} are no square matrices of 1 to {MOST_ROWS} rows")
    return x
