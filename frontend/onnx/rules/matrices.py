"""Determinants and inverses of small matrices, by elimination that is written out."""

from __future__ import annotations

import numpy as np

from ....compiler.graph.ir import Value
from ....compiler.types import DType
from ..node import Node
from ..registry import onnx
from .contributed import DOMAIN

LARGEST = 32
"""Most rows of a matrix; each takes a dozen operations."""


@onnx("Det")
def determinant(c: Node) -> Value:
    """Determinants of matrices."""
    x = c.value(0)
    _, found = _eliminated(c, c.cast(x, DType.F64))
    return c.cast(c.reshape(found, x.type.shape[:-2]), x.type.dtype)


@onnx("Inverse", domain=DOMAIN)
def inverse(c: Node) -> Value:
    """Inverses of matrices; of those that have none, numbers that aren't finite."""
    x = c.value(0)
    size = x.type.shape[-1] if x.type.rank else 0
    unit = c.broadcast(c.made(np.eye(size)), x.type.shape) if size else x
    found, _ = _eliminated(c, c.emit("concat", c.cast(x, DType.F64), c.cast(unit, DType.F64), axis=x.type.rank - 1))
    return c.cast(_columns(c, found, size, size), x.type.dtype)


def _columns(c: Node, x: Value, begin: int, count: int) -> Value:
    """Neighbouring columns of matrices."""
    *front, rows, _ = x.type.shape
    return c.emit("slice", x, begin=(*(0 for _ in front), 0, begin), size=(*front, rows, count))


def _eliminated(c: Node, x: Value) -> tuple[Value, Value]:
    """Matrices [..., n, n] with columns behind them, brought to the unit matrix; their determinants [..., 1, 1].

    The pivot of each column is its largest element, as in LAPACK.
    """
    rank = x.type.rank
    size = x.type.shape[-2] if rank >= 2 else 0
    if not 0 < size <= LARGEST or x.type.shape[-1] not in (size, 2 * size):
        c.unsupported(f"{x.type} are no square matrices of 1 to {LARGEST} rows")
    front = x.type.shape[:-2]
    rows = np.arange(size).reshape(size, 1)
    found = c.full((*front, 1, 1), 1, DType.F64)
    for k in range(size):
        column = _columns(c, x, k, 1)
        sizes = c.emit("select", c.made(rows < k), c.scalar(-1, x), c.emit("abs", column))
        place = c.reshape(c.emit("argmax", sizes, axis=rank - 2), (*front, 1, 1))
        is_pivot = c.emit("equal", c.made(rows), c.cast(place, DType.I64))
        row = c.emit("reduce_sum", c.emit("select", is_pivot, x, c.scalar(0, x)), axes=(rank - 2,), keepdims=True)
        top = c.emit("slice", x, begin=(*(0 for _ in front), k, 0), size=(*front, 1, x.type.shape[-1]))
        x = c.emit("select", is_pivot, top, x)
        pivot = _columns(c, row, k, 1)
        row = c.emit("div", row, pivot)
        rest = c.emit("sub", x, c.emit("mul", _columns(c, x, k, 1), row))
        x = c.emit("select", c.made(rows == k), row, rest)
        stays = c.emit("equal", c.cast(place, DType.I64), c.made(np.array(k)))
        signed = c.emit("mul", found, c.emit("select", stays, pivot, c.emit("neg", pivot)))
        is_singular = c.emit("equal", found, c.scalar(0, found))  # the rows were divided by 0
        found = c.emit("select", is_singular, found, signed)
    return x, found
