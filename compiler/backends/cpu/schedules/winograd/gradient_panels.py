"""Gradient of a large 3x3 weight by Winograd's filtering: all tiles are summed up for a part of the weight at a time.

With many channels the sums at the 36 points take more memory than a cache has, but they are complete once all tiles
have been added. So the gradient dy, all of it, comes to its points first, in panels of some filters. Then for each
panel of channels the input does, and with each panel of filters the sums of these channels and filters are made in the
L2 cache, and brought back to filter elements. Channels are shared out among threads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

from .....loops.ir import Binary, Buffer, Const, Expr, Load, LoopKind, Space, Stmt
from .....lowering.group import Group
from .....lowering.kernel import Argument, Names, Parameters, Scheduled
from .....lowering.loops import ceil_div, kind_for, loop
from .....ops.windows import winograd as f43
from .....ops.windows.window import Window
from .....targets.target import Target
from .....types import DType
from ..gradients.outer_product import outer_tile
from .gradient_sums import PointSums, filters_from_points, gradient_source, input_source
from .tiles import PRODUCTS, Blocks, Points, Source, workspace

SHARE = 0.6
"""Part of the L2 cache that the sums of two panels at all points may fill."""
WIDEST = 64
"""Most channels or filters of a panel ..."""
NARROWEST = 16
"""... and fewest: what lies beyond the L2 cache is read anew for each panel."""
TILES = 128
"""So many tiles' channels and filters at one point share the L1 cache, and are summed up apart."""


@dataclass(frozen=True, slots=True)
class Panels:
    """How many channels and filters a panel has."""

    channels: int
    filters: int


def equal_panels(channels: int, filters: int, lanes: int) -> list[Panels]:
    """All cuts into equal panels of whole vectors that are neither too narrow nor too wide."""
    widths = ([w for w in range(lanes, WIDEST + 1, lanes) if size % w == 0] for size in (channels, filters))
    return [Panels(c, f) for c, f in product(*widths) if min(c, f) >= NARROWEST]


def panels_of(channels: int, filters: int, lanes: int, l2_bytes: int) -> Panels | None:
    """The panels that read the least of those whose sums fit the cache; None if there are no equal ones."""
    panels, room = equal_panels(channels, filters, lanes), l2_bytes * SHARE / (PRODUCTS * DType.F32.itemsize)
    fitting = [p for p in panels if p.channels * p.filters <= room]
    return min(fitting or panels, key=lambda p: (1 / p.channels + 1 / p.filters, p.channels), default=None)


class PanelEmitter:
    """Emits the kernel that brings dy to its points, and the one that does the rest."""

    def __init__(self, group: Group, window: Window, panels: Panels, target: Target) -> None:
        self.group, self.window, self.panels = group, window, panels
        self.lanes, self.names = target.vector_lanes, Names()
        x, dy = (v.type for v in group.anchor.operands)
        rows, columns = map(f43.tiles_of, window.output)
        self.tiles = x.shape[0] * rows * columns
        self.whole = Blocks((x.shape[0], rows, columns), self.tiles)
        self.blocks = Blocks(self.whole.tiles, ceil_div(self.tiles, ceil_div(self.tiles, TILES)))
        self.inputs, self.gradients = x.shape[-1] // panels.channels, dy.shape[-1] // panels.filters
        """Panels of channels and of filters."""
        self.tile = outer_tile(panels.channels, panels.filters, target)

    def schedule(self) -> tuple[Scheduled, ...]:
        """The two kernels."""
        kind, row = kind_for(self.group.macs), self.tiles * self.panels.filters
        spread = tuple(zip(*f43.OUTPUT, strict=True))
        parameters = Parameters()
        dy = gradient_source(self.group, parameters)
        d = workspace(parameters, "d", DType.F32, self.gradients, row)
        body = loop("panel", self.gradients, lambda p: self._to_points(spread, dy, d, p, self.panels.filters), kind)
        first = parameters.scheduled(body, multiplies=0)
        return first, self._sums(parameters.arguments[-1], d.shape, kind)

    def _to_points(self, matrix: f43.Matrix, source: Source, buffer: Buffer, panel: Expr, width: int) -> list[Stmt]:
        """Bring a panel of `width` channels of all tiles to its points."""
        part = replace(source, channels=width, first=panel * width)
        points = Points(buffer, panel * PRODUCTS, width, width)
        return part.to_points(matrix, self.whole, Const(0), points, self.names, self.lanes)

    def _sums(self, transformed: Argument, shape: tuple[int, ...], kind: LoopKind) -> Scheduled:
        """The kernel for the panels of channels."""
        parameters, group = Parameters(), self.group
        d = parameters.add(Buffer("d", DType.F32, shape), transformed)
        x = input_source(group, self.window, parameters)
        v, sums = (
            workspace(parameters, name, DType.F32, self.inputs, self.panels.channels * size)
            for name, size in (("v", self.tiles), ("sums", self.panels.filters))
        )
        dw = parameters.add(Buffer("dw", DType.F32, group.result.type.buffer_shape, Space.OUT), group.operation.result)

        def panel(p: Expr) -> list[Stmt]:
            there = Points(v, p * PRODUCTS, self.panels.channels, self.panels.channels)
            totals = Points(sums, p * PRODUCTS, self.panels.filters, self.panels.channels)

            def gradients(g: Expr) -> list[Stmt]:
                columns = Points(d, g * PRODUCTS, self.panels.filters, self.panels.filters)
                products = PointSums(there, columns, totals, self.tile, self.names, self.lanes)
                return [*self._at_points(products), *self._back(dw, totals, p, g)]

            return [
                *self._to_points(f43.INPUT, x, v, p, self.panels.channels),
                *loop("gradients", self.gradients, gradients),
            ]

        return parameters.scheduled(loop("panel", self.inputs, panel, kind))

    def _at_points(self, products: PointSums) -> list[Stmt]:
        """The sums of two panels."""

        def point(q: Expr) -> list[Stmt]:
            def block(b: Expr) -> list[Stmt]:
                begins = self.blocks.count == 1 or Binary("eq", b, Const(0))
                return products.of_point(q, b * self.blocks.size, self.blocks.count_in(b), begins=begins)

            return loop("block", self.blocks.count, block)

        return loop("q", PRODUCTS, point)

    def _back(self, dw: Buffer, totals: Points, p: Expr, g: Expr) -> list[Stmt]:
        """Bring the sums of two panels back to filter elements."""
        channels, filters = self.panels.channels, self.panels.filters

        def channel(c: Expr) -> list[Stmt]:
            def total(q: int, f: Expr, width: int) -> Expr:
                return Load(totals.buffer, (totals.first + q, Const(0), c * totals.pitch + f), width)

            return filters_from_points(dw, total, self.names, self.lanes, p * channels + c, (g * filters, filters))

        return loop("channel", channels, channel)
