"""Scattering: each update is read once and goes to its place.

The generic lowering asks every update about every element of the result. Here a thread fills its columns of the result,
those of a slice, and then goes through all updates in their order: so no two threads meet, and the sums are the same
for every number of them. Where a slice is a single element, one thread does it all.
"""

from __future__ import annotations

import math

from ....loops.ir import (
    Binary,
    Buffer,
    Cast,
    Const,
    Expr,
    If,
    Kernel,
    Load,
    LoopKind,
    Space,
    Stmt,
    Store,
    Var,
    binary,
    const,
)
from ....lowering.group import Group
from ....lowering.kernel import Names, Scheduled, let
from ....lowering.loops import ceil_div, kind_for, loop, vector_loop
from ....ops.indexing import place
from ....targets.target import Target

LEAST = 16
"""Fewest columns that a thread takes."""


def schedule_scatter(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule scatter_nd and last_update by themselves; empty for others."""
    anchor = group.anchor
    if anchor.name not in ("scatter_nd", "last_update") or len(group.members) != 1:
        return ()
    operands, result = [v.type for v in anchor.operands], group.result.type
    if result.layout or any(t.layout for t in operands) or not result.size or not operands[0].size:
        return ()
    if any(v not in group.outer for v in anchor.operands):
        return ()
    return (_Scatter(group, target, threads).schedule(),)


class _Scatter:
    def __init__(self, group: Group, target: Target, threads: int) -> None:
        self.group = group
        anchor = group.anchor
        indices, result = anchor.operands[0].type, group.result.type
        self.depth = indices.shape[-1]
        self.leading = result.shape[: self.depth]
        self.rows = math.prod(self.leading)
        self.columns = math.prod(result.shape[self.depth :])
        self.count = math.prod(indices.shape[:-1])
        self.lanes = target.vector_lanes
        shares = 2 * threads if threads > 1 else 1
        self.band = max(LEAST, LEAST * ceil_div(self.columns, LEAST * shares))
        self.adds = anchor.name == "scatter_nd"
        self.names = Names()
        self.indices = Buffer("i", indices.dtype, (self.count, self.depth))
        self.updates = Buffer("u", result.dtype, (self.count, self.columns))
        self.y = Buffer("y", result.dtype, (self.rows, self.columns), Space.OUT)

    def schedule(self) -> Scheduled:
        bands = ceil_div(self.columns, self.band)
        kind = kind_for((self.rows + self.count) * self.columns) if bands > 1 else LoopKind.SERIAL
        if bands == 1:
            body = self._columns(0, self.columns)
        else:
            whole, rest = divmod(self.columns, self.band)
            test = Binary("lt", Var("p"), Const(whole))

            def band(p: Expr) -> list[Stmt]:
                full = self._columns(p * self.band, self.band)
                return [If(test, tuple(full), tuple(self._columns(whole * self.band, rest)))] if rest else full

            body = loop("p", bands, band, kind)
        params = (self.indices, *((self.updates,) if self.adds else ()), self.y)
        arguments = [self.group.outer[v] for v in self.group.anchor.operands]
        return Scheduled(Kernel("", params, tuple(body)), (*arguments, *self.group.operation.results))

    def _columns(self, start: Expr | int, width: int) -> list[Stmt]:
        """Some columns of the result, from the first update to the last."""

        def fill(row: Expr) -> list[Stmt]:
            def store(column: Var, lanes: int) -> list[Stmt]:
                zero = const(0 if self.adds else -1, Load(self.y, (Const(0), Const(0)), lanes).type)
                return [Store(self.y, (row, self._from(start, column)), zero)]

            return vector_loop(self.names, width, self.lanes, store)

        def put(update: Expr) -> list[Stmt]:
            statements: list[Stmt] = []
            row = let(statements, self.names.fresh("row"), self._row(update))

            def store(column: Var, lanes: int) -> list[Stmt]:
                where = self._from(start, column)
                old = Load(self.y, (row, where), lanes)
                if not self.adds:
                    return [Store(self.y, (row, where), Cast(update, old.type.dtype))]
                return [Store(self.y, (row, where), binary("add", old, Load(self.updates, (update, where), lanes)))]

            return [*statements, *vector_loop(self.names, width, self.lanes, store)]

        return [
            *loop(self.names.fresh("r"), self.rows, fill),
            *loop(self.names.fresh("n"), self.count, put),
        ]

    def _from(self, start: Expr | int, column: Expr) -> Expr:
        return column if isinstance(start, int) and not start else column + start

    def _row(self, update: Expr) -> Expr:
        """The row that an update names."""
        row: Expr = Const(0)
        for d, size in enumerate(self.leading):
            row = row * size + place(Load(self.indices, (update, Const(d))), size)
        return row
