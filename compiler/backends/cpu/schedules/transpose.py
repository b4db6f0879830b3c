"""Permutations that move the last dimension, tile by tile.

A plain loop nest would touch a new cache line with every element on one of the two sides; inside a tile of lines all
of them are still in the L1 cache when their next element is needed.
"""

from __future__ import annotations

import math

from ....loops.ir import Buffer, Expr, For, Kernel, Load, Space, Stmt, Store, Var, minimum
from ....lowering.group import Group
from ....lowering.kernel import Scheduled
from ....lowering.loops import ceil_div, kind_for, loop
from ....targets.target import Target
from .batch_matmul import divided

TILE = 16
"""Columns of a tile: f32 elements of a cache line."""
TILE_ROWS = 8
"""Rows of a tile; the cache lines of more would displace each other where rows are a power of two apart."""


def schedule_transpose(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule a dense transpose that moves the last dimension; empty for others, and where tiles would be small."""
    anchor = group.anchor
    if anchor.name != "transpose" or len(group.members) != 1:
        return ()
    source, result, order = anchor.operands[0], group.result, anchor.attributes["permutation"]
    if source.type.rank < 2 or source.type.layout or result.type.layout:
        return ()
    columns, rows = source.type.rank - 1, order[-1]  # neighbours in the source, and in the result
    shape = source.type.shape
    if columns == rows or min(shape[rows], shape[columns]) < TILE:
        return ()
    x = Buffer("x", source.type.dtype, shape)
    y = Buffer("y", source.type.dtype, result.type.shape, Space.OUT)
    outer = tuple(d for d in order if d not in (rows, columns))
    bands = ceil_div(shape[columns], TILE)
    sizes = tuple(shape[d] for d in outer)

    def band(p: Expr) -> list[Stmt]:
        block: list[Stmt] = []
        at: dict[int, Expr] = dict(zip(outer, divided(p // bands, sizes, block), strict=True))
        first = p % bands * TILE

        def tile(t: Expr) -> list[Stmt]:
            at.update({rows: Var("r"), columns: Var("c")})
            move = Store(y, tuple(at[d] for d in order), Load(x, tuple(at[d] for d in range(len(order)))))
            inner = For("r", t * TILE_ROWS, _end(t * TILE_ROWS, TILE_ROWS, shape[rows]), (move,))
            return [For("c", first, _end(first, TILE, shape[columns]), (inner,))]

        return [*block, *loop("t", ceil_div(shape[rows], TILE_ROWS), tile)]

    body = loop("p", math.prod(sizes) * bands, band, kind_for(source.type.size))
    return (Scheduled(Kernel("", (x, y), tuple(body)), (group.outer[source], group.operation.result)),)


def _end(start: Expr, extent: int, size: int) -> Expr:
    """Where a tile of `extent` elements ends that starts at `start`."""
    return minimum(start + extent, size) if size % extent else start + extent
