"""A register tile for processors whose multiplications take one factor from a lane of a vector, as Arm's do.

Neighbouring elements of a pixel come by one load and are multiplied lane by lane: a quarter of the loads of
`micro_kernel`, in the same order of sums.
"""

from __future__ import annotations

from .....loops.ir import Const, Expr, Fma, Load, Spread, Stmt, Store
from .....lowering.kernel import let
from .....types import DType
from ..geometry import Walk
from ..micro_kernel import MicroKernel
from ..owner import Step
from ..storage import widened

QUAD = 4
"""Elements of a load."""


def takes_lanes(g: Walk, dtype: DType) -> bool:
    """Do the elements that a pixel sums over lie side by side, and are there enough?"""
    run = g.window[1] * g.channels if g.merges_columns else g.channels
    return dtype is DType.F32 and g.step == 1 and not g.channel_rows and run >= QUAD


class LaneMicroKernel(MicroKernel):
    """One register tile; a step multiplies four elements of each pixel."""

    elements = QUAD
    products = QUAD

    def _extents(self) -> tuple[int, int]:
        run, outer = super()._extents()
        return run // QUAD, outer

    def _depth(self, kz: Expr, ky: Expr, kx: Expr, k: Expr) -> Expr:
        return super()._depth(kz, ky, kx, k * QUAD)

    @property
    def _last_step(self) -> Step | None:
        rest = super()._extents()[0] % QUAD
        if not rest:
            return None

        def multiply(image: Expr, y: Expr, x: Expr, j: Expr, depth: Expr) -> list[Stmt]:
            single = super(LaneMicroKernel, self)._step
            return [stmt for i in range(rest) for stmt in single(image, y, x + i, j, depth + i)]

        return multiply

    def _step(self, image: Expr, y: Expr, x: Expr, j: Expr, depth: Expr) -> list[Stmt]:
        """Four multiply-adds for every accumulator."""
        o, (sy, sx), pitch = self.o, self.o.g.strides, self.o.g.pitch
        block: list[Stmt] = []
        quads: list[Expr] = []
        for r in range(self.rows):
            for s in range(self.columns):
                place = (image, y + r * sy, x + s * (sx * pitch))
                quads.append(let(block, o.names.fresh("a"), widened(Load(o.x, place, QUAD), o.dtype)))
        for i in range(QUAD):
            weights: list[Expr] = []
            offset = 0
            for width, channel in zip(self.widths, self.channels, strict=True):
                at = o.weight_index(j, depth + i, channel, offset)
                weights.append(let(block, o.names.fresh("w"), widened(Load(o.w, at, width), o.dtype)))
                offset += width
            for pixel, quad in enumerate(quads):
                total = (Const(pixel),)
                for accumulator, weight, width in zip(self.accumulators, weights, self.widths, strict=True):
                    element = Spread(quad, width, width, 1, i)
                    block.append(Store(accumulator, total, Fma(element, weight, Load(accumulator, total))))
        return block
