"""What may be done with tiles: they are filled from memory or with zeros, multiplied, and stored to memory.

A tile is no value that other nodes could take: machines have a few of them, and instructions for these steps alone.
So each of the steps is a statement:

    %a[0] = load i8x64 %x[0, %y, %x] rows 14 pitch 256
    %sum[0] = tile_dot4<16>(%a[0], %b[0], %sum[0])
    %stack[0, 0] = %sum[0]
"""

from __future__ import annotations

from collections.abc import Sequence

from .buffers import Buffer
from .ir import Const, Expr, Load, Store, TileProduct
from .violation import check

MOST_TILES = 8
"""Tiles that a kernel may hold at a time."""
MOST_ROWS = 16
ROW_BYTES = 64
"""Most bytes of a row, which are whole words of four."""


def check_tile(buffer: Buffer) -> None:
    """A buffer of tiles has a shape that machines have, or `ViolationError`."""
    rows, width = (buffer.shape or (0,))[-1], buffer.lanes * buffer.dtype.itemsize
    fits = len(buffer.shape) > 1 and 1 <= rows <= MOST_ROWS and buffer.lanes > 1
    fits = fits and width <= ROW_BYTES and width % 4 == 0
    check(fits, f"%{buffer.name} has no tiles of 1 to {MOST_ROWS} rows of words, {ROW_BYTES} bytes at most")


def tiles_read(stmt: Store) -> Sequence[Expr]:
    """The loads of tiles that a statement may hold: what it stores as it is, or multiplies."""
    return stmt.value.operands if isinstance(stmt.value, TileProduct) else (stmt.value,)


def tile_fault(stmt: Store) -> str:
    """Why a statement that writes a tile is none of the steps above; empty if it is one."""
    buffer, value = stmt.buffer, stmt.value
    if isinstance(value, Const):
        return "" if value.value == 0 else "tiles are filled with zeros, or from memory"
    if isinstance(value, Load) and not value.buffer.is_register:
        rows = (value.rows, value.lanes) == (buffer.shape[-1], buffer.lanes)
        return "" if rows or value.rows == 1 else "the rows don't fit the tile"
    if not isinstance(value, TileProduct):
        return "tiles are loaded, or sums of products"
    sums = value.c
    if not isinstance(sums, Load) or (sums.buffer, sums.indices) != (buffer, stmt.indices):
        return "products are added to the tile itself"
    return "" if value.columns == buffer.lanes else "the columns don't fit the tile"
