"""Depthwise convolution of bytes by strips of channels that fill a cache line, of which copies are made.

Where pixels lie a multiple of a large power of two apart (512 channels), the lines that a block of results reads fall
onto a few sets of the L1 cache and displace each other, before all vectors of a line were read. Then they are copied to
the stack, line by line, and so are the weights, when they are packed: those of a vector of channels lie side by side.
"""

from __future__ import annotations

import math

from .....graph.ir import Value
from .....loops.ir import Allocate, Buffer, Const, Expr, Load, Space, Stmt, Store
from .....lowering.group import Group
from .....lowering.kernel import Packed, Scheduled, let, packing_step
from .....lowering.loops import LINE, loop
from .....targets.target import DotProduct, Target
from .....types import DType
from ..depthwise_strips import COPY_BYTES, FAR, WAY_BYTES
from .integer_depthwise import IntegerDepthwise, window_of_depthwise


def schedule_strip_depthwise(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule a depthwise sum of integer products whose lines displace each other from the L1 cache."""
    window = window_of_depthwise(group) if target.outruns_caches and target.dot_product is DotProduct.VNNI else None
    if window is None or not is_worth_strips(IntegerDepthwise(group, window, target, threads), target):
        return ()
    return (StripDepthwise(group, window, target, threads).schedule(),)


def is_worth_strips(plain: IntegerDepthwise, target: Target) -> bool:
    """Do the lines of a block displace each other from the L1 cache, but come from the caches?"""
    x = plain.x_type
    if plain.channels % LINE:
        return False
    rows, columns = lines_of(plain, plain.tile.rows)
    displaced = rows * columns * max(LINE, math.gcd(x.buffer_shape[-1], WAY_BYTES)) > target.l1_bytes
    fits = 2 * rows * columns * LINE <= COPY_BYTES
    return displaced and fits and x.bytes // x.shape[0] <= FAR * target.l2_bytes


def lines_of(plain: IntegerDepthwise, rows: int) -> tuple[int, int]:
    """Rows and columns of the input that so many rows of results read."""
    window = plain.window
    return plain.block(rows, 1).last * window.dilations[0] + 1, plain.block(rows, window.output[1]).inputs


class StripDepthwise(IntegerDepthwise):
    """Writes the kernel of one depthwise convolution."""

    lines: Buffer
    """Copies for the present strip, [row][column][channel] ..."""
    first: tuple[Expr, Expr]
    """... the row and column of the input's buffer where they begin ..."""
    lane: Expr
    """... and the first of its channels that are computed."""

    def _declare_weight(self, weight: Value, shape: tuple[int, ...]) -> Buffer:
        pack = packing_step("pack_depthwise", **self._order, offset=self.signs.weight_offset)
        wide, vectors = self.lanes * self.together, self.channels // self.lanes
        steps = (
            pack,
            packing_step("reshape", shape=(math.prod(shape[:-1]), vectors, wide)),
            packing_step("transpose", permutation=(1, 0, 2)),
        )
        return self.parameters.add(Buffer("w", DType.I8, (vectors, *shape[:-1], wide)), Packed(weight, steps))

    def _rows(self, n: Expr, oy: Expr, rows: int) -> list[Stmt]:
        height, width = lines_of(self, rows)
        fresh = self.names.fresh
        self.lines = lines = Buffer(fresh("lines"), self.x_type.dtype, (height, width, LINE), Space.STACK)
        self.first = top, left = self.corner(oy, Const(0))

        def strip(number: Expr) -> list[Stmt]:
            def copy(y: Expr, x: Expr) -> list[Stmt]:
                return [Store(lines, (y, x, Const(0)), Load(self.x, (n, top + y, left + x, number * LINE), LINE))]

            def vector(v: Expr) -> list[Stmt]:
                block: list[Stmt] = []
                self.lane = v * self.lanes
                c = let(block, fresh("c"), number * LINE + self.lane)
                return [*block, *self._vector(n, oy, rows, c, self.lanes)]

            copies = loop(fresh("y"), height, lambda y: loop(fresh("x"), width, lambda x: copy(y, x)))
            return [*copies, *loop(fresh("v"), LINE // self.lanes, vector)]

        return [Allocate(lines), *loop(fresh("strip"), self.channels // LINE, strip)]

    def input(self, place: tuple[Expr, ...], channels: int) -> Expr:
        """Channels of the input from a place on, of the copies."""
        (top, left), (_, y, x, _) = self.first, place
        return Load(self.lines, (y - top, x - left, self.lane), channels)

    def weight(self, place: tuple[Expr, ...], c: Expr, lanes: int) -> Expr:
        """Weights at a column of the window, for a result row and a part of the input, of channels from c on."""
        return Load(self.w, (c // self.lanes, *place, Const(0)), lanes * self.together)
