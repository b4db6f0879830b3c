"""Register tiles of the products at one of Winograd's points: tiles of the image by filters."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .....loops.ir import Buffer, Const, Expr, Load, Prefetch, Stmt, Store, Var
from .....lowering.loops import LINE
from ..integers.lane_kernel import LaneMicroKernel
from ..micro_kernel import MicroKernel
from .filters import Chunks

CHUNK = Var("chunk")
"""Number of the chunk of filters that is multiplied."""
Place = Callable[[Expr], tuple[Expr, ...]]


class Product(MicroKernel):
    """A register tile of the products at one point: tiles by filters, stored as they are.

    With chunks of filters they are added to the products of the chunks before.
    """

    chunk: Chunks | None = None
    part: Expr | int = 0
    """Where in a row of the products those of this part of the channels begin."""
    cuts_sums = False
    """Of what Winograd's filtering rounds, sums over the channels are the lesser part."""
    asked: Place | None = None
    """By a step: the place of the weights that it asks for, of which the first vector is the last index."""

    def emit(self, image: Expr, row: Expr, column: Expr, j: Expr) -> list[Stmt]:
        """The statements for the tile whose first pixel is (row, column) of `image`."""
        self.first = (image, row, column)
        return super().emit(image, row, column, j)

    def _asked(self, j: Expr, depth: Expr, channel: Expr, offset: int) -> list[Stmt]:
        first = offset * self.elements
        if self.asked is None or first * self.o.w.dtype.itemsize % LINE:
            return []
        return [Prefetch(self.o.w, (*self.asked(depth), Const(first)))]

    def _start(self, j: Expr) -> None:
        super()._start(j)
        if self.chunk is None:
            return
        for accumulator, place in self._places():

            def load(r: Expr, s: Expr, a: Buffer = accumulator, at: Place = place) -> list[Stmt]:
                return [Store(a, (r * self.columns + s,), Load(self.o.y, at(s), a.lanes))]

            self.block += self._pixels(load)

    def _first_input(self, j: Expr) -> Expr | int:
        return CHUNK * self.chunk.channels if self.chunk is not None else 0

    def _places(self) -> Iterator[tuple[Buffer, Place]]:
        """The accumulators, and where the products of column s lie."""
        (image, row, column), offset = self.first, 0
        for accumulator, width in zip(self.accumulators, self.widths, strict=True):

            def place(s: Expr, start: int = offset) -> tuple[Expr, ...]:
                return (image, row, (column + s) * self.o.tile.channels + start + self.part)

            yield accumulator, place
            offset += width

    def _finish(self, image: Expr, row: Expr, column: Expr) -> None:
        for accumulator, place in self._places():

            def store(r: Expr, s: Expr, a: Buffer = accumulator, at: Place = place) -> list[Stmt]:
                return [Store(self.o.y, at(s), Load(a, (r * self.columns + s,)))]

            self.block += self._pixels(store)


class LaneProduct(LaneMicroKernel, Product):
    """The same on processors that multiply by lanes."""
