"""Integer convolutions and dense layers on processors that add sixteen products of bytes to a scalar (Arm's Helium).

As in `pair_contraction`, the input elements that a tile of pixels sums over are gathered on the stack, and serve all
filters; here they stay bytes. The weights of a filter lie one after the other. Both are filled up to whole vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from .....graph.ir import Value
from .....loops.ir import Buffer, Const, DotAll, Expr, Load, Space, Stmt, Store, VectorType, const
from .....lowering.group import Group
from .....lowering.kernel import Packed, Scheduled, let, packing_step
from .....lowering.loops import ceil_div, loop
from .....targets.target import DotProduct, Target
from .....types import DType
from ..geometry import Walk
from ..micro_kernel import MicroKernel
from .pair_contraction import PairEmitter, PairMicroKernel, scheduled_by, unrolled
from .signs import QUAD

LANES = 16


def schedule_reduced_contraction(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule a group whose anchor is a sum of integer products, on a machine that reduces vectors of products."""
    return scheduled_by(ReducedEmitter, group, target, threads) if target.dot_product is DotProduct.REDUCED else ()


class ReducedEmitter(PairEmitter):
    """Writes the kernel of one integer contraction."""

    def __init__(self, group: Group, g: Walk, target: Target, threads: int) -> None:
        super().__init__(group, g, target, threads)
        self.last_widths = (1,) * sum(self.last_widths)  # sums are scalars
        self.patch = Buffer("patch", DType.I8, (self.tile.pixels, self.vectors * LANES), Space.STACK)

    @property
    def vectors(self) -> int:
        """Vectors of the whole sum."""
        return ceil_div(self.steps * QUAD, LANES)

    def _declare_panels(self, weight: Value) -> int:
        rest = self.vectors * LANES - self.steps * QUAD
        pack = [packing_step("pack_dot4", rows=self.runs, width=1, offset=self.signs.weight_offset)]
        pack.append(packing_step("reshape", shape=(self.filters, self.steps * QUAD)))
        pack += [packing_step("pad", padding=((0, 0), (0, rest)))] if rest else []
        self.w = Buffer("w", DType.I8, (self.filters, self.vectors * LANES))
        self.parameters.add(self.w, Packed(weight, tuple(pack)))
        return self.steps

    def _clear(self) -> list[Stmt]:
        places = range(self.steps * QUAD, self.vectors * LANES, QUAD)
        zero = const(0, VectorType(DType.I8, QUAD))

        def clear(pixel: Expr) -> list[Stmt]:
            return [Store(self.patch, (pixel, Const(place)), zero) for place in places]

        return loop("q", self.tile.pixels, clear) if places else []

    def micro_kernel(self, rows: int, columns: int, widths: tuple[int, ...]) -> MicroKernel:
        """What computes one tile."""
        return ReducedMicroKernel(self, rows, columns, widths)

    @property
    def gathered(self) -> int:
        """A vector, where runs are made of whole ones."""
        return LANES if self.run_length % LANES == 0 else QUAD

    def _run(self, gather: Callable[[Expr], list[Stmt]]) -> list[Stmt]:
        return loop("k", self.inner * QUAD // self.gathered, gather)

    def _keep(self, loaded: Expr, pixel: Expr, tap: Expr, k: Expr) -> list[Stmt]:
        block, place = list[Stmt](), tap * (self.inner * QUAD) + k * self.gathered
        some = let(block, self.names.fresh("a"), self.signs.as_left(loaded))
        return [*block, Store(self.patch, (pixel, place), some)]


class ReducedMicroKernel(PairMicroKernel):
    """One tile of integer sums, whose inputs lie in the patch."""

    def _accumulate(self, image: Expr, row: Expr, column: Expr, j: Expr) -> None:
        o = self.pairs
        assert isinstance(o, ReducedEmitter)
        first = let(self.block, o.names.fresh("c"), j * o.tile.channels)
        self.block += unrolled("k", o.vectors, partial(self._reduce, first))

    def _reduce(self, first: Expr, step: Expr) -> list[Stmt]:
        o, block = self.pairs, list[Stmt]()
        at = step * LANES
        weights = [let(block, o.names.fresh("w"), Load(o.w, (first + f, at), LANES)) for f in range(len(self.widths))]
        for pixel in range(self.rows * self.columns):
            some = let(block, o.names.fresh("a"), Load(o.patch, (Const(pixel), at), LANES))
            place = (Const(pixel),)
            for accumulator, weight in zip(self.accumulators, weights, strict=True):
                block.append(Store(accumulator, place, DotAll(some, weight, Load(accumulator, place))))
        return block
