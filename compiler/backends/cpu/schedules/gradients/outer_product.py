"""A register tile of sums of outer products, elements of one row by vectors of another, as in gradients of weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .....loops.ir import Allocate, Broadcast, Buffer, Const, Expr, Fma, Load, LoopKind, Space, Stmt, Store
from .....lowering.kernel import Names, let
from .....lowering.loops import loop, starts_of
from .....targets.target import Target
from .....types import DType
from ..tiling import BROADCAST_CYCLES, Tile, Tiling


def outer_tile(channels: int, filters: int, target: Target) -> Tile:
    """The tile, whose columns are channels, for products of rows of so many channels and filters."""
    return Tiling(
        height=1,
        width=channels,
        channels=filters,
        lanes=target.vector_lanes,
        registers=target.vector_registers,
        pixel_cost=BROADCAST_CYCLES,
    ).best()


class OuterProduct:
    """The sums of one tile: `rows` elements by vectors of these widths."""

    def __init__(self, rows: int, widths: Sequence[int], dtype: DType, names: Names) -> None:
        self.rows, self.widths, self.starts, self.dtype, self.names = rows, widths, starts_of(widths), dtype, names
        fresh = names.fresh
        self.sums = [Buffer(fresh("acc"), dtype, (rows,), Space.REGISTER, lanes=w) for w in widths]

    def begin(self) -> list[Stmt]:
        """Sums of nothing."""
        zeros = self.each(lambda s, a, start, width: Store(a, (s,), Const(0.0, self.dtype, width)))
        return [*map(Allocate, self.sums), *zeros]

    def each(self, body: Callable[[Expr, Buffer, int, int], Stmt]) -> list[Stmt]:
        """`body(element, sums, first place of the vector, width)` for all vectors of sums."""

        def row(s: Expr) -> list[Stmt]:
            return [body(s, a, start, w) for a, start, w in zip(self.sums, self.starts, self.widths, strict=True)]

        return loop("s", self.rows, row, LoopKind.UNROLL)

    def add(self, element: Callable[[Expr], Load], vector: Callable[[int, int], Load]) -> list[Stmt]:
        """Add the products of `element(s)` and `vector(first place, width)`, each of which is read once."""
        block: list[Stmt] = []
        places = zip(self.starts, self.widths, strict=True)
        factors = [let(block, self.names.fresh("g"), vector(start, width)) for start, width in places]

        def row(s: Expr) -> list[Stmt]:
            inside: list[Stmt] = []
            a = let(inside, "a", element(s))
            for total, factor in zip(self.sums, factors, strict=True):
                spread = Broadcast(a, total.lanes) if total.lanes > 1 else a
                inside.append(Store(total, (s,), Fma(spread, factor, Load(total, (s,)))))
            return inside

        return [*block, *loop("s", self.rows, row, LoopKind.UNROLL)]
