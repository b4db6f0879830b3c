"""Loops over several dimensions, for operators that state their loops themselves (`Operator.procedure`)."""

from __future__ import annotations

from collections.abc import Callable

from ..loops.compute import Procedure
from ..loops.ir import Expr, Stmt, Var

Body = Callable[[tuple[Expr, ...]], list[Stmt]]


def each(p: Procedure, sizes: tuple[int, ...], body: Body, *, shared: int = 0) -> list[Stmt]:
    """`body` for each index of a shape, in order.

    `shared` counts the operations of all, if iterations write different elements: those of the first dimension that has
    several are shared out to threads.
    """

    def inner(index: tuple[Expr, ...], shared: int) -> list[Stmt]:
        if len(index) == len(sizes):
            return body(index)
        size = sizes[len(index)]
        rest = shared if size == 1 else 0
        return p.loop("i", size, lambda i: inner((*index, i), rest), shared=shared)

    return inner((), shared)


def each_vector(
    p: Procedure, sizes: tuple[int, ...], body: Callable[[tuple[Expr, ...], int], list[Stmt]]
) -> list[Stmt]:
    """`body(index, lanes)` for vectors along the last dimension of a shape; for the only element of an empty shape."""
    if not sizes:
        return body((), 1)

    def vectors(index: tuple[Expr, ...]) -> list[Stmt]:
        def vector(first: Var, lanes: int) -> list[Stmt]:
            return body((*index, first), lanes)

        return p.vectors(sizes[-1], vector)

    return each(p, sizes[:-1], vectors)
