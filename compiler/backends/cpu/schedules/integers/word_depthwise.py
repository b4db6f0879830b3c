"""Depthwise convolution of 8-bit integers on processors that add two products of 16-bit numbers to each sum at once.

All is as in `integer_depthwise`, with two input rows in place of four, which are widened when they are interleaved.
Weights are stored in 16 bits, without their zero point.
"""

from __future__ import annotations

from .....graph.ir import Value
from .....loops.ir import Buffer, Cast, Dot2Words, Expr, Interleave
from .....lowering.group import Group
from .....lowering.kernel import Packed, Scheduled, packing_step
from .....targets.target import DotProduct, Target
from .....types import DType
from .integer_depthwise import IntegerDepthwise, window_of_depthwise
from .word_contraction import PAIR


def schedule_word_depthwise(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule a depthwise sum of integer products, on a machine with products of 16-bit numbers."""
    window = window_of_depthwise(group, target.vector_lanes) if target.dot_product is DotProduct.WORDS else None
    return () if window is None else (WordDepthwise(group, window, target, threads).schedule(),)


class WordDepthwise(IntegerDepthwise):
    """Writes the kernel of one depthwise convolution by products of pairs of words."""

    together = PAIR
    costs = (4, 2)
    multiply = Dot2Words
    loads_ahead = True
    needs_input_sums = False
    left = DType.I16

    def interleaved(self, rows: tuple[Expr, ...]) -> Expr:
        """Elements of two input rows as products take them."""
        return Cast(Interleave(rows), DType.I16)

    def _declare_weight(self, weight: Value, shape: tuple[int, ...]) -> Buffer:
        zero = self.signs.weight_zero
        pack = packing_step("pack_depthwise", **self._order, offset=zero, together=PAIR)
        return self.parameters.add(Buffer("w", DType.I16, shape), Packed(weight, (pack,)))
