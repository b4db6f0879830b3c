"""Strips of channels that a depthwise convolution computes one after the other, and copies of their lines.

A core that multiplies faster than it reads its L2 cache computes all rows for a strip of channels, whose lines stay in
the L1 cache from one row of results to the next. Where pixels lie a multiple of a large power of two apart (768
channels: 3 KB), lines fall onto a few sets of that cache and displace each other, and weights do so, too. Then the
lines of a strip and its weights are copied to the stack, side by side. The lines are a ring: a row of results copies
those only that the row before didn't see.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ....loops.ir import Buffer, Const, Expr, If, Load, LoopKind, Space, Stmt, Store
from ....lowering.kernel import Names
from ....lowering.loops import loop
from ....targets.target import Target
from ....types import DType
from .geometry import Walk

STRIP_SHARE = 0.5
"""Part of the L1 cache that the lines under a row of windows fill, of a strip of channels."""
WAY_BYTES = 4096
"""Lines so far apart displace each other from the L1 cache (x86)."""
FAR = 8
"""Images that are so many times larger than the L2 cache are read front to back: their lines come from memory, and a
strip would ask for one in every few pages."""
COPY_BYTES = 96 * 1024
"""Copies take no more of the stack."""


@dataclass(frozen=True, slots=True)
class Strip:
    """So many channels are computed in all rows before the next ones."""

    channels: int
    copies: bool = False
    """Their lines and weights are copied."""


def choose_strip(walk: Walk, x: Buffer, lanes: int, target: Target) -> Strip:
    """The strip of a walk; all channels where it doesn't matter."""
    whole, vectors = Strip(walk.channels), walk.channels // lanes
    if not target.outruns_caches or x.dtype is not DType.F32 or walk.channels % lanes or 0 in walk.window:
        return whole
    rows, columns = _seen(walk)
    vector, pixel = (size * x.dtype.itemsize for size in (lanes, walk.pitch))

    def of(line: int, *, copies: bool) -> Strip:
        most = max(1, int(target.l1_bytes * STRIP_SHARE) // line)
        count = next(n for n in range(min(most, vectors), 0, -1) if vectors % n == 0)
        return Strip(lanes * count, copies)

    pixels, image = rows * (walk.buffer[2] // walk.pitch), x.bytes // walk.images
    if pixels * max(vector, math.gcd(pixel, WAY_BYTES)) <= target.l1_bytes:
        return of(pixels * vector, copies=False)
    strip = of(rows * columns * vector, copies=True)
    size = (rows * columns + math.prod(walk.kernel)) * strip.channels * x.dtype.itemsize
    if walk.window[0] > walk.strides[0] and image <= FAR * target.l2_bytes and size <= COPY_BYTES:
        return strip
    return whole if image > target.l2_bytes else of(pixels * vector, copies=False)


def _seen(walk: Walk) -> tuple[int, int]:
    """Rows and columns of the input that a row of windows sees, those between the taps of dilated ones included."""
    height, width = ((size - 1) * apart + 1 for size, apart in zip(walk.window, walk.dilations, strict=True))
    return height, (walk.width - 1) * walk.strides[1] + width


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedLines:
    """Copies for a strip: of the lines under a row of windows, and of the weights."""

    walk: Walk
    names: Names
    x: Buffer
    """[image][row][column][channel]"""
    weight: Buffer
    """[row][column][channel]"""
    lines: Buffer
    """[vector][row, modulo those of a window][column][lane]"""
    taps: Buffer
    """[vector][row][column][lane]"""

    @staticmethod
    def of(walk: Walk, x: Buffer, weight: Buffer, vectors: int, lanes: int, names: Names) -> CopiedLines:
        """Room for so many vectors."""
        lines = Buffer(names.fresh("lines"), x.dtype, (vectors, *_seen(walk), lanes), Space.STACK)
        taps = Buffer(names.fresh("taps"), weight.dtype, (vectors, *walk.kernel, lanes), Space.STACK)
        return CopiedLines(walk=walk, names=names, x=x, weight=weight, lines=lines, taps=taps)

    def copy_weight(self, first: Expr) -> list[Stmt]:
        """Copy the weights of the strip that begins with channel `first`."""
        vectors, height, width, lanes = self.taps.shape

        def vector(v: Expr) -> list[Stmt]:
            def tap(y: Expr, x: Expr) -> list[Stmt]:
                value = Load(self.weight, (y, x, first + v * lanes), lanes)
                return [Store(self.taps, (v, y, x, Const(0)), value)]

            return self._over(height, width, tap)

        return loop(self.names.fresh("v"), vectors, vector)

    def copy_lines(self, n: Expr, oy: Expr, first: Expr, is_first: Expr) -> list[Stmt]:
        """Copy the lines that row `oy` of the results sees: the new ones, or all if it `is_first`."""
        anew = self._copy(n, oy, first, 0)
        return [If(is_first, tuple(anew), tuple(self._copy(n, oy, first, self.lines.shape[1] - self.walk.strides[0])))]

    def _copy(self, n: Expr, oy: Expr, first: Expr, start: int) -> list[Stmt]:
        """The lines from `start` on of those that a row of results sees."""
        vectors, rows, columns, lanes = self.lines.shape
        (top, left), step = self.walk.origin, self.walk.strides[0]

        def pixel(r: Expr, column: Expr) -> list[Stmt]:
            y = oy * step + r + (start + top)

            def vector(v: Expr) -> list[Stmt]:
                value = Load(self.x, (n, y, column + left, first + v * lanes), lanes)
                return [Store(self.lines, (v, y % rows, column, Const(0)), value)]

            return loop(self.names.fresh("v"), vectors, vector, LoopKind.UNROLL)

        return self._over(rows - start, columns, pixel)

    def _over(self, height: int, width: int, body: Callable[[Expr, Expr], list[Stmt]]) -> list[Stmt]:
        """A loop over rows and columns."""
        fresh = self.names.fresh
        return loop(fresh("r"), height, lambda y: loop(fresh("x"), width, lambda x: body(y, x)))

    def pixel(self, vector: Expr, y: Expr, x: Expr, lanes: int) -> Expr:
        """A vector of the input, at a row and column of its buffer."""
        return Load(self.lines, (vector, y % self.lines.shape[1], x - self.walk.origin[1], Const(0)), lanes)

    def tap(self, vector: Expr, y: Expr, x: Expr, lanes: int) -> Expr:
        """A vector of the weights."""
        return Load(self.taps, (vector, y, x, Const(0)), lanes)
