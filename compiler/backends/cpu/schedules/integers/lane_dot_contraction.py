"""Integer convolutions and dense layers where dot products take four bytes from a lane of a vector, as Arm's `sdot`.

The schedule is that of `integer_contraction`, its weights are packed in the same order, and its sums are the same.
Sixteen neighbours of a pixel come by one load, where that takes four. Weights are loaded two vectors at a time, just
before they are multiplied, so that more registers are left for sums.
"""

from __future__ import annotations

from itertools import product

from .....loops.ir import Buffer, Const, Dot4, Expr, Load, Spread, Stmt, Store
from .....lowering.group import Group
from .....lowering.kernel import Scheduled, let
from .....targets.target import DotProduct, Target
from ..geometry import walks
from ..micro_kernel import MicroKernel
from ..owner import Step
from ..tiling import Tile
from .integer_contraction import DotEmitter, DotMicroKernel, serves
from .signs import QUAD

QUADS = 4
"""Dot products that a vector of input bytes is enough for."""
WEIGHTS = 2
"""Vectors of weights that are loaded together: one instruction loads two."""
LOAD_COST = 1.0
"""Of an instruction that loads, in those of a dot product: what counts is instructions."""


def schedule_lane_dot_contraction(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule a group whose anchor is a sum of integer products, on a machine whose dot products take lanes."""
    if target.dot_product is not DotProduct.NEON or not serves(group):
        return ()
    emitters = [LaneDotEmitter(group, walk, target, threads) for walk in walks(group)]
    if any(e.g.channel_rows or e.run_length <= QUAD for e in emitters):
        return ()
    return tuple(emitter.schedule() for emitter in emitters)


class LaneDotEmitter(DotEmitter):
    """Writes the kernel of one integer contraction."""

    vector_cost = LOAD_COST / WEIGHTS
    held_vectors = WEIGHTS

    def _choose_tile(self, target: Target) -> Tile:
        if self.g.groups > 1:
            self._count_reading(target)
        return super()._choose_tile(target)

    def _count_reading(self, target: Target) -> None:
        self.pixel_cost = LOAD_COST / QUADS + self.pixel_registers  # an instruction each for a sum of inputs
        self.pixel_registers += 1

    def micro_kernel(self, rows: int, columns: int, widths: tuple[int, ...]) -> MicroKernel:
        """What computes one tile."""
        return LaneDotMicroKernel(self, rows, columns, widths)


class LaneDotMicroKernel(DotMicroKernel):
    """One register tile; a step multiplies sixteen bytes of each pixel."""

    elements = QUADS * QUAD
    products = QUADS

    def _extents(self) -> tuple[int, int]:
        quads, outer = super()._extents()
        return quads // QUADS, outer

    def _depth(self, kz: Expr, ky: Expr, kx: Expr, k: Expr) -> Expr:
        quads, outer = super()._extents()
        return ((kz * self.dot.g.window[0] + ky) * outer + kx) * quads + k * QUADS

    @property
    def _last_step(self) -> Step | None:
        rest = super()._extents()[0] % QUADS
        if not rest:
            return None
        parts = [part for part in (2, 1) if rest & part]  # vectors have a power of two of bytes

        def multiply(image: Expr, y: Expr, x: Expr, j: Expr, depth: Expr) -> list[Stmt]:
            block: list[Stmt] = []
            for part in parts:
                block += self._multiply(part, (image, y, x), j, depth)
                x, depth = x + part * QUAD, depth + part
            return block

        return multiply

    def _step(self, image: Expr, y: Expr, x: Expr, j: Expr, depth: Expr) -> list[Stmt]:
        return self._multiply(QUADS, (image, y, x), j, depth)

    def _multiply(self, count: int, first: tuple[Expr, Expr, Expr], j: Expr, depth: Expr) -> list[Stmt]:
        """`count` dot products for every sum."""
        block: list[Stmt] = []
        inputs = [self._inputs(block, count, first, r, s) for r, s in product(range(self.rows), range(self.columns))]
        for i in range(count):
            lane = [vector if count == 1 else Spread(vector, QUAD, 1, 1, i * QUAD) for vector in inputs]
            for number in range(0, len(self.widths), WEIGHTS):
                some = range(number, min(number + WEIGHTS, len(self.widths)))
                weights = [self._weight(block, j, depth + i, v) for v in some]
                for pixel, four in enumerate(lane):
                    for v, weight in zip(some, weights, strict=True):
                        block.append(_added(self.accumulators[v], pixel, four, weight))
            for width, sums in sorted(self.sums.items()):
                ones = self._ones(block, depth + i, width)
                block += [_added(sums, pixel, four, ones) for pixel, four in enumerate(lane)]
        return block

    def _inputs(self, block: list[Stmt], count: int, first: tuple[Expr, Expr, Expr], r: int, s: int) -> Expr:
        """`count` times four neighbours of a pixel."""
        o, g, (image, y, x) = self.dot, self.dot.g, first
        place = (image, y + r * g.strides[0], x + s * (g.strides[1] * g.pitch))
        return let(block, o.names.fresh("a"), o.signs.as_left(Load(o.x, place, count * QUAD)))

    def _weight(self, block: list[Stmt], j: Expr, depth: Expr, v: int) -> Expr:
        """Those of a vector of filters."""
        o, offset = self.dot, sum(self.widths[:v])
        return let(
            block, o.names.fresh("w"), Load(o.w, (o.panel(j), depth, Const(offset * QUAD)), self.widths[v] * QUAD)
        )


def _added(sums: Buffer, pixel: int, four: Expr, weight: Expr) -> Store:
    """Four products added to a pixel's sums."""
    at = (Const(pixel),)
    return Store(sums, at, Dot4(four, weight, Load(sums, at)))
