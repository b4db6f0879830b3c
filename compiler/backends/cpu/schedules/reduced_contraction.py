"""Integer convolutions and dense layers on processors that add sixteen products of bytes to a scalar (Arm's Helium).

As in `pair_contraction`, the input elements that a tile of pixels sums over are gathered on the stack, and serve all
filters; here they stay bytes. The weights of a filter lie one after the other. Both are filled up to whole vectors.
"""

from __future__ import annotations

from functools import partial

from ....graph.ir import Value
from ....loops.ir import Allocate, Buffer, Const, DotAll, Expr, Load, Space, Stmt, Store, VectorType, const
from ....lowering.group import Group
from ....lowering.kernel import Packed, Scheduled, let, packing_step
from ....lowering.loops import ceil_div, kind_for, loop
from ....targets.target import DotProduct, Target
from ....types import DType
from .geometry import Walk, walks
from .integer_contraction import serves
from .pair_contraction import PATCH_BYTES, PairEmitter, PairMicroKernel, unrolled
from .signs import QUAD

LANES = 16


def schedule_reduced_contraction(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule a group whose anchor is a sum of integer products, on a machine that reduces vectors of products."""
    if target.dot_product is not DotProduct.REDUCED or not serves(group):
        return ()
    found = walks(group)
    if any(walk.groups > 1 or walk.planes.count > 1 for walk in found):
        return ()
    emitters = [ReducedEmitter(group, walk, target, threads) for walk in found]
    if any(e.signs.needs_input_sums or e.patch.bytes > PATCH_BYTES for e in emitters):
        return ()
    return tuple(emitter.schedule() for emitter in emitters)


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

    def schedule(self) -> Scheduled:
        """The kernel and its arguments."""
        bands = self.grid.count * self.g.images
        first = self.steps * QUAD

        def clear(pixel: Expr) -> list[Stmt]:
            zero = const(0, VectorType(DType.I8, QUAD))
            places = range(first, self.vectors * LANES, QUAD)
            return [Store(self.patch, (pixel, Const(place)), zero) for place in places]

        def band(p: Expr) -> list[Stmt]:
            start = loop("q", self.tile.pixels, clear) if first < self.vectors * LANES else []
            return [Allocate(self.patch), *start, *self._band(p, Const(0), self.tile.widths)]

        return self.parameters.scheduled(loop("p", bands, band, kind_for(self.group.macs)))

    def panel_kernel(self, rows: int, columns: int, widths: tuple[int, ...]) -> PairMicroKernel:
        """What computes one tile."""
        return ReducedMicroKernel(self, rows, columns, widths)

    def _fill(self, pixels: tuple[int, int], image: Expr, row: Expr, column: Expr) -> list[Stmt]:
        """The statements that gather the inputs of a tile in the patch."""
        g, block = self.g, list[Stmt]()
        y0 = let(block, self.names.fresh("iy"), row * g.strides[0] + g.origin[0])
        x0 = let(block, self.names.fresh("ix"), (column * g.strides[1] + g.origin[1]) * g.pitch)
        across = 1 if g.merges_columns else g.window[1]
        lanes = LANES if self.run_length % LANES == 0 else QUAD

        def move(ky: Expr, kx: Expr, k: Expr) -> list[Stmt]:
            inside: list[Stmt] = []
            to = (ky * across + kx) * (self.inner * QUAD) + k * lanes
            for r in range(pixels[0]):
                for s in range(pixels[1]):
                    x = x0 + (kx * (g.dilations[1] * g.pitch) + k * lanes + s * g.strides[1] * g.pitch)
                    place = (image, y0 + ky * g.dilations[0] + r * g.strides[0], x)
                    some = let(inside, self.names.fresh("a"), self.signs.as_left(Load(self.x, place, lanes)))
                    inside.append(Store(self.patch, (Const(r * pixels[1] + s), to), some))
            return inside

        def taps(ky: Expr) -> list[Stmt]:
            return loop("kx", across, lambda kx: loop("k", self.inner * QUAD // lanes, partial(move, ky, kx)))

        return [*block, *loop("ky", g.window[0], taps)]


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
