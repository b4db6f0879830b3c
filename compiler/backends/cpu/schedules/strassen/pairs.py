"""Pairs of neighbouring pixels: the halves of the rows that Strassen's multiplication takes."""

from __future__ import annotations

from dataclasses import dataclass

from .....loops.ir import Const, Expr, minimum
from .....lowering.loops import ceil_div
from .....ops.products.strassen import HALVES


@dataclass(frozen=True, slots=True)
class Pairs:
    """The pixels of an image of results, numbered row by row; the last one may have none beside it."""

    pixels: int
    width: int
    """Of a row."""

    @property
    def count(self) -> int:
        """How many pairs there are."""
        return ceil_div(self.pixels, HALVES)

    def pixel(self, pair: Expr, s: Expr | int) -> Expr:
        """Number of pixel s of a pair; of a pair with one pixel, that one's."""
        return minimum(pair * HALVES + s, self.pixels - 1)

    def place_of(self, pixel: Expr) -> tuple[Expr, Expr]:
        """Row and column of a pixel."""
        if self.pixels == self.width:  # said plainly, else threads aren't seen to stay apart
            return Const(0), pixel
        return pixel // self.width, pixel % self.width
