"""Depthwise convolution: each channel by itself, vectors along the channels.

For each result row and vector of channels, a run of neighbouring results is kept in registers; each input vector of a
window row is loaded once and used by all results that see it. The padding must lie in the input buffer's margins.
"""

from __future__ import annotations

from ..codegen.target import Target
from ..loops.ir import (
    Allocate,
    Buffer,
    Const,
    Expr,
    Fma,
    Load,
    LoopKind,
    Space,
    Stmt,
    Store,
    Var,
)
from ..ops.convolution import Conv2D
from .elements import Elements, physical
from .group import Group
from .kernel import Names, Parameters, Scheduled, let
from .loops import kind_for, loop, vector_loop
from .tiling import ceil_div


def schedule_depthwise(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule a group whose anchor is a depthwise conv2d with multiplier 1 and padding in the margins."""
    anchor = group.anchor
    if not isinstance(anchor.operator, Conv2D) or any(v not in group.outer for v in anchor.operands):
        return ()
    x, weight = (v.type for v in anchor.operands[:2])
    if not anchor.attributes["groups"] == x.shape[-1] == weight.shape[-1] or not x.dtype.is_float:
        return ()
    window = anchor.operator.window(x, weight, anchor.attributes)
    if any(m[0] < p[0] or m[1] < p[1] for m, p in zip(x.margins[1:-1], window.padding, strict=True)):
        return ()
    return (_Depthwise(group, anchor.operator, target).schedule(),)


class _Depthwise:
    def __init__(self, group: Group, operator: Conv2D, target: Target) -> None:
        self.group = group
        self.target = target
        self.names = Names()
        operands = group.anchor.operands
        self.x_type = operands[0].type
        self.window = operator.window(self.x_type, operands[1].type, group.anchor.attributes)
        self.dtype = self.x_type.dtype
        channels = self.x_type.shape[-1]
        kh, kw = self.window.kernel
        self.parameters = Parameters()
        add, outer = self.parameters.add, group.outer
        self.x = add(Buffer("x", self.dtype, self.x_type.buffer_shape), outer[operands[0]])
        self.w = add(Buffer("w", self.dtype, (kh, kw, channels)), outer[operands[1]])
        self.bias = add(Buffer("b", self.dtype, (channels,)), outer[operands[2]]) if len(operands) > 2 else None
        self.y = Buffer("y", self.dtype, group.result.type.buffer_shape, Space.OUT)
        self.extras = self.parameters.add_epilogue(group, self.y, lambda value: value.type.buffer_shape)
        add(self.y, group.operation.result)
        self.run = self._run_length()

    def _run_length(self) -> int:
        """Results of one row that are kept in registers together with the inputs of one window row."""
        width = self.window.output[1]
        kw, step, apart = self.window.kernel[1], self.window.strides[1], self.window.dilations[1]
        best = 1
        for run in range(1, min(width, 12) + 1):
            inputs = (run - 1) * step + (kw - 1) * apart + 1
            if run + inputs + kw <= self.target.vector_registers and ceil_div(width, run) < ceil_div(width, best):
                best = run
        return best

    def schedule(self) -> Scheduled:
        images, height = self.group.result.type.shape[:2]
        kind = kind_for(self.group.macs)
        total = images * height
        channels = self.x_type.shape[-1]

        def row(p: Expr) -> list[Stmt]:
            n, oy = (p // height, p % height) if images > 1 else (Const(0), p)
            return vector_loop(
                self.names, channels, self.target.vector_lanes, lambda c, width: self._row(n, oy, c, width)
            )

        body = loop("p", total, row, kind)
        return self.parameters.scheduled(body)

    def _row(self, n: Expr, oy: Expr, c: Var, lanes: int) -> list[Stmt]:
        whole, rest = divmod(self.window.output[1], self.run)
        statements = loop(
            self.names.fresh("i"), whole, lambda i: self._results(n, oy, i * self.run, self.run, c, lanes)
        )
        if rest:
            statements += self._results(n, oy, Const(whole * self.run), rest, c, lanes)
        return statements

    def _registers(self, name: str, size: int, lanes: int) -> Buffer:
        return Buffer(self.names.fresh(name), self.dtype, (size,), Space.REGISTER, lanes=lanes)

    def _results(self, n: Expr, oy: Expr, ox: Expr, run: int, c: Var, lanes: int) -> list[Stmt]:
        """`run` neighbouring results from (oy, ox) on, for `lanes` channels from c on."""
        (kh, kw), (sy, sx), (dy, dx) = self.window.kernel, self.window.strides, self.window.dilations
        margins = self.x_type.margins
        origin = [margins[1 + d][0] - self.window.padding[d][0] for d in range(2)]
        inputs = (run - 1) * sx + (kw - 1) * dx + 1
        acc, line = self._registers("acc", run, lanes), self._registers("line", inputs, lanes)
        block: list[Stmt] = [Allocate(acc), Allocate(line)]
        start: Expr = Const(0.0, self.dtype, lanes)
        if self.bias:
            start = let(block, self.names.fresh("bias"), Load(self.bias, (c,), lanes))
        block += loop("s", run, lambda s: [Store(acc, (s,), start)], LoopKind.UNROLL)
        iy = let(block, self.names.fresh("iy"), oy * sy + origin[0])
        ix = let(block, self.names.fresh("ix"), ox * sx + origin[1])

        def window_row(ky: Expr) -> list[Stmt]:
            def fetch(i: Expr) -> list[Stmt]:
                return [Store(line, (i,), Load(self.x, (n, iy + ky * dy, ix + i, c), lanes))]

            def tap(kx: Expr) -> list[Stmt]:
                inside: list[Stmt] = []
                weight = let(inside, "w", Load(self.w, (ky, kx, c), lanes))

                def multiply(s: Expr) -> list[Stmt]:
                    value = Load(line, (s * sx + kx * dx,))
                    return [Store(acc, (s,), Fma(value, weight, Load(acc, (s,))))]

                return [*inside, *loop("s", run, multiply, LoopKind.UNROLL)]

            return [*loop("i", inputs, fetch, LoopKind.UNROLL), *loop("kx", kw, tap, LoopKind.UNROLL)]

        block += loop("ky", kh, window_row, LoopKind.UNROLL)
        return [*block, *loop("s", run, lambda s: self._store(acc, s, (n, oy, ox + s, c), c, lanes), LoopKind.UNROLL)]

    def _store(self, acc: Buffer, s: Expr, index: tuple[Expr, ...], c: Var, lanes: int) -> list[Stmt]:
        elements = Elements(
            self.extras,
            self.group.producers,
            self.group.constants,
            lanes=lanes,
            lane=c,
            known={self.group.anchor.result: Load(acc, (s,))},
        )
        result = elements.element(self.group.result, index)
        return [*elements.statements, Store(self.y, physical(self.group.result.type, index), result)]
