"""Gradient of a depthwise convolution's weight: for each tap and channel, a sum over all pixels of all images.

Vectors lie along the channels. For one row of dy and one vector, all taps of as many window rows as fit accumulate in
registers and are then added to the result, so that the rows of x and dy come from the L1 or L2 cache and sums are
short. Each thread owns a part of the channels; hence sums don't depend on the number of threads. The padding must lie
in the margins of x.
"""

from __future__ import annotations

from collections.abc import Callable

from ....loops.ir import Allocate, Binary, Buffer, Const, Expr, Fma, For, If, Load, LoopKind, Space, Stmt, Store, Var
from ....lowering.group import Group
from ....lowering.kernel import Names, Parameters, Scheduled, let
from ....lowering.loops import kind_for, loop, vector_widths
from ....ops.window import window_of
from ....targets.target import Target

SPARE_REGISTERS = 2
"""For an element of dy and one of x."""


def schedule_depthwise_weight_gradient(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule a conv2d_weight_gradient with one filter for each channel whose padding lies in the margins."""
    anchor = group.anchor
    if anchor.name != "conv2d_weight_gradient" or len(group.members) != 1:
        return ()
    x, dy = (v.type for v in anchor.operands)
    if group.result.type.layout is not None:  # the result is written as it lies without margins
        return ()
    if not x.dtype.is_float or not anchor.attributes["groups"] == x.shape[-1] == dy.shape[-1]:
        return ()
    needed = anchor.operator.input_margins((x, dy), anchor.attributes)
    if needed and not x.has_margins(needed):
        return ()
    return (_DepthwiseWeightGradient(group, target, threads).schedule(),)


class _DepthwiseWeightGradient:
    def __init__(self, group: Group, target: Target, threads: int) -> None:
        self.group, self.target = group, target
        self.names = Names()
        x, dy = (v.type for v in group.anchor.operands)
        kernel = group.result.type.shape[:2]
        self.window = window_of(group.anchor.name, x.shape[1:-1], kernel, group.anchor.attributes)
        self.images, self.channels, self.dtype = x.shape[0], x.shape[-1], x.dtype
        self.origin = [m[0] - p[0] for m, p in zip(x.margins[1:-1], self.window.padding, strict=True)]
        self.margins = dy.margins
        self.parameters = Parameters()
        outer = group.outer
        self.x = self.parameters.add(Buffer("x", x.dtype, x.buffer_shape), outer[group.anchor.operands[0]])
        self.dy = self.parameters.add(Buffer("dy", dy.dtype, dy.buffer_shape), outer[group.anchor.operands[1]])
        result = Buffer("dw", x.dtype, (*kernel, self.channels), Space.OUT)
        self.dw = self.parameters.add(result, group.operation.result)
        self.kind = kind_for(group.macs)
        self.shares = threads if self.kind is LoopKind.PARALLEL else 1
        self.rows = max(1, min(kernel[0], (target.vector_registers - SPARE_REGISTERS) // kernel[1]))
        """Window rows whose taps are in registers together."""

    def schedule(self) -> Scheduled:
        """One kernel: threads, then rows of dy, then vectors of channels."""
        height = self.window.output[0]

        def share(p: Expr) -> list[Stmt]:
            def image(n: Expr) -> list[Stmt]:
                return loop("oy", height, lambda oy: self._own(p, lambda c, lanes: self._row(n, oy, c, lanes)))

            return [*self._own(p, self._clear), *loop("n", self.images, image)]

        return self.parameters.scheduled(loop("p", self.shares, share, self.kind))

    def _own(self, p: Expr, body: Callable[[Expr, int], list[Stmt]]) -> list[Stmt]:
        """`body(channel, width)` for the vectors of channels of thread p; the last, smaller ones are thread 0's."""
        lanes = self.target.vector_lanes
        whole, rest = divmod(self.channels, lanes)
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
        kh, kw = self.window.kernel
        zero = Const(0.0, self.dtype, lanes)
        return loop("ky", kh, lambda ky: loop("kx", kw, lambda kx: [Store(self.dw, (ky, kx, c), zero)]))

    def _row(self, n: Expr, oy: Expr, c: Expr, lanes: int) -> list[Stmt]:
        """Add what one row of dy contributes to all taps."""
        whole, rest = divmod(self.window.kernel[0], self.rows)
        statements = loop(
            self.names.fresh("ky"), whole, lambda i: self._taps(n, oy, c, i * self.rows, self.rows, lanes)
        )
        return statements + (self._taps(n, oy, c, Const(whole * self.rows), rest, lanes) if rest else [])

    def _taps(self, n: Expr, oy: Expr, c: Expr, ky: Expr, rows: int, lanes: int) -> list[Stmt]:
        """Add what one row of dy contributes to `rows` window rows from ky on."""
        (sy, sx), (dy, dx), kw = self.window.strides, self.window.dilations, self.window.kernel[1]
        acc = Buffer(self.names.fresh("acc"), self.dtype, (rows * kw,), Space.REGISTER, lanes=lanes)
        block: list[Stmt] = [Allocate(acc)]
        iy = let(block, self.names.fresh("iy"), oy * sy + ky * dy + self.origin[0])

        def each(body: Callable[[Expr, Expr, Expr], list[Stmt]]) -> list[Stmt]:
            return loop(
                "r", rows, lambda r: loop("kx", kw, lambda kx: body(r, kx, r * kw + kx), LoopKind.UNROLL),
                LoopKind.UNROLL,
            )  # fmt: skip

        def pixel(ox: Expr) -> list[Stmt]:
            inside: list[Stmt] = []
            place = (i + m[0] for i, m in zip((n, oy, ox), self.margins, strict=False))
            gradient = let(inside, self.names.fresh("g"), Load(self.dy, (*place, c), lanes))

            def multiply(r: Expr, kx: Expr, at: Expr) -> list[Stmt]:
                x = Load(self.x, (n, iy + r * dy, ox * sx + kx * dx + self.origin[1], c), lanes)
                return [Store(acc, (at,), Fma(x, gradient, Load(acc, (at,))))]

            return [*inside, *each(multiply)]

        def add(r: Expr, kx: Expr, at: Expr) -> list[Stmt]:
            total = Load(self.dw, (ky + r, kx, c), lanes) + Load(acc, (at,))
            return [Store(self.dw, (ky + r, kx, c), total)]

        block += each(lambda r, kx, at: [Store(acc, (at,), Const(0.0, self.dtype, lanes))])
        return [*block, *loop("ox", self.window.output[1], pixel), *each(add)]
