"""Small helpers that schedules share: loops over ranges and vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

from ..loops.ir import Binary, Const, Expr, For, If, LoopKind, Stmt, Var, minimum
from .kernel import Names, let

PARALLEL_WORK = 60_000
"""Below this many operations a kernel runs on one thread: sharing it out would cost more than it saves."""
LINE = 64
"""Bytes of a cache line."""
PARALLEL_LINES = 64
"""From this many lines on of a tensor, threads share out a kernel: each has its part of the tensor in its cache.

Lines that one core has read cost another one that writes them, later, as much as a hundred operations each.
"""


def ceil_div(a: int, b: int) -> int:
    """A / b, rounded up."""
    return -(-a // b)


def vector_widths(channels: int, lanes: int) -> tuple[int, ...]:
    """Split a number of channels into vectors: full ones first, then ever smaller powers of two."""
    widths: list[int] = []
    while channels:
        while lanes > channels:
            lanes //= 2
        widths.append(lanes)
        channels -= lanes
    return tuple(widths)


def starts_of(widths: Sequence[int]) -> list[int]:
    """Where each of some vectors begins that lie side by side."""
    return [end - width for end, width in zip(accumulate(widths), widths, strict=True)]


def kind_for(work: int, lines: int = 0) -> LoopKind:
    """Parallel if there is enough work to share, or enough memory, else serial."""
    return LoopKind.PARALLEL if work >= PARALLEL_WORK or lines >= PARALLEL_LINES else LoopKind.SERIAL


def loop(var: str, extent: int, body: Callable[[Expr], list[Stmt]], kind: LoopKind = LoopKind.SERIAL) -> list[Stmt]:
    """`body` for 0 <= var < extent; without a loop where there is only one iteration."""
    if extent == 1 and kind is not LoopKind.PARALLEL:
        return body(Const(0))
    return [For(var, Const(0), Const(extent), tuple(body(Var(var))), kind)]


def vector_loop(
    names: Names,
    extent: int,
    lanes: int,
    body: Callable[[Var, int], list[Stmt]],
    kind: LoopKind = LoopKind.SERIAL,
    start: int = 0,
    *,
    twice: bool = False,
) -> list[Stmt]:
    """`body(lane, width)` for vectors that cover `extent` places from `start` on: full ones, then ever smaller ones.

    Where places may be computed `twice`, the last vector is as wide as the others instead of several smaller ones.
    """
    whole, rest = divmod(extent, lanes)
    if twice and len(vector_widths(rest, lanes)) > 1:
        return _overlapping(names, extent, vector_widths(extent, lanes)[0], body, kind, start)

    def full(block_index: Expr) -> list[Stmt]:
        block: list[Stmt] = []
        lane = let(block, names.fresh("c"), block_index * lanes + start)
        return [*block, *body(lane, lanes)]

    last: list[Stmt] = []
    place = start + whole * lanes
    for width in vector_widths(rest, lanes):
        lane = let(last, names.fresh("c"), Const(place))
        last += body(lane, width)
        place += width
    if kind is LoopKind.SERIAL or not last or not whole:
        serial = loop(names.fresh("v"), whole, full, kind) if whole else []
        return [*serial, *last]
    var = names.fresh("v")
    choose = If(Binary("lt", Var(var), Const(whole)), tuple(full(Var(var))), tuple(last))
    return [For(var, Const(0), Const(whole + 1), (choose,), kind)]


def _overlapping(
    names: Names, extent: int, lanes: int, body: Callable[[Var, int], list[Stmt]], kind: LoopKind, start: int
) -> list[Stmt]:
    """Full vectors, the last of which ends where the places do."""

    def vector(v: Expr) -> list[Stmt]:
        block: list[Stmt] = []
        lane = let(block, names.fresh("c"), minimum(v * lanes + start, start + extent - lanes))
        return [*block, *body(lane, lanes)]

    return loop(names.fresh("v"), ceil_div(extent, lanes), vector, kind)
