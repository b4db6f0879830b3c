"""Contractions by tile registers whose inputs don't lie in whole words: they are gathered first.

For runs of bfloat16 of odd length. Filling them up with what comes next and zero weights would do for finite numbers
alone, so a copy of all that a pixel reads ends with zeros instead.
"""

from __future__ import annotations

from .....loops.ir import Allocate, Buffer, Const, Expr, Load, LoopKind, Space, Stmt, Store
from .....lowering.kernel import let
from .....lowering.loops import LINE, ceil_div, loop, vector_widths
from .tile_kernel import Part, TileMicroKernel, TileOwner

WIDEST_COPY = 32
"""Elements that are gathered at once, at most."""


class GatheringMicroKernel(TileMicroKernel):
    """The same with a copy of all that each pixel reads, one run of the sum after the other."""

    def __init__(self, owner: TileOwner, rows: int, columns: int, widths: tuple[int, ...]) -> None:
        super().__init__(owner, rows, columns, widths)
        word, itemsize = owner.elements.word, owner.x.dtype.itemsize
        self.filled = word * owner.cut.total
        """Elements of a pixel that tiles read."""
        self.pitch = ceil_div(self.filled * itemsize, LINE) * LINE // itemsize
        shape = (rows * columns * self.pitch,)
        self.patch = Buffer(owner.names.fresh("patch"), owner.x.dtype, shape, Space.STACK)

    def _accumulate(self, image: Expr, row: Expr, column: Expr, j: Expr) -> None:
        o, g, cut = self.owner, self.owner.g, self.owner.cut
        n, z = self._image(image)
        first = (z * g.planes.stride + g.planes.origin) * g.planes.rows
        y0 = let(self.block, o.names.fresh("iy"), first + row * g.strides[0] + g.origin[0])
        x0 = let(self.block, o.names.fresh("ix"), (column * g.strides[1] + g.origin[1]) * g.pitch)
        self.block.append(Allocate(self.patch))
        self.block += loop(
            o.names.fresh("r"),
            self.rows,
            lambda r: loop(o.names.fresh("s"), self.columns, lambda s: self._gather((n, y0, x0), r, s)),
        )
        place = (Const(0), Const(0), Const(0))
        for words, start, count in ((cut.words, 0, cut.count), (cut.rest, cut.count * cut.words, bool(cut.rest))):
            for step in range(count):
                self.depth = start + step * words
                self.block += self._products(words, place, j, Const(self.depth))

    def _gather(self, first: tuple[Expr, Expr, Expr], r: Expr, s: Expr) -> list[Stmt]:
        """What one pixel reads; zeros fill the last word."""
        (image, y, x), o, g = first, self.owner, self.owner.g
        run, (height, width) = o.run, g.window
        across = 1 if o.merges else width
        start = (r * self.columns + s) * self.pitch

        def copy(kz: Expr, ky: Expr, kx: Expr) -> list[Stmt]:
            row = y + r * g.strides[0] + kz * (g.planes.dilation * g.planes.rows) + ky * g.dilations[0]
            place = x + s * (g.strides[1] * g.pitch) + kx * (g.dilations[1] * g.pitch)
            to, offset, block = start + ((kz * height + ky) * across + kx) * run, 0, list[Stmt]()
            for lanes in vector_widths(run, WIDEST_COPY):
                block.append(Store(self.patch, (to + offset,), Load(o.x, (image, row, place + offset), lanes)))
                offset += lanes
            return block

        name, block = o.names.fresh, list[Stmt]()
        for n in range(g.depth, self.filled):
            block.append(Store(self.patch, (start + n,), Const(0, o.x.dtype)))

        def plane(kz: Expr) -> list[Stmt]:
            def row(ky: Expr) -> list[Stmt]:
                return loop(name("kx"), across, lambda kx: copy(kz, ky, kx))

            return loop(name("ky"), height, row, LoopKind.UNROLL)

        return [*block, *loop(name("kz"), g.planes.window, plane)]

    def _input(self, part: Part, words: int, first: tuple[Expr, Expr, Expr]) -> Load:
        start = (part.row * self.columns + part.start) * self.pitch + self.depth * self.owner.elements.word
        return Load(self.patch, (Const(start),), words * self.owner.elements.word, part.size, self.pitch)
