"""Contractions of bfloat16 with sums in f32, on machines that add two products to each sum at once.

The schedule is that of `contraction`; one step of the micro-kernel takes two neighbouring input elements of a pixel and
a pair for each channel. A run of the sum that is contiguous in the input may have an odd length; its last element is
paired with zero, as is its weight: whatever lies behind it may be infinite.
"""

from __future__ import annotations

import math
from functools import partial

from ....graph.ir import Value
from ....loops.ir import Buffer, Const, Dot2Bfloat16, Expr, Interleave, Load
from ....lowering.group import Group
from ....lowering.kernel import Packed, PackingStep, Scheduled, packing_step
from ....lowering.loops import ceil_div
from ....targets.target import Target
from ....types import DType
from .contraction import MORE_ASKING_PIXELS, NEXT_SHARE, ContractionEmitter
from .geometry import Walk, walks
from .micro_kernel import MicroKernel
from .owner import Step
from .pairs import PAIR, PairKernel
from .storage import as_stored

QUICK_LATENCY = 6
"""Cycles from one product of a sum to the next, on a core that multiplies two vectors of pairs in a cycle (Zen 5)."""
NEAR_SHARE = 0.17
"""Part of the L2 cache, on such a core, from which a channel tile's weights come beside the multiplications."""


def schedule_bfloat16_contraction(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule a contraction without groups both of whose operands are stored as bfloat16; empty for others."""
    stored = as_pairs(group)
    if stored is None or not target.has_bfloat16:
        return ()
    found = walks(stored)
    if any(walk.step != 1 or walk.channel_rows for walk in found):
        return ()
    return tuple(Bfloat16Emitter(stored, walk, target, threads).schedule() for walk in found)


def as_pairs(group: Group) -> Group | None:
    """A contraction without groups as its operands are stored, if they are bfloat16 and the weight is known; or None.

    The weight is known when weights are loaded.
    """
    if not group.anchor.operator.contraction:
        return None
    stored = as_stored(group)
    anchor = stored.anchor
    if any(v not in stored.outer for v in anchor.operands) or anchor.attributes.get("groups", 1) > 1:
        return None
    if anchor.result.type.dtype is not DType.F32 or any(v.type.dtype is not DType.I16 for v in anchor.operands[:2]):
        return None
    return stored if stored.knows_weight else None


def packing_of_pairs(runs: int, run: int, filters: int, width: int) -> tuple[PackingStep, ...]:
    """Makes panels [filters / width][pair of the sum][channel, element] of a weight; each run is filled up to pairs."""
    steps, panels = ceil_div(run, PAIR), ceil_div(filters, width)
    surplus = panels * width - filters
    packing = [
        packing_step("reshape", shape=(runs, run, filters)),
        packing_step("pad", padding=((0, 0), (0, steps * PAIR - run), (0, surplus))),
        packing_step("reshape", shape=(runs * steps, PAIR, panels, width)),
        packing_step("transpose", permutation=(2, 0, 3, 1)),
        packing_step("reshape", shape=(panels, runs * steps, width * PAIR)),
    ]
    if not surplus and run % PAIR == 0:
        del packing[1]
    return tuple(packing)


def merges_rows(g: Walk) -> bool:
    """True if a row of the window is one run of the sum, in the input as in the weight."""
    return g.merges_columns and g.window[1] == g.kernel[1]


class Bfloat16Emitter(ContractionEmitter):
    """Writes the kernel of one walk."""

    fewest_vectors = 2
    """Each broadcast serves two multiplications at least (a little faster on Zen 4)."""

    def __init__(self, group: Group, g: Walk, target: Target, threads: int) -> None:
        self.is_quick = target.bfloat16_units > 1
        if self.is_quick:
            self.latency = QUICK_LATENCY
        super().__init__(group, g, target, threads)
        if self.is_quick:
            panel = math.prod(self.w.shape[1:])
            fits = 2 * panel * self.w.dtype.itemsize <= target.l2_bytes * NEXT_SHARE
            self.next_panel = panel if fits else 0

    def _units(self, target: Target) -> int:
        return max(target.float_units, target.bfloat16_units)

    def _near_vectors(self, target: Target) -> float:
        if not self.is_quick or self._pixels == 1 or not self.g.depth:
            return super()._near_vectors(target)
        vector = self.g.depth * target.vector_lanes * self.x_type.dtype.itemsize
        return max(2.0, target.l2_bytes * NEAR_SHARE / vector)

    def _waits_for_weights(self, target: Target) -> bool:
        if not self.is_quick:
            return super()._waits_for_weights(target)
        return self._has_large_weight and self._pixels in MORE_ASKING_PIXELS

    @property
    def merges(self) -> bool:
        """See `merges_rows`."""
        return merges_rows(self.g)

    @property
    def run_length(self) -> int:
        """Elements of the sum that are contiguous in the input."""
        return self.g.channels * (self.g.kernel[1] if self.merges else 1)

    def _declare_weight(self, weight: Value) -> None:
        self.packed = True
        run, width = self.run_length, self.tile.channels
        runs = self.g.depth // run
        self.w = Buffer("w", DType.I16, (self.panels, runs * ceil_div(run, PAIR), width * PAIR))
        self.parameters.add(self.w, Packed(weight, packing_of_pairs(runs, run, self.filters, width)))

    def weight_index(self, j: Expr, depth: Expr, channel: Expr, offset: int) -> tuple[Expr, ...]:
        """Place of the weights of pair `depth`."""
        return (j, depth, Const(offset * PAIR))

    def micro_kernel(self, rows: int, columns: int, widths: tuple[int, ...]) -> MicroKernel:
        """What computes one tile."""
        kernel = Bfloat16MicroKernel(self, rows, columns, widths)
        if self.ahead and self.is_quick:
            kernel.ahead = self._by_turns()
        elif self.ahead:
            kernel.ahead = lambda step: (step, self.ahead)
        return kernel


class Bfloat16MicroKernel(PairKernel):
    """One register tile of sums."""

    products = PAIR

    def __init__(self, owner: Bfloat16Emitter, rows: int, columns: int, widths: tuple[int, ...]) -> None:
        super().__init__(owner, rows, columns, widths)
        self.pairs = owner

    def _extents(self) -> tuple[int, int]:
        return self.pairs.run_length // PAIR, 1 if self.pairs.merges else self.o.g.window[1]

    def _depth(self, kz: Expr, ky: Expr, kx: Expr, k: Expr) -> Expr:
        plane, row, column = self._tap(kz, ky, kx)
        kernel = self.o.g.kernel
        run = plane * kernel[0] + row
        if not self.pairs.merges:
            run = run * kernel[1] + column
        return run * ceil_div(self.pairs.run_length, PAIR) + k

    def _added(self, element: Expr, weight: Expr, total: Expr) -> Expr:
        return Dot2Bfloat16(element, weight, total)

    @property
    def _last_step(self) -> Step | None:
        return partial(self._products_of, self._last_element) if self.pairs.run_length % PAIR else None

    def _last_element(self, place: tuple[Expr, ...]) -> Expr:
        """What a run of odd length ends with, and zero."""
        return Interleave((Load(self.o.x, place), Const(0, DType.I16)))
