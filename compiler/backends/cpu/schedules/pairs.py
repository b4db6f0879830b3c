"""Micro-kernels whose steps multiply pairs of neighbouring elements."""

from __future__ import annotations

from ....loops.ir import Expr, Load
from .micro_kernel import MicroKernel

PAIR = 2


class PairKernel(MicroKernel):
    """A register tile; a step takes a pair of a pixel's elements, and a pair of weights for each sum."""

    elements = PAIR

    def _loaded_weights(self, place: tuple[Expr, ...], width: int) -> Expr:
        return Load(self.o.w, place, width * PAIR)

    def _element(self, place: tuple[Expr, ...]) -> Expr:
        return Load(self.o.x, place, PAIR)
