"""What micro-kernels ask for early: a core multiplies faster than lines come from beyond its second cache.

Micro-kernels read the same weights, one after the other. So each asks for a part of those of the channel tile that
comes next, which have the time of all micro-kernels to arrive; a single one asks for its own, a little further on.
Lines are asked for one after the other, beside the products, so that they don't hold up each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ....loops.ir import Buffer, Const, Expr, Prefetch, Stmt, minimum
from ....lowering.elements import physical
from ....lowering.loops import LINE, ceil_div
from .owner import Fetched

Place = tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class VectorsAhead:
    """Vectors of weights, [channel tile][step of the sum][channel], for micro-kernels of vectors."""

    near: int
    """So many elements behind its own a micro-kernel asks for weights that no other one reads."""
    panel: int
    """Elements of a channel tile; 0: the next one's would displace those in use, so that all ask for their own."""
    steps: int
    """Of the sum."""

    def place(self, turn: Expr, turns: int, step: Expr) -> tuple[Expr, int]:
        """Where the weights lie that a step of one of several micro-kernels asks for.

        The step that reads them, and elements behind these.
        """
        if turns == 1 or not self.panel:
            return step, self.near
        return (turn * self.steps + step) // turns, self.panel


@dataclass(frozen=True, slots=True)
class PointsAhead:
    """Weights at Winograd's points, [panel][point][step of the sum][filter], in the order in which they are read.

    All panels follow each other at each point, or all points in each panel.
    """

    outer: int
    inner: int
    """Points and panels, or panels and points."""
    steps: int
    tiles: int
    """Micro-kernels that read the same weights, one after the other."""

    def place(self, outer: Expr, inner: Expr, tile: Expr, step: Expr) -> Place:
        """Of what a step asks for: all micro-kernels together ask for what comes behind their weights."""
        number = minimum(outer * self.inner + inner + 1, self.outer * self.inner - 1)
        return (number // self.inner, number % self.inner, (tile * self.steps + step) // self.tiles)


@dataclass(frozen=True, slots=True)
class TilesAhead:
    """Tiles of weights, [channel tile][word of the sum], for micro-kernels with so many channel tiles.

    They go to the second cache only, as the first one is full of what is multiplied meanwhile.
    """

    buffer: Buffer
    row: int
    """Elements of a word of all channels of a tile: a line."""
    tiles: int
    bands: int
    """Micro-kernels that read the same weights, one after the other."""
    ahead: int
    """So many elements behind its own a micro-kernel asks for weights that no other one reads."""

    def step(self, panel: Expr, band: Expr, depth: Expr, words: int) -> list[Stmt]:
        """Ask for weights in place of those of `panel` that a step reads, so many words from `depth` on.

        All bands together ask for those of the channels that come next; a single one asks for what it reads soon.
        """
        if self.bands == 1:
            places = [(panel, (depth + line) * self.row) for line in range(words)] if self.ahead else []
            return [Prefetch(self.buffer, place, ahead=self.ahead, far=True) for place in places]
        panels = self.buffer.shape[0]
        if panels <= self.tiles:
            return []
        share = ceil_div(words, self.bands)
        turns = ceil_div(words, share)
        lines: list[Expr] = [band % turns * share + i for i in range(share)]
        if turns * share > words:
            lines = [minimum(line, words - 1) for line in lines]
        next_panel = minimum(panel + self.tiles, panels - 1)
        return [Prefetch(self.buffer, (next_panel, (depth + line) * self.row), far=True) for line in lines]


@dataclass(frozen=True, slots=True)
class EndAhead:
    """What the ends of micro-kernels read of `pixels` pixels of a row, for `channels` channels each.

    Its lines lie apart from each other, so that no processor foresees them. They go to the second cache, too.
    """

    tensors: Sequence[Fetched]
    pixels: int
    channels: int
    slots: int
    """How often a micro-kernel asks."""
    last: int
    """The last pixel."""

    def slot(self, number: Expr, first: Expr, channel: Expr) -> list[Stmt]:
        """Ask for a part of what the next micro-kernel reads, where this one begins at a pixel and a channel."""
        block: list[Stmt] = []
        for each in self.tensors:
            elements = LINE // each.type.dtype.itemsize
            lines = ceil_div(self.channels, elements)
            share = ceil_div(self.pixels * lines, self.slots)
            for i in range(share):
                line = minimum(number * share + i, self.pixels * lines - 1)
                pixel = minimum(first + self.pixels + line // lines, self.last)
                place = (*(Const(0),) * (each.type.rank - 2), pixel, channel + line % lines * elements)
                block.append(Prefetch(each.buffer, physical(each.type, place[-each.type.rank :]), far=True))
        return block
