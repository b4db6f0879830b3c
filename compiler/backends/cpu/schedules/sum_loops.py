"""The loops over the products of a sum: planes and rows of the window, runs of a row, steps of a contiguous run.

Short ones are expanded. A long sum is cut into parts (see `partial_sums`), and behind each stands what adds it up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from ....loops.ir import Const, Expr, For, LoopKind, Stmt, Var
from ....lowering.loops import loop
from .geometry import Met
from .partial_sums import Cut

UNROLL_LIMIT = 4
"""Innermost loops up to this length are expanded."""

Run = tuple[Expr, Expr, Expr]
"""Plane, row and number in the row of a run."""
RunStep = Callable[[Run, Expr], list[Stmt]]
"""The multiplications of a step of a run."""


@dataclass(frozen=True, slots=True)
class SumLoops:
    """The loops over one sum."""

    planes: Met
    rows: int
    runs: int
    """Of a row."""
    steps: int
    """Of a run."""
    products: int
    """Of a step."""
    step: RunStep
    last: RunStep | None
    """What a run has after all whole steps."""
    cut: Cut | None
    add: Sequence[Stmt]
    """What adds a part to the total."""

    def emit(self) -> list[Stmt]:
        """All of them."""
        begin, end = self.planes
        if isinstance(begin, Const) and isinstance(end, Const):
            return loop("kz", int(end.value) - int(begin.value), lambda kz: self._plane(kz + begin))
        return [For("kz", begin, end, tuple(self._plane(Var("kz"))))]

    def _plane(self, kz: Expr) -> list[Stmt]:
        return self._ended(2, loop("ky", self.rows, partial(self._row, kz), self._window))

    def _row(self, kz: Expr, ky: Expr) -> list[Stmt]:
        return self._ended(1, loop("kx", self.runs, lambda kx: self._run((kz, ky, kx)), self._window))

    def _run(self, run: Run) -> list[Stmt]:
        rest = self.last(run, Const(self.steps)) if self.last else []
        if self.cut and self.cut.parts > 1:
            return [*loop("part", self.cut.parts, partial(self._part, run)), *(self._ended(0, rest) if rest else [])]
        kind = LoopKind.UNROLL if self._is_short else LoopKind.SERIAL
        steps = loop("k", self.steps, partial(self.step, run), kind) if self.steps else []
        return self._ended(0, [*steps, *rest])

    def _part(self, run: Run, p: Expr) -> list[Stmt]:
        assert self.cut is not None
        first, stop = (q * self.steps // self.cut.parts for q in (p, p + 1))
        return [For("k", first, stop, tuple(self.step(run, Var("k")))), *self.add]

    def _ended(self, level: int, steps: list[Stmt]) -> list[Stmt]:
        return [*steps, *self.add] if self.cut and self.cut.level == level else steps

    @property
    def _is_short(self) -> bool:
        return self.steps * self.products <= UNROLL_LIMIT

    @property
    def _window(self) -> LoopKind:
        whole = self.steps * self.runs * self.rows * self.products
        return LoopKind.UNROLL if self._is_short and whole <= 3 * UNROLL_LIMIT else LoopKind.SERIAL
