"""Schedule for 3x3 convolutions of stride 1 by Winograd's filtering F(2x2, 3x3) with products of bfloat16.

All is as in `convolution`, but that inputs and filters are rounded to bfloat16 at their points, where an instruction
multiplies neighbouring channels two at a time. Errors are 1.4 times those of rounded inputs and filters; with
F(4x4, 3x3) they would be four times as large. Weights are packed at their points, [panel][16][pair of
channels][filter][2].
"""

from __future__ import annotations

from functools import partial

from .....graph.ir import Value
from .....loops.ir import Buffer, Const, Dot2Bfloat16, Expr
from .....lowering.group import Group
from .....lowering.kernel import Packed, Scheduled, packing_step
from .....targets.target import Target
from .....types import DType
from ..pairs import PAIR, PairKernel
from ..prefetch import PointsAhead
from .convolution import ConvolutionEmitter
from .filters import packed_at_points
from .products import Product
from .tiles import Points

OF_PAIRS = "winograd_of_pairs"
"""The algorithm."""
BLOCK_SHARE = 0.4
"""Part of the L2 cache that a block's inputs at their points may fill."""


def takes_pairs(channels: int) -> bool:
    """Are so many channels whole pairs?"""
    return channels % PAIR == 0


def schedule_bfloat16_winograd(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule a convolution for which this was chosen: of an even number of channels, by weights that are known."""
    return _PairsEmitter(group, target, threads).schedule()


class _PairsEmitter(ConvolutionEmitter):
    points = DType.I16
    most_vectors = 2  # the products of a block by a wider panel don't stay in the L2 cache

    def _transforms(self) -> bool:
        return False

    def _largest_block(self, target: Target) -> int:
        return max(1, int(target.l2_bytes * BLOCK_SHARE / (self.form.products * self.pitch * self.points.itemsize)))

    def _points(self, first: Expr) -> Points:
        return Points(self.x, first, self.pitch, self.channels, are_bfloat16=True)

    def _declare_points(self, weight: Value) -> None:
        panels, points, width = self.panels, self.form.products, self.tile.channels
        in_floats = (panels, points, self.channels, width)
        at_points = packed_at_points(weight, in_floats, self.filters, flip=self.flip, form=self.form)
        shape = (panels, points, self.channels // PAIR, width * PAIR)
        steps = (
            *at_points.steps,
            packing_step("to_bfloat16"),
            packing_step("reshape", shape=(panels, points, self.channels // PAIR, PAIR, width)),
            packing_step("transpose", permutation=(0, 1, 2, 4, 3)),
            packing_step("reshape", shape=shape),
        )
        self.w = self.parameters.add(Buffer("w", self.points, shape), Packed(weight, steps))

    def _steps(self) -> int:
        return self.channels // PAIR

    def weight_index(self, j: Expr, depth: Expr, channel: Expr, offset: int) -> tuple[Expr, ...]:
        """Place of the weights of pair `depth` at the present point."""
        return (j, self.point, depth, Const(offset * PAIR))

    def _product(self, widths: tuple[int, ...], j: Expr, i: Expr) -> Product:
        product = _PairsProduct(self, 1, self.tile.columns, widths)
        ahead = PointsAhead(self.panels, self.form.products, self._steps(), self.blocks.size // self.tile.columns)
        product.asked = partial(ahead.place, j, self.point, i)
        return product


class _PairsProduct(PairKernel, Product):
    """A register tile of products of pairs of bfloat16."""

    def _added(self, element: Expr, weight: Expr, total: Expr) -> Expr:
        return Dot2Bfloat16(element, weight, total)
