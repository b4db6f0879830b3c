"""The end of a register tile: what is made of its sums, and stored.

A short epilogue is expanded for all pixels of the tile. A long one, such as the fixed-point arithmetic of several
integer operators, would make thousands of instructions that way, which take long to compile and don't fit the
instruction cache. There the sums go through the stack, and loops over vectors of channels and pixels take them from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

from ....graph.ir import Value
from ....loops.ir import (
    Allocate,
    Buffer,
    Const,
    Expr,
    FixedMul,
    Join,
    Let,
    Load,
    LoopKind,
    Space,
    Stmt,
    Store,
    VectorType,
)
from ....lowering.elements import Loaded
from ....lowering.kernel import Names, let
from ....lowering.loops import loop

FIXED_MUL = 16
"""Expressions that a product in fixed point counts for."""

SHORTEST = 4
"""Numbers from one vector on the stack to the next, at least: LLVM would shuffle shorter neighbours into one store."""

Finish = Callable[[Expr, Expr, Expr], list[Stmt]]
"""The statements for the pixel in row r and column s of a tile, with its sums."""
Begin = Callable[[Expr], tuple[list[Stmt], Finish]]
"""What is the same for all pixels of vector number v of channels, and the rest for each pixel."""


@dataclass(frozen=True, slots=True)
class Channels:
    """A vector of channels of the results of a tile."""

    tile: tuple[Expr, Expr, Expr]
    """Image, row and column of the tile's first pixel."""
    first: Expr
    width: int
    loaded: Loaded
    """What all pixels share."""


def loaded_once(
    block: list[Stmt], names: Names, operands: Mapping[Value, Buffer], channels: int, channel: Expr, lanes: int = 1
) -> Loaded:
    """The elements at `channel`, one for each lane, of operands with one for each channel: all pixels share them."""
    vectors = [value for value in operands if value.type.shape == (channels,)]
    return {(v, (channel,)): let(block, names.fresh("k"), Load(operands[v], (channel,), lanes)) for v in vectors}


def finished_at_once(vectors: int, most: int) -> Iterator[int]:
    """How many of so many vectors are finished together, one time after the other: powers of two, the largest first."""
    while vectors:
        most = min(most, 1 << vectors.bit_length() - 1)
        yield most
        vectors -= most


def finished_together(widths: Sequence[int], most: int) -> Iterator[tuple[int, int, int, int]]:
    """How epilogues take vectors of these widths: number of the first, width, how many are joined, and how often."""
    first = 0
    for width, same in groupby(widths):
        for step, equal in groupby(finished_at_once(len(list(same)), most if width > 1 else 1)):
            units = len(list(equal))
            yield first, width, step, units
            first += units * step


def side_by_side(vectors: Sequence[Expr]) -> Expr:
    """The lanes of vectors, of which there are a power of two, one after the other."""
    while len(vectors) > 1:
        vectors = [Join(a, b) for a, b in zip(vectors[::2], vectors[1::2], strict=True)]
    return vectors[0]


def epilogue(
    vectors: int,
    kind: VectorType,
    total: Callable[[int, tuple[Expr, ...]], Expr],
    begin: Begin,
    pixels: tuple[int, int],
    names: Names,
    longest: int,
) -> list[Stmt]:
    """What is made of a tile of rows and columns of pixels, with vectors of channels that have equal widths.

    `total` gives the finished sums of vector v, of this type, for the pixel at a place of the tile; an expanded
    epilogue has at most `longest` expressions (`Target.longest_epilogue`).
    """
    rows, columns = pixels

    def each(body: Callable[[Expr, Expr], list[Stmt]], kind: LoopKind = LoopKind.UNROLL) -> list[Stmt]:
        inner = kind if rows == 1 else LoopKind.UNROLL
        return loop("r", rows, lambda r: loop("s", columns, lambda s: body(r, s), inner), kind)

    zero = Const(0)
    before, finish = first = begin(zero)
    length = _length([*before, *finish(zero, zero, total(0, (zero,)))])
    if rows * columns * vectors * length <= longest:
        block: list[Stmt] = []
        for v, (start, rest) in enumerate([first, *(begin(Const(v)) for v in range(1, vectors))]):
            block += [*start, *each(partial(_expanded, rest, partial(total, v), columns))]
        return block
    lanes, count = kind.lanes, rows * columns
    stack = Buffer(names.fresh("totals"), kind.dtype, (vectors * count, max(lanes, SHORTEST)), Space.STACK)

    def spill(r: Expr, s: Expr) -> list[Stmt]:
        at = r * columns + s
        return [Store(stack, (at + v * count, zero), total(v, (at,))) for v in range(vectors)]

    def vector(v: Expr) -> list[Stmt]:
        before, finish = begin(v)

        def take(r: Expr, s: Expr) -> list[Stmt]:
            return finish(r, s, Load(stack, (v * count + r * columns + s, zero), lanes))

        return [*before, *each(take, LoopKind.SERIAL)]

    return [Allocate(stack), *each(spill), *loop("v", vectors, vector)]


def _expanded(finish: Finish, total: Callable[[tuple[Expr, ...]], Expr], columns: int, r: Expr, s: Expr) -> list[Stmt]:
    return finish(r, s, total((r * columns + s,)))


def _length(statements: Sequence[Stmt]) -> int:
    """Number of expressions in statements without loops."""
    return sum(_size(s.value) for s in statements if isinstance(s, Let | Store))


def _size(expression: Expr) -> int:
    own = FIXED_MUL if isinstance(expression, FixedMul) else 1
    return own + sum(map(_size, expression.operands))
