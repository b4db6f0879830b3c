"""Exchanging the last two dimensions, tile by tile.

A plain loop nest would touch a new cache line with every element on one of the two sides; inside a tile of lines all
of them are still in the L1 cache when their next element is needed.
"""

from __future__ import annotations

import math

from ....loops.ir import Buffer, Const, Expr, For, Kernel, Load, Space, Stmt, Store, Var, minimum
from ....lowering.group import Group
from ....lowering.kernel import Scheduled
from ....lowering.loops import ceil_div, kind_for, loop
from ....targets.target import Target

TILE = 16
"""Columns of a tile: f32 elements of a cache line."""
TILE_ROWS = 8
"""Rows of a tile; the cache lines of more would displace each other where rows are a power of two apart."""


def schedule_transpose(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule a dense transpose of the last two dimensions alone; empty for other permutations."""
    anchor = group.anchor
    if anchor.name != "transpose" or len(group.members) != 1:
        return ()
    source, result = anchor.operands[0], group.result
    if source.type.rank < 2:
        return ()
    *outer, rows, columns = source.type.shape
    swapped = (*range(len(outer)), len(outer) + 1, len(outer))
    if anchor.attributes["permutation"] != swapped or source.type.layout or result.type.layout:
        return ()
    if min(rows, columns) < TILE:
        return ()
    matrices, bands = math.prod(outer), ceil_div(columns, TILE)
    x = Buffer("x", source.type.dtype, (matrices, rows, columns))
    y = Buffer("y", source.type.dtype, (matrices, columns, rows), Space.OUT)

    def band(p: Expr) -> list[Stmt]:
        matrix, first = (p // bands, p % bands * TILE) if matrices > 1 else (Const(0), p * TILE)

        def tile(t: Expr) -> list[Stmt]:
            row, column = Var("r"), Var("c")
            move = Store(y, (matrix, column, row), Load(x, (matrix, row, column)))
            inner = For("r", t * TILE_ROWS, _end(t * TILE_ROWS, TILE_ROWS, rows), (move,))
            return [For("c", first, _end(first, TILE, columns), (inner,))]

        return loop("t", ceil_div(rows, TILE_ROWS), tile)

    body = loop("p", matrices * bands, band, kind_for(source.type.size))
    return (Scheduled(Kernel("", (x, y), tuple(body)), (group.outer[source], group.operation.result)),)


def _end(start: Expr, extent: int, size: int) -> Expr:
    """Where a tile of `extent` elements ends that starts at `start`."""
    return minimum(start + extent, size) if size % extent else start + extent
