"""Gradient of the weight of a convolution in narrow groups, such as a depthwise one: a sum over all pixels and images.

Vectors lie along the results, and hold those of whole groups; lanes of the input are spread over them as `grouped`
says. For one row of dy and one vector, all taps of as many window rows as fit accumulate in registers and are then
added to the result, so that the rows of x and dy come from the L1 or L2 cache and sums are short. Each thread owns a
part of the results; hence sums don't depend on the number of threads. The padding must lie in the margins of x.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

from .....loops.ir import (
    Allocate,
    Binary,
    Buffer,
    Const,
    Expr,
    Fma,
    For,
    If,
    Load,
    LoopKind,
    Space,
    Spread,
    Stmt,
    Store,
    Var,
)
from .....lowering.group import Group
from .....lowering.kernel import Names, Parameters, Scheduled, let
from .....lowering.loops import kind_for, loop, vector_widths
from .....ops.windows.convolution_gradients import WeightGradient
from .....ops.windows.window import window_of
from .....targets.target import Target
from ..geometry import origin_of, pair_of, rows_of
from ..grouped import is_packed
from ..tiling import split

Part = tuple[int, int, int]
"""Equal parts of a size: start, count and extent."""

SPARE_REGISTERS = 2
"""For an element of dy and one of x."""


def schedule_narrow_weight_gradient(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule the gradient of a weight in groups of few filters whose padding lies in the margins."""
    anchor = group.anchor
    if not isinstance(anchor.operator, WeightGradient) or len(group.members) != 1:
        return ()
    x, dy = (v.type for v in anchor.operands)
    if group.result.type.layout is not None or not x.dtype.is_float:  # the result is written as it lies without margins
        return ()
    groups = anchor.attributes["groups"]
    if groups == 1 or not is_packed(x.shape[-1] // groups, dy.shape[-1] // groups, target.vector_lanes):
        return ()
    if not x.has_margins(anchor.operator.input_margins((x, dy), anchor.attributes)):
        return ()
    return (_NarrowWeightGradient(group, target, threads).schedule(),)


class _NarrowWeightGradient:
    def __init__(self, group: Group, target: Target, threads: int) -> None:
        self.group, self.target = group, target
        self.names = Names()
        x, dy = (v.type for v in group.anchor.operands)
        kernel, groups = group.result.type.shape[:-2], group.anchor.attributes["groups"]
        window = window_of(group.anchor.name, x.shape[1:-1], kernel, group.anchor.attributes)
        deep, self.spatial = x.rank == 5, x.rank - 2
        self.kernel, self.output = (planes_of(v, deep) for v in (window.kernel, window.output))
        self.strides, self.dilations = (planes_of(v, deep) for v in (window.strides, window.dilations))
        origin = origin_of(x, window.padding)
        assert origin is not None, "the margins hold the padding"
        self.origin = (origin[0] if deep else 0, *pair_of(origin, 0))
        self.plane_rows = x.buffer_shape[2] if deep else 0
        self.images, self.dtype, self.pitch = x.shape[0], x.dtype, x.buffer_shape[-1]
        self.filters, self.channels, self.share = dy.shape[-1], x.shape[-1] // groups, dy.shape[-1] // groups
        self.margins = dy.margins
        self.parameters = Parameters()
        outer = group.outer
        self.x = self.parameters.add(Buffer("x", x.dtype, rows_of(x)), outer[group.anchor.operands[0]])
        self.dy = self.parameters.add(Buffer("dy", dy.dtype, dy.buffer_shape), outer[group.anchor.operands[1]])
        taps = (self.kernel[0] * self.kernel[1], self.kernel[2])
        result = Buffer("dw", x.dtype, (*taps, self.channels, self.filters), Space.OUT)
        self.dw = self.parameters.add(result, group.operation.result)
        self.kind = kind_for(group.macs)
        self.shares = threads if self.kind is LoopKind.PARALLEL else 1
        sums = max((target.vector_registers - SPARE_REGISTERS) // self.channels, 1)
        self.columns = min(self.kernel[2], sums)
        """Taps of a window row that are in registers together."""
        self.rows = max(1, min(self.kernel[1], sums // self.columns))
        """Window rows whose taps are in registers together."""

    def schedule(self) -> Scheduled:
        """One kernel: threads, then rows of dy, then vectors of results."""
        planes, height, _ = self.output

        def share(p: Expr) -> list[Stmt]:
            def plane(n: Expr) -> list[Stmt]:
                return loop("oy", height, lambda oy: self._own(p, lambda c, lanes: self._row(n, oy, c, lanes)))

            return [*self._own(p, self._clear), *loop("n", self.images * planes, plane)]

        return self.parameters.scheduled(loop("p", self.shares, share, self.kind))

    def _own(self, p: Expr, body: Callable[[Expr, int], list[Stmt]]) -> list[Stmt]:
        """`body(result, width)` for the vectors of results of thread p; the last, smaller ones are thread 0's."""
        lanes = self.target.vector_lanes
        whole, rest = divmod(self.filters, lanes)
        statements: list[Stmt] = []
        if whole:
            v = self.names.fresh("v")
            block: list[Stmt] = []
            c = let(block, self.names.fresh("c"), Var(v) * lanes)
            start, stop = p * whole // self.shares, (p + 1) * whole // self.shares
            statements.append(For(v, start, stop, (*block, *body(c, lanes))))
        first, last = whole * lanes, list[Stmt]()
        for width in vector_widths(rest, lanes):
            last += body(Const(first), width)
            first += width
        if last and self.shares > 1:
            last = [If(Binary("eq", p, Const(0)), tuple(last))]
        return [*statements, *last]

    def _clear(self, c: Expr, lanes: int) -> list[Stmt]:
        height, width, channels, _ = self.dw.shape
        zero = Const(0.0, self.dtype, lanes)

        def tap(ky: Expr, kx: Expr) -> list[Stmt]:
            return loop("i", channels, lambda i: [Store(self.dw, (ky, kx, i, c), zero)])

        return loop("ky", height, lambda ky: loop("kx", width, lambda kx: tap(ky, kx)))

    def _row(self, n: Expr, oy: Expr, c: Expr, lanes: int) -> list[Stmt]:
        """Add what one row of dy contributes to all taps."""
        depth, height, width = self.kernel

        def blocks(kz: Expr, rows: Part, columns: Part) -> list[Stmt]:
            (row, n_rows, height), (column, n_columns, width) = rows, columns

            def taps(i: Expr) -> list[Stmt]:
                tap = (kz, i // n_columns * height + row, i % n_columns * width + column)
                return self._taps((n, oy), c, tap, (height, width), lanes)

            return loop(self.names.fresh("ky"), n_rows * n_columns, taps)

        def plane(kz: Expr) -> list[Stmt]:
            parts = product(split(height, self.rows), split(width, self.columns))
            return [statement for rows, columns in parts for statement in blocks(kz, rows, columns)]

        return loop(self.names.fresh("kz"), depth, plane)

    def _taps(
        self, line: tuple[Expr, Expr], c: Expr, tap: tuple[Expr, Expr, Expr], extent: tuple[int, int], lanes: int
    ) -> list[Stmt]:
        """Add what one row of dy contributes to `extent` rows and columns of taps from `tap` on."""
        (n, oy), (kz, ky, kx), (rows, columns) = line, tap, extent
        (sz, sy, sx), (dz, dy, dx) = self.strides, self.dilations
        planes, count = self.output[0], self.channels
        acc = Buffer(self.names.fresh("acc"), self.dtype, (rows * columns * count,), Space.REGISTER, lanes=lanes)
        block: list[Stmt] = [Allocate(acc)]
        image, z = (n // planes, n % planes) if planes > 1 else (n, Const(0))
        plane = (z * sz + kz * dz + self.origin[0]) * self.plane_rows
        iy = let(block, self.names.fresh("iy"), plane + oy * sy + ky * dy + self.origin[1])
        inputs = lanes // self.share * count
        first = c // self.share * count
        ix = let(block, self.names.fresh("ix"), (kx * dx + self.origin[2]) * self.pitch + first)

        def each(body: Callable[[Expr, Expr, Expr], list[Stmt]]) -> list[Stmt]:
            def row(r: Expr) -> list[Stmt]:
                return loop("s", columns, lambda s: body(r, s, (r * columns + s) * count), LoopKind.UNROLL)

            return loop("r", rows, row, LoopKind.UNROLL)

        def pixel(ox: Expr) -> list[Stmt]:
            inside: list[Stmt] = []
            place = (i + m[0] for i, m in zip((image, *(z, oy, ox)[-self.spatial :]), self.margins, strict=False))
            gradient = let(inside, self.names.fresh("g"), Load(self.dy, (*place, c), lanes))

            def multiply(r: Expr, s: Expr, at: Expr) -> list[Stmt]:
                products: list[Stmt] = []
                x = Load(self.x, (image, iy + r * dy, ix + ox * (sx * self.pitch) + s * (dx * self.pitch)), inputs)
                x_line = let(products, "a", x)
                for i in range(count):
                    spread = Spread(x_line, lanes, self.share, count, i) if (lanes, inputs) != (1, 1) else x_line
                    products.append(Store(acc, (at + i,), Fma(spread, gradient, Load(acc, (at + i,)))))
                return products

            return [*inside, *each(multiply)]

        def add(r: Expr, s: Expr, at: Expr) -> list[Stmt]:
            memory = [(kz * self.kernel[1] + ky + r, kx + s, Const(i), c) for i in range(count)]
            return [Store(self.dw, m, Load(self.dw, m, lanes) + Load(acc, (at + i,))) for i, m in enumerate(memory)]

        zero = Const(0.0, self.dtype, lanes)
        block += each(lambda r, s, at: [Store(acc, (at + i,), zero) for i in range(count)])
        return [*block, *loop("ox", self.output[2], pixel), *each(add)]


def planes_of(values: tuple[int, ...], deep: bool) -> tuple[int, int, int]:
    """Numbers for each spatial dimension as those of three; the missing ones are 1."""
    return (values[0] if deep else 1, *pair_of(values, 1))
