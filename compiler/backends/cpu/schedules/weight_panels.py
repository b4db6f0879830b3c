"""Weights that the program computes or changes, copied into the panels that a register tile reads front to back.

As they lie, the filters of a tile are a line of memory in each row, as a rule a power of two behind that of the row
before: the lines displace each other from the caches, and lie in as many pages as there are rows. What is loaded once
is packed then (see `contraction`); the rest is worth copying in each run where many pixels multiply it.
"""

from __future__ import annotations

from ....graph.ir import Value
from ....loops.ir import Buffer, Const, Expr, Load, Space, Stmt, Store
from ....lowering.kernel import Names, Parameters, Scheduled
from ....lowering.loops import kind_for, loop, vector_loop
from ....types import DType, TensorType

LEAST_PIXELS = 96
"""Multiplications of each weight that is copied."""


class WeightPanels:
    """The panels of one weight, by the filters of a panel: kernels with tiles of one width share them."""

    def __init__(self, weight: Value, depth: int, filters: int) -> None:
        self.weight, self.depth, self.filters = weight, depth, filters
        self._copies: dict[int, Value] = {}

    def of(self, width: int) -> Value:
        """The copy with so many filters a panel: [panel][depth][filter]; the last panel may be filled in part."""
        if width not in self._copies:
            shape = (-(-self.filters // width), self.depth, width)
            self._copies[width] = Value(TensorType(self.weight.type.dtype, shape))
        return self._copies[width]

    def schedule(self, lanes: int) -> list[Scheduled]:
        """The kernels that copy."""
        return [self._copy(copy, lanes) for copy in self._copies.values()]

    def _copy(self, copy: Value, lanes: int) -> Scheduled:
        names, parameters = Names(), Parameters()
        dtype, (_, _, width) = copy.type.dtype, copy.type.shape
        w = parameters.add(Buffer("w", dtype, (self.depth, self.filters)), self.weight)
        panels = parameters.add(Buffer("panels", dtype, copy.type.shape, Space.OUT), copy)

        def move(row: Expr, panel: Expr, filters: int) -> list[Stmt]:
            first = panel * width

            def vector(c: Expr, count: int) -> list[Stmt]:
                return [Store(panels, (panel, row, c), Load(w, (row, first + c), count))]

            return vector_loop(names, filters, lanes, vector)

        def row_of(row: Expr) -> list[Stmt]:
            whole, rest = divmod(self.filters, width)
            main = loop("panel", whole, lambda panel: move(row, panel, width)) if whole else []
            return [*main, *(move(row, Const(whole), rest) if rest else [])]

        body = loop("row", self.depth, row_of, kind_for(self.depth * self.filters))
        return parameters.scheduled(body, multiplies=0)


def are_copied(weight: Value, pixels: int, width: int, filters: int) -> bool:
    """Whether a weight is worth copying for tiles of `width` filters, and so many pixels that multiply it."""
    return weight.type.dtype in (DType.F32, DType.F64) and pixels >= LEAST_PIXELS and filters > width
