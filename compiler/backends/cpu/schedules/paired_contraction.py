"""Contractions whose filters leave half a vector idle: two steps of the sum side by side.

24 filters would take two vectors of 16 lanes for each pixel, of which a quarter is idle. Here a vector has eight
filters and two sums for each: one of even steps and one of odd ones, which are added at last. A pair of a pixel's
elements, repeated in all lanes, comes by one load and is multiplied by all vectors.
"""

from __future__ import annotations

from dataclasses import replace

from ....graph.ir import Value
from ....loops.ir import Buffer, Const, Expr, Fma, Load, PairSums, Spread, const
from ....lowering.group import Group
from ....lowering.kernel import Packed
from ....targets.target import Target
from ....types import DType
from .bfloat16_contraction import packing_of_pairs
from .contraction import ContractionEmitter
from .epilogue import side_by_side
from .geometry import Walk
from .micro_kernel import MicroKernel
from .pairs import PAIR, PairKernel
from .partial_sums import cut_of

FINISHED = 3
"""Filters, for each product of a sum, from which on it takes longer to finish twice the sums than half a vector spares
(Zen 5)."""

MOST_VECTORS = 16
"""Of more vectors of filters half a one is next to nothing."""


def is_worth_pairs(group: Group, walk: Walk, target: Target) -> bool:
    """Do the filters of a contraction in f32 leave half a vector idle, and are its sums pairs, which aren't cut?

    That depends neither on threads nor on the batch: these sums round otherwise than those of single steps.
    """
    x, weight = (group.outer[v] for v in group.anchor.operands[:2])
    single = x.type.dtype is weight.type.dtype is group.anchor.result.type.dtype is DType.F32
    if not single or not target.outruns_caches or not group.knows_weight:
        return False
    lanes, filters = target.vector_lanes, weight.type.shape[-1]
    if filters % lanes * PAIR != lanes or filters >= min(FINISHED * walk.depth, MOST_VECTORS * lanes):
        return False
    in_pairs = walk.channels % PAIR == 0 and walk.step == 1 and not walk.channel_rows
    return in_pairs and walk.planes.window == 1 and cut_of(walk.depth, 1, 1, 1) is None


class PairedEmitter(ContractionEmitter):
    """Writes the kernel of one walk."""

    joined_vectors = PAIR

    def __init__(self, group: Group, g: Walk, target: Target, threads: int) -> None:
        super().__init__(group, g, replace(target, vector_lanes=target.vector_lanes // PAIR), threads)

    def _declare_weight(self, weight: Value) -> None:
        self.packed, width, run = True, self.tile.channels, self.g.channels
        self.w = Buffer("w", weight.type.dtype, (self.panels, self.g.depth // PAIR, width * PAIR))
        packing = packing_of_pairs(self.g.depth // run, run, self.filters, width)
        self.parameters.add(self.w, Packed(weight, packing))

    def weight_index(self, j: Expr, depth: Expr, channel: Expr, offset: int) -> tuple[Expr, ...]:
        """Place of the weights of pair `depth`."""
        return (j, depth, Const(offset * PAIR))

    def micro_kernel(self, rows: int, columns: int, widths: tuple[int, ...]) -> MicroKernel:
        """What computes one tile."""
        kernel = PairedMicroKernel(self, rows, columns, widths)
        if self.ahead:
            kernel.ahead = self._by_turns()
        return kernel


class PairedMicroKernel(PairKernel):
    """One register tile."""

    products = PAIR

    def __init__(self, owner: PairedEmitter, rows: int, columns: int, widths: tuple[int, ...]) -> None:
        super().__init__(owner, rows, columns, widths)
        self.accumulators = [replace(each, lanes=each.lanes * PAIR) for each in self.accumulators]
        self.whole_sums = self.accumulators

    def _extents(self) -> tuple[int, int]:
        run, outer = super()._extents()
        return run // PAIR, outer

    def _depth(self, kz: Expr, ky: Expr, kx: Expr, k: Expr) -> Expr:
        plane, row, column = self._tap(kz, ky, kx)
        kernel = self.o.g.kernel
        return ((plane * kernel[0] + row) * kernel[1] + column) * (self.o.g.channels // PAIR) + k

    def _added(self, element: Expr, weight: Expr, total: Expr) -> Expr:
        return Fma(side_by_side([element] * (total.type.lanes // PAIR)), weight, total)

    def _numbered(self, first: int, step: int, v: int, at: tuple[Expr, ...]) -> Expr:
        place = first + v * step
        if step == PAIR:
            return PairSums(*(Load(self.whole_sums[place + i], at) for i in range(PAIR)))
        return super()._numbered(first, step, v, at)

    def _total(self, v: int, at: tuple[Expr, ...]) -> Expr:
        sums = super()._total(v, at)
        even, odd = (Spread(sums, self.widths[v], 1, PAIR, i) for i in range(PAIR))
        # Zero keeps LLVM from adding neighbours by an instruction that half of the registers can't be operands of.
        return (even + const(0, even.type)) + odd
