"""Gradient of a 3x3 convolution's weight by Winograd's filtering: sums of products at the points, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ....graph.ir import Value
from ....loops.ir import (
    Allocate,
    Broadcast,
    Buffer,
    Const,
    Expr,
    Fma,
    For,
    If,
    Load,
    LoopKind,
    Space,
    Stmt,
    Store,
    Var,
    VectorType,
    const,
)
from ....lowering.group import Group
from ....lowering.kernel import Names, Parameters, let
from ....lowering.loops import loop, vector_loop, vector_widths
from ....ops import winograd as f43
from ....ops.window import Window
from .linear import square
from .tiling import Tile, split
from .winograd_tiles import Points, Source

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
        widths, dtype, fresh = vector_widths(filters, self.lanes), self.sums.buffer.dtype, self.names.fresh
        sums = [Buffer(fresh("acc"), dtype, (channels,), Space.REGISTER, lanes=w) for w in widths]
        places = [let(block, fresh("f"), f + sum(widths[:v])) for v in range(len(widths))]
        channel = let(block, fresh("c"), c)

        def each(body: Callable[[Expr, Buffer, Expr, int], Stmt]) -> list[Stmt]:
            def row_of(r: Expr) -> list[Stmt]:
                return [body(r, a, place, w) for a, place, w in zip(sums, places, widths, strict=True)]

            return loop("r", channels, row_of, LoopKind.UNROLL)

        def at(r: Expr, place: Expr) -> tuple[Expr, ...]:
            return (self.sums.first + q, Const(0), (channel + r) * self.sums.pitch + place)

        def store(r: Expr, a: Buffer, place: Expr, width: int) -> Stmt:
            return Store(self.sums.buffer, at(r, place), Load(a, (r,)))

        def add(r: Expr, a: Buffer, place: Expr, width: int) -> Stmt:
            return Store(self.sums.buffer, at(r, place), Load(self.sums.buffer, at(r, place), width) + Load(a, (r,)))

        first, count = tiles
        t = Var("tile")
        block += map(Allocate, sums)
        block += each(lambda r, a, place, w: Store(a, (r,), const(0, VectorType(dtype, w))))
        multiply = self._multiply(q, first + t, channel, sums, places)
        block.append(For(t.name, Const(0), count, tuple(multiply)))
        if isinstance(begins, bool):
            return [*block, *each(store if begins else add)]
        return [*block, If(begins, tuple(each(store)), tuple(each(add)))]

    def _multiply(self, q: Expr, tile: Expr, channel: Expr, sums: list[Buffer], places: list[Var]) -> list[Stmt]:
        """One multiply-add for every sum: those of one tile."""
        block: list[Stmt] = []
        inputs, right = self.inputs, self.gradients
        number = let(block, self.names.fresh("t"), tile)
        gradients = [
            let(
                block,
                self.names.fresh("g"),
                Load(right.buffer, (right.first + q, Const(0), number * right.pitch + place), a.lanes),
            )
            for a, place in zip(sums, places, strict=True)
        ]

        def element(r: Expr) -> list[Stmt]:
            inside: list[Stmt] = []
            at = (inputs.first + q, Const(0), number * inputs.pitch + channel + r)
            a = let(inside, "a", Load(inputs.buffer, at))
            for total, gradient in zip(sums, gradients, strict=True):
                spread = Broadcast(a, total.lanes) if total.lanes > 1 else a
                inside.append(Store(total, (r,), Fma(spread, gradient, Load(total, (r,)))))
            return inside

        return [*block, *loop("r", sums[0].shape[0], element, LoopKind.UNROLL)]


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
