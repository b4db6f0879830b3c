"""Other orders of dimensions, by rows or tile by tile.

Dimensions that stay neighbours count as one. Where the last one stays, whole rows are copied. Else a plain loop nest
would touch a new cache line with every element on one of the two sides; inside a tile of lines all of them are still in
the L1 cache when their next element is needed. Sixteen rows of bytes are interleaved by vectors, in two steps, and so
are two or four rows whose elements come to stand in turn, as where channels are shuffled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ....loops.ir import (
    Binary,
    Buffer,
    Const,
    Expr,
    For,
    If,
    Interleave,
    Kernel,
    Load,
    Space,
    Spread,
    Stmt,
    Store,
    Var,
    minimum,
    row_major_index,
)
from ....lowering.group import Group
from ....lowering.kernel import Names, Scheduled, let
from ....lowering.loops import ceil_div, kind_for, loop, starts_of, vector_loop, vector_widths
from ....ops.moves.axes import Permutation
from ....targets.target import DotProduct, Target

TILE = 16
"""Columns of a tile: f32 elements of a cache line."""
TILE_ROWS = 8
"""Rows of a tile; the cache lines of more would displace each other where rows are a power of two apart."""


LEAST = 8
"""Rows and columns from which on tiles pay."""
BYTES = 16
"""Rows and columns of a tile of bytes."""
_X86 = (DotProduct.VNNI, DotProduct.WORDS)
"""Where instructions interleave the bytes of two vectors."""
INTERLEAVED = (2, 4)
"""Numbers of rows that vectors can interleave."""


def schedule_transpose(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule a dense transpose by itself; empty where one of the two last dimensions is short."""
    anchor = group.anchor
    if anchor.name != "transpose" or len(group.members) != 1 or anchor.operands[0] not in group.outer:
        return ()
    source, result = anchor.operands[0], group.result
    if source.type.layout or result.type.layout or not source.type.size:
        return ()
    shape, order = collapsed(source.type.shape, anchor.attributes["permutation"])
    if len(shape) < 2 or order == tuple(range(len(shape))):
        return ()
    x = Buffer("x", source.type.dtype, shape)
    y = Buffer("y", source.type.dtype, tuple(shape[d] for d in order), Space.OUT)
    if order[-1] == len(shape) - 1:
        body = _rows(x, y, order, target.vector_lanes)
    elif y.shape[-1] in INTERLEAVED and order in ((1, 0), (0, 2, 1)):
        x, y, body = _interleaved(x, target.vector_lanes)
    elif x.dtype.itemsize == 1 and min(x.shape[-1], y.shape[-1]) >= BYTES and target.dot_product in _X86:
        body = _tiles_of_bytes(x, y, order)
    elif min(x.shape[-1], y.shape[-1]) >= LEAST:
        body = _tiles(x, y, order)
    else:
        return ()
    return (Scheduled(Kernel("", (x, y), tuple(body)), (group.outer[source], group.operation.result)),)


def collapsed(shape: tuple[int, ...], permutation: Permutation) -> tuple[tuple[int, ...], Permutation]:
    """A transpose of fewer dimensions that moves elements alike: those of size 1 go, neighbours that stay are one."""
    runs: list[list[int]] = []
    large = [d for d, size in enumerate(shape) if size != 1]
    for d in (large.index(d) for d in permutation if shape[d] != 1):
        if runs and d == runs[-1][-1] + 1:
            runs[-1].append(d)
        else:
            runs.append([d])
    in_order = sorted(runs)
    sizes = tuple(math.prod(shape[large[d]] for d in run) for run in in_order)
    return sizes, tuple(in_order.index(run) for run in runs)


def _rows(x: Buffer, y: Buffer, order: Permutation, lanes: int) -> list[Stmt]:
    """Rows of the last dimension, each copied as a whole."""
    *outer, last = y.shape

    def row(p: Expr) -> list[Stmt]:
        there = row_major_index(p, tuple(outer))
        here = tuple(there[order.index(d)] for d in range(len(outer)))

        def move(column: Var, width: int) -> list[Stmt]:
            return [Store(y, (*there, column), Load(x, (*here, column), width))]

        return vector_loop(Names(), last, lanes, move)

    return loop("p", math.prod(outer), row, kind_for(math.prod(y.shape)))


def _interleaved(seen: Buffer, lanes: int) -> tuple[Buffer, Buffer, list[Stmt]]:
    """Buffers and loops where a few rows, the last two dimensions of `seen`, are interleaved."""
    *outer, rows, columns = seen.shape
    count = math.prod(outer)
    x = Buffer("x", seen.dtype, (count, rows, columns))
    y = Buffer("y", seen.dtype, (count, columns * rows), Space.OUT)

    def block(p: Expr) -> list[Stmt]:
        def move(column: Var, width: int) -> list[Stmt]:
            parts = tuple(Load(x, (p, Const(row), column), width) for row in range(rows))
            return [Store(y, (p, column * rows), Interleave(parts))]

        return vector_loop(Names(), columns, lanes, move)

    return x, y, loop("p", count, block, kind_for(count * rows * columns))


def _tiles(x: Buffer, y: Buffer, order: Permutation) -> list[Stmt]:
    """Tiles of the two dimensions that are last on one side."""
    last = len(order) - 1
    columns, rows = x.shape[-1], y.shape[-1]
    bands = ceil_div(columns, TILE)
    outer = tuple(d for d in order if d not in (last, order[-1]))

    def band(p: Expr) -> list[Stmt]:
        places = dict(zip(outer, row_major_index(p // bands, tuple(x.shape[d] for d in outer)), strict=True))
        first = p % bands * TILE if outer else p * TILE

        def tile(t: Expr) -> list[Stmt]:
            here = {**places, order[-1]: Var("r"), last: Var("c")}
            there = tuple(here[d] for d in order)
            move = Store(y, there, Load(x, tuple(here[d] for d in range(last + 1))))
            inner = For("r", t * TILE_ROWS, _end(t * TILE_ROWS, TILE_ROWS, rows), (move,))
            return [For("c", first, _end(first, TILE, columns), (inner,))]

        return loop("t", ceil_div(rows, TILE_ROWS), tile)

    return loop("p", math.prod(x.shape[d] for d in outer) * bands, band, kind_for(math.prod(x.shape)))


def _tiles_of_bytes(x: Buffer, y: Buffer, order: Permutation) -> list[Stmt]:
    """Tiles of sixteen rows, whose columns become rows by vectors. The last rows may belong to two tiles."""
    last = len(order) - 1
    columns, rows = x.shape[-1], y.shape[-1]
    whole, rest = divmod(columns, BYTES)
    bands = ceil_div(columns, BYTES)
    outer = tuple(d for d in order if d not in (last, order[-1]))
    names = Names()

    def band(p: Expr) -> list[Stmt]:
        places = dict(zip(outer, row_major_index(p // bands, tuple(x.shape[d] for d in outer)), strict=True))
        number = p % bands if outer else p

        def move(row: Expr, column: Expr, width: int) -> list[Stmt]:
            """Sixteen rows of some columns."""
            block: list[Stmt] = []
            lines = list[Expr]()
            for i in range(BYTES):
                here = {**places, order[-1]: row + i, last: column}
                load = Load(x, tuple(here[d] for d in range(last + 1)), width)
                lines.append(let(block, names.fresh("r"), load))
            # Every fourth row first: then the second step leaves them in order.
            parts = [Interleave(tuple(lines[i::4])) for i in range(4)]
            tile = let(block, names.fresh("t"), Interleave(tuple(let(block, names.fresh("q"), q) for q in parts)))
            for i in range(width):
                there = {**places, order[-1]: row, last: column + i}
                block.append(Store(y, tuple(there[d] for d in order), Spread(tile, BYTES, 1, 1, i * BYTES)))
            return block

        def all_rows(column: Expr, width: int) -> list[Stmt]:
            main = loop(names.fresh("t"), rows // BYTES, lambda t: move(t * BYTES, column, width))
            return [*main, *(move(Const(rows - BYTES), column, width) if rows % BYTES else [])]

        full = all_rows(number * BYTES, BYTES) if whole else []
        widths = vector_widths(rest, BYTES)
        starts = [whole * BYTES + start for start in starts_of(widths)]
        few = [s for start, width in zip(starts, widths, strict=True) for s in all_rows(Const(start), width)]
        if full and few:
            return [If(Binary("lt", number, Const(whole)), tuple(full), tuple(few))]
        return [*full, *few]

    return loop("p", math.prod(x.shape[d] for d in outer) * bands, band, kind_for(math.prod(x.shape)))


def columns_of(rows: Sequence[Expr], names: Names, block: list[Stmt]) -> list[Expr]:
    """The columns of sixteen registers of as many elements; `block` computes what they are part of."""
    quarters = [let(block, names.fresh("quarter"), Interleave(tuple(rows[i::4]))) for i in range(4)]
    columns: list[Expr] = []
    for first in range(0, TILE * TILE // 4, TILE):  # a register each: LLVM shuffles longer vectors worse
        parts = [let(block, names.fresh("part"), Spread(q, TILE, 1, 1, first)) for q in quarters]
        four = let(block, names.fresh("four"), Interleave(tuple(parts)))
        columns += [Spread(four, TILE, 1, 1, i * TILE) for i in range(4)]
    return columns


def _end(start: Expr, extent: int, size: int) -> Expr:
    """Where a tile of `extent` elements ends that starts at `start`."""
    return minimum(start + extent, size) if size % extent else start + extent
