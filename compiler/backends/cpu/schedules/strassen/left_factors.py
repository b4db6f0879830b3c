"""The left factors of Strassen's products, made of pairs of pixels."""

from __future__ import annotations

from dataclasses import dataclass

from .....loops.ir import Buffer, Const, Expr, Load, Stmt, Store
from .....lowering.kernel import Names, let
from .....lowering.loops import vector_loop
from .....ops.products import strassen
from .....ops.products.strassen import HALVES, PRODUCTS
from ..geometry import Pair
from .pairs import Pairs


@dataclass(frozen=True, slots=True)
class LeftFactors:
    """Where inputs lie, and where the factors made of them go."""

    pairs: Pairs
    inputs: Buffer
    """[image, row, channel of a pixel]."""
    origin: Pair
    """Row and column of the pixel for the first result."""
    strides: Pair
    """From one to the next."""
    apart: int
    """From the channels of a pixel to those of the next."""
    channels: int
    """Of a half."""
    scales: Buffer
    """Powers of two that channels are multiplied by."""
    factors: Buffer
    """[7 of each thread][1][channel of a pair]."""
    pitch: int
    """From the factors of a pair to those of the next."""
    names: Names
    lanes: int

    def of_pair(self, n: Expr, pair: Expr, p: Expr, place: Expr) -> list[Stmt]:
        """Make those of a pair of image n, for thread p, where the pair has this place."""
        (sy, sx), (top, left) = self.strides, self.origin
        block: list[Stmt] = []
        places: list[tuple[Expr, Expr]] = []
        for s in range(HALVES):
            y, x = self.pairs.place_of(let(block, self.names.fresh("pixel"), self.pairs.pixel(pair, s)))
            y = let(block, self.names.fresh("iy"), y * sy + top)
            places.append((y, let(block, self.names.fresh("ix"), (x * sx + left) * self.apart)))

        def vector(c: Expr, width: int) -> list[Stmt]:
            return self._vector(n, places, p, place, c, width)

        return [*block, *vector_loop(self.names, self.channels, self.lanes, vector)]

    def _vector(
        self, n: Expr, places: list[tuple[Expr, Expr]], p: Expr, place: Expr, c: Expr, width: int
    ) -> list[Stmt]:
        """Make those of `width` channels from c on."""
        block: list[Stmt] = []
        channel = [c + half * self.channels for half in range(HALVES)]
        scales = [let(block, self.names.fresh("e"), Load(self.scales, (at,), width)) for at in channel]

        def element(s: int, half: int) -> Expr:
            y, x = places[s]
            number = Load(self.inputs, (n, y, x + channel[half]), width)
            return let(block, self.names.fresh("d"), number * scales[half])

        a11, a12, a21, a22 = (element(s, half) for s in range(HALVES) for half in range(HALVES))
        at = let(block, self.names.fresh("at"), place * self.pitch + c)
        for q, value in enumerate(strassen.left_factors((a11, a12, a21, a22))):
            block.append(Store(self.factors, (p * PRODUCTS + q, Const(0), at), value))
        return block
