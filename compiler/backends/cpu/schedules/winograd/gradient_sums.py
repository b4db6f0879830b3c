"""Gradient of a 3x3 convolution's weight by Winograd's filtering: sums of products at the points, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .....graph.ir import Value
from .....loops.ir import (
    Buffer,
    Const,
    Expr,
    For,
    If,
    Load,
    Stmt,
    Store,
    Var,
)
from .....lowering.group import Group
from .....lowering.kernel import Names, Parameters, let
from .....lowering.loops import vector_loop, vector_widths
from .....ops.windows import winograd as f43
from .....ops.windows.window import Window
from ..gradients.outer_product import OuterProduct
from ..linear import square
from ..tiling import Tile, split
from .tiles import Points, Source

Total = Callable[[int, Expr, int], Expr]
"""The sums of a channel at a point: its number, the first filter, how many."""


@dataclass(frozen=True, slots=True)
class PointSums:
    """Sums over tiles, at a point, of products of an input's channel and a gradient's filter."""

    inputs: Points
    gradients: Points
    sums: Points
    """Rows [channel, filter] of a point each; `pitch` is the number of filters."""
    tile: Tile
    """Sums in registers: its columns are channels."""
    names: Names
    lanes: int

    def of_point(self, q: Expr, first: Expr, tiles: Expr, *, begins: Expr | bool) -> list[Stmt]:
        """The products of `tiles` tiles from `first` on, at point `q`; added to what is there unless a sum `begins`.

        They are summed up apart before, which keeps rounding small.
        """
        statements: list[Stmt] = []
        for first_channel, rows, channels in split(self.inputs.channels, self.tile.columns):
            for first_filter, panels, filters in split(self.gradients.channels, self.tile.channels):
                i, j = self.names.fresh("i"), self.names.fresh("j")
                place = Var(i) * channels + first_channel, Var(j) * filters + first_filter
                body = self._register_tile((q, *place), (first, tiles), channels, filters, begins)
                inner = For(j, Const(0), Const(panels), tuple(body))
                statements.append(For(i, Const(0), Const(rows), (inner,)))
        return statements

    def _register_tile(
        self,
        place: tuple[Expr, Expr, Expr],
        tiles: tuple[Expr, Expr],
        channels: int,
        filters: int,
        begins: Expr | bool,
    ) -> list[Stmt]:
        """`channels` x vectors of sums, from a place (point, channel, filter) on."""
        block: list[Stmt] = []
        q, c, f = place
        sums, left, right = self.sums, self.inputs, self.gradients
        tile = OuterProduct(channels, vector_widths(filters, self.lanes), sums.buffer.dtype, self.names)
        channel, start = let(block, self.names.fresh("c"), c), let(block, self.names.fresh("f"), f)
        first, count = tiles

        def multiply(t: Expr) -> list[Stmt]:
            inside: list[Stmt] = []
            number = let(inside, self.names.fresh("t"), first + t)
            products = tile.add(
                lambda s: Load(left.buffer, (left.first + q, Const(0), number * left.pitch + channel + s)),
                lambda offset, width: Load(
                    right.buffer, (right.first + q, Const(0), number * right.pitch + start + offset), width
                ),
            )
            return [*inside, *products]

        def at(s: Expr, offset: int) -> tuple[Expr, ...]:
            return (sums.first + q, Const(0), (channel + s) * sums.pitch + start + offset)

        block += [*tile.begin(), For("tile", Const(0), count, tuple(multiply(Var("tile"))))]
        begun = tile.each(lambda s, a, offset, width: Store(sums.buffer, at(s, offset), Load(a, (s,))))
        added = tile.each(
            lambda s, a, offset, width: Store(
                sums.buffer, at(s, offset), Load(sums.buffer, at(s, offset), width) + Load(a, (s,))
            )
        )
        if isinstance(begins, bool):
            return [*block, *(begun if begins else added)]
        return [*block, If(begins, tuple(begun), tuple(added))]


def input_source(group: Group, window: Window, parameters: Parameters) -> Source:
    """The input of a weight's gradient as tiles are read of it; it becomes a parameter."""
    x = group.anchor.operands[0]
    top, left = (m[0] - p[0] for m, p in zip(x.type.margins[1:-1], window.padding, strict=True))
    return _source("x", x, (top, left), group, parameters)


def gradient_source(group: Group, parameters: Parameters) -> Source:
    """The same of dy."""
    dy = group.anchor.operands[1]
    return _source("dy", dy, (dy.type.margins[1][0], dy.type.margins[2][0]), group, parameters)


def _source(name: str, value: Value, origin: tuple[int, int], group: Group, parameters: Parameters) -> Source:
    images, rows, columns, pitch = value.type.buffer_shape
    buffer = parameters.add(Buffer(name, value.type.dtype, (images, rows, columns * pitch)), group.outer[value])
    return Source(buffer, origin, pitch, value.type.shape[-1])


def filters_from_points(
    dw: Buffer, total: Total, names: Names, lanes: int, channel: Expr, filters: tuple[Expr, int]
) -> list[Stmt]:
    """Bring sums back to filter elements dw[3][3][channel][filter], for some filters (the first, their number)."""
    back = tuple(zip(*f43.FILTER, strict=True))
    side = range(f43.POINTS)
    first, count = filters

    def vector(f: Expr, width: int) -> list[Stmt]:
        block: list[Stmt] = []

        def name(e: Expr) -> Expr:
            return let(block, names.fresh("t"), e)

        points = [[name(total(i * f43.POINTS + k, f, width)) for k in side] for i in side]
        elements = square(back, points, name)
        return block + [
            Store(dw, (Const(y), Const(x), channel, first + f), value)
            for y, line in enumerate(elements)
            for x, value in enumerate(line)
        ]

    return vector_loop(names, count, lanes, vector)
