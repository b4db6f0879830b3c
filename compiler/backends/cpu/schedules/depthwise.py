"""Depthwise convolution and the gradient of its input: each channel by itself, vectors along the channels.

For each result row and vector of channels, a run of neighbouring results is kept in registers; each input vector of a
window row is loaded once and used by all results that see it. Where a wide window leaves registers for only a few sums,
which wait for one another, only sums are kept: each multiplication takes its input from memory. So it is where lines of
the input don't stay in the L1 cache, of which all vectors are then computed at a time. A core that multiplies faster
than it reads its L2 cache computes all rows for a strip of channels (see `depthwise_strips`). The padding must lie in
the input buffer's margins. The gradient of a strided convolution is one kernel for each phase of the result (see
`geometry`).
"""

from __future__ import annotations

from collections.abc import Callable

from ....graph.ir import Value
from ....loops.ir import (
    Allocate,
    Binary,
    Buffer,
    Const,
    Expr,
    Fma,
    For,
    Load,
    LoopKind,
    Space,
    Stmt,
    Store,
    Var,
    VectorType,
    const,
)
from ....lowering.elements import Elements, Loaded, physical
from ....lowering.group import Group
from ....lowering.kernel import Names, Parameters, Scheduled, let
from ....lowering.loops import LINE, ceil_div, kind_for, loop, vector_loop
from ....ops.windows.convolution import Conv2D
from ....ops.windows.transpose_convolution import TransposeConv2D
from ....targets.target import Target
from ....types import DType
from .depthwise_strips import CopiedLines, Strip, choose_strip
from .epilogue import Finish, epilogue
from .geometry import Line, Walk, depthwise_walks
from .storage import as_stored, widened
from .tiling import LATENCY, conflicts

MOST_RESULTS = 12
"""Neighbouring results that are kept in registers with their inputs."""
EXPANDED = 1 << 20
"""Expressions of an epilogue, at most, that is expanded for all results of a run: as many as there are."""
_SPARE = 2
"""Registers beside the sums where multiplications take inputs from memory."""


def schedule_depthwise(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule a depthwise conv2d, or a transposed one, with multiplier 1 and padding in the margins."""
    if not isinstance(group.anchor.operator, (Conv2D, TransposeConv2D)):
        return ()
    group = as_stored(group)
    anchor = group.anchor
    if any(v not in group.outer for v in anchor.operands) or not anchor.result.type.dtype.is_float:
        return ()
    return tuple(DepthwiseEmitter(group, walk, target, threads).schedule() for walk in depthwise_walks(group))


class DepthwiseEmitter:
    """Writes the kernel of one walk of a depthwise convolution."""

    sum_registers = 1
    """Vector registers of a result's sums."""
    copied: CopiedLines | None = None
    """Copies of the present strip, from which inputs and weights are read ..."""
    vector: Expr = Const(0)
    """... and the vector of the strip that is computed."""

    def __init__(self, group: Group, walk: Walk, target: Target, threads: int) -> None:
        self.group, self.walk, self.target, self.threads = group, walk, target, threads
        self.names = Names()
        operands = group.anchor.operands
        x = operands[0].type
        self.dtype = group.anchor.result.type.dtype
        self.lanes = target.vector_lanes
        self.parameters = Parameters()
        add, outer = self.parameters.add, group.outer
        self.x = add(Buffer("x", x.dtype, x.buffer_shape), outer[operands[0]])
        self.w = self._declare_weight(outer[operands[1]])
        self.bias = add(Buffer("b", self.dtype, (walk.channels,)), outer[operands[2]]) if len(operands) > 2 else None
        self.y = Buffer("y", group.result.type.dtype, group.result.type.buffer_shape, Space.OUT)
        self.extras = self.parameters.add_epilogue(group, self.y, lambda value: value.type.buffer_shape)
        add(self.y, group.operation.result)
        held = self._longest_run(MOST_RESULTS, self._registers_held)
        crowded = self._crowds_cache()
        if crowded:
            self.lanes, self.sum_registers = 2 * self.lanes, 2
        self.streams = crowded or held < min(LATENCY, walk.width)
        most = target.vector_registers
        self.run = self._choose(self._longest_run(most, self._registers_streamed) if self.streams else held)

    def _declare_weight(self, weight: Value) -> Buffer:
        """Make the parameter of the weight."""
        return self.parameters.add(Buffer("w", weight.type.dtype, (*self.walk.kernel, self.walk.channels)), weight)

    def _crowds_cache(self) -> bool:
        """Do the lines of a row of windows displace each other from the L1 cache, before the next vector reads them?

        Then all vectors of a line are computed at a time. Measured with 16 registers of 32 bytes.
        """
        walk, target = self.walk, self.target
        measured = target.has_few_registers and target.streams_quickly and 2 * self.lanes * DType.F32.itemsize == LINE
        if not measured or {self.dtype, self.x.dtype} != {DType.F32} or walk.channels % (2 * self.lanes):
            return False
        if 0 in walk.window:  # a phase that no window reaches
            return False
        row, pixel = (size * self.x.dtype.itemsize for size in (walk.buffer[2], walk.pitch))
        rows, columns = range(walk.window[0]), range(self._inputs(walk.width))
        return conflicts([r * walk.dilations[0] * row + c * pixel for r in rows for c in columns], target.l1_bytes)

    def _inputs(self, run: int) -> int:
        """Inputs of one window row that `run` neighbouring results see."""
        reach = (self.walk.window[1] - 1) * self.walk.dilations[1]
        return (run - 1) * self.walk.strides[1] + reach + 1

    def _registers_held(self, run: int) -> int:
        """What `run` neighbouring results take: their sums, the inputs and the weights of one window row."""
        return run * self.sum_registers + self._inputs(run) + self.walk.window[1]

    def _registers_streamed(self, run: int) -> int:
        """The same where multiplications take inputs from memory, unless loads are moved ahead of them."""
        return run * (self.sum_registers + self.target.loads_ahead) + _SPARE

    def _longest_run(self, most: int, registers: Callable[[int], int]) -> int:
        """Results of a row that the registers hold: at most so many, and such that they cut it into the fewest runs."""
        width, best = self.walk.width, 1
        for run in range(1, min(width, most) + 1):
            if registers(run) <= self.target.vector_registers and ceil_div(width, run) < ceil_div(width, best):
                best = run
        return best

    def _choose(self, run: int) -> int:
        """That many results, unless another number was chosen."""
        most = min(self.walk.width, run + 4)
        chosen = self.group.choose("run", run, lambda: (run, *(n for n in range(most, 1, -1) if n != run)))
        assert isinstance(chosen, int)
        return chosen

    def schedule(self) -> Scheduled:
        """The kernel and its arguments."""
        rows, channels, kind = self.walk.images * self.walk.height, self.walk.channels, kind_for(self.group.macs)
        strip = choose_strip(self.walk, self.x, self.lanes, self.target)
        if strip.copies or strip.channels < channels:
            return self.parameters.scheduled(self._by_strips(strip, rows, kind))

        def row(p: Expr) -> list[Stmt]:
            # What is written over an operand can't be computed from it once more.
            given = (self.names, channels, self.lanes, lambda c, width: self._row(p, c, width))
            return vector_loop(*given, twice=not self.group.in_place)

        return self.parameters.scheduled(loop("p", rows, row, kind))

    def _by_strips(self, strip: Strip, rows: int, kind: LoopKind) -> list[Stmt]:
        """One strip of channels after the other, in the rows of each thread."""
        shares = min(self.threads, rows) if kind is LoopKind.PARALLEL else 1
        size, vectors, p = strip.channels, strip.channels // self.lanes, Var("p")
        if strip.copies:
            self.copied = CopiedLines.of(self.walk, self.x, self.w, vectors, self.lanes, self.names)

        def row(first: Expr, is_first: Expr) -> list[Stmt]:
            def vector(v: Expr) -> list[Stmt]:
                self.vector, block = v, list[Stmt]()
                c = let(block, self.names.fresh("c"), first + v * self.lanes)
                return [*block, *self._row(p, c, self.lanes)]

            copies = self.copied.copy_lines(*self._place(p), first, is_first) if self.copied else []
            return [*copies, *loop(self.names.fresh("v"), vectors, vector)]

        def share(t: Expr) -> list[Stmt]:
            begin, end = t * rows // shares, (t + 1) * rows // shares
            is_first: Expr = Binary("eq", p, begin)
            if self.walk.images > 1:
                is_first = Binary("or", is_first, Binary("eq", p % self.walk.height, Const(0)))

            def each(number: Expr) -> list[Stmt]:
                weight = self.copied.copy_weight(number * size) if self.copied else []
                return [*weight, For("p", begin, end, tuple(row(number * size, is_first)))]

            room = [Allocate(self.copied.lines), Allocate(self.copied.taps)] if self.copied else []
            return [*room, *loop("strip", self.walk.channels // size, each)]

        return loop("share", shares, share, kind)

    def _place(self, p: Expr) -> tuple[Expr, Expr]:
        """Image, and row in it, of row p of all images."""
        height = self.walk.height
        return (p // height, p % height) if self.walk.images > 1 else (Const(0), p)

    def _row(self, p: Expr, c: Var, lanes: int) -> list[Stmt]:
        """Row p of all images, for `lanes` channels from c on."""
        n, oy = self._place(p)
        whole, rest = divmod(self.walk.width, self.run)
        statements = loop(
            self.names.fresh("i"), whole, lambda i: self._results(n, oy, i * self.run, self.run, c, lanes)
        )
        if rest:
            statements += self._results(n, oy, Const(whole * self.run), rest, c, lanes)
        return statements

    def _registers(self, name: str, size: int, dtype: DType, lanes: int) -> Buffer:
        return Buffer(self.names.fresh(name), dtype, (size,), Space.REGISTER, lanes=lanes)

    @property
    def factor(self) -> DType:
        """The element type of inputs and weights when they are multiplied."""
        return self.dtype

    def _input(self, place: tuple[Expr, ...], lanes: int) -> Expr:
        """A vector of the input as it is multiplied."""
        copied = self.copied
        lies = copied.pixel(self.vector, place[1], place[2], lanes) if copied else Load(self.x, place, lanes)
        return widened(lies, self.dtype)

    def _weight(self, place: tuple[Expr, ...], lanes: int) -> Expr:
        """A vector of the weight as it is multiplied."""
        copied = self.copied
        lies = copied.tap(self.vector, place[0], place[1], lanes) if copied else Load(self.w, place, lanes)
        return widened(lies, self.dtype)

    def _add_product(self, value: Expr, weight: Expr, total: Expr) -> Expr:
        return Fma(value, weight, total)

    def _begin(self, block: list[Stmt], c: Var, lanes: int) -> Expr:
        """What sums start from."""
        if self.bias is None:
            return const(0, VectorType(self.dtype, lanes))
        return let(block, self.names.fresh("bias"), Load(self.bias, (c,), lanes))

    def _results(self, n: Expr, oy: Expr, ox: Expr, run: int, c: Var, lanes: int) -> list[Stmt]:
        """`run` neighbouring results from (oy, ox) of the walk's grid on, for `lanes` channels from c on."""
        acc = self._registers("acc", run, self.dtype, lanes)
        block: list[Stmt] = [Allocate(acc)]
        start = self._begin(block, c, lanes)
        block += loop("s", run, lambda s: [Store(acc, (s,), start)], LoopKind.UNROLL)
        if 0 not in self.walk.window:  # else a phase that no window reaches
            block += self._sum(acc, run, (n, oy, ox), c, lanes)
        return [*block, *self._store_all(acc, run, (n, oy, ox), c, lanes)]

    def _sum(self, acc: Buffer, run: int, first: tuple[Expr, Expr, Expr], c: Var, lanes: int) -> list[Stmt]:
        """Add all products to the accumulators, one window row after the other."""
        walk, (n, oy, ox) = self.walk, first
        (kh, kw), (sy, sx), (dy, dx) = walk.window, walk.strides, walk.dilations
        rows, columns = walk.taps
        inputs = 0 if self.streams else self._inputs(run)
        line = self._registers("line", inputs, self.factor, lanes)
        block: list[Stmt] = [] if self.streams else [Allocate(line)]
        iy = let(block, self.names.fresh("iy"), oy * sy + walk.origin[0])
        ix = let(block, self.names.fresh("ix"), ox * sx + walk.origin[1])

        def window_row(ky: Expr) -> list[Stmt]:
            def at(i: Expr) -> Expr:
                return self._input((n, iy + ky * dy, ix + i, c), lanes)

            def tap(kx: Expr) -> list[Stmt]:
                inside: list[Stmt] = []
                weight = let(inside, "w", self._weight((_at(rows, ky), _at(columns, kx), c), lanes))

                def multiply(s: Expr) -> list[Stmt]:
                    place = s * sx + kx * dx
                    value = at(place) if self.streams else Load(line, (place,))
                    return [Store(acc, (s,), self._add_product(value, weight, Load(acc, (s,))))]

                return [*inside, *loop("s", run, multiply, LoopKind.UNROLL)]

            fetched = loop("i", inputs, lambda i: [Store(line, (i,), at(i))], LoopKind.UNROLL) if inputs else []
            # Unrolled taps would load an element once for all of them, and spill the sums to keep it.
            return [*fetched, *loop("kx", kw, tap, LoopKind.SERIAL if self.streams else LoopKind.UNROLL)]

        kind = LoopKind.SERIAL if self.target.loads_ahead or self.streams else LoopKind.UNROLL
        return [*block, *loop("ky", kh, window_row, kind)]

    def _store_all(self, acc: Buffer, run: int, first: tuple[Expr, Expr, Expr], c: Var, lanes: int) -> list[Stmt]:
        (n, oy, ox), (rows, columns) = first, self.walk.results

        def begin(v: Expr) -> tuple[list[Stmt], Finish]:
            block: list[Stmt] = []
            constants = self._constants(block, c, lanes)

            def finish(r: Expr, s: Expr, total: Expr) -> list[Stmt]:
                return self._store(total, (n, _at(rows, oy), _at(columns, ox + s), c), c, lanes, constants)

            return block, finish

        kind = VectorType(self.dtype, lanes)
        size = (1, run)
        return epilogue(1, kind, lambda v, at: Load(acc, at), begin, size, self.names, self._longest_epilogue())

    def _longest_epilogue(self) -> int:
        """Expressions to which an epilogue is expanded.

        Where sums take all registers, there are no exponentials side by side. Several gelus side by side wait for
        numbers on the stack: behind 3 x 3 products, sums and all they take 1.3 to 1.6 times as long as one by one.
        """
        if not self.dtype.is_float:
            return EXPANDED
        elementwise = (op.operator for op in self.group.members if op.operator.elementwise)
        crowded = self.streams and any(operator.work > 1 for operator in elementwise)
        return 0 if crowded else self.target.longest_epilogue

    def _constants(self, block: list[Stmt], c: Var, lanes: int) -> Loaded:
        """What the epilogue loads once for all results of a vector of channels."""
        return {}

    def _store(self, total: Expr, index: tuple[Expr, ...], c: Var, lanes: int, constants: Loaded) -> list[Stmt]:
        elements = Elements(
            self.extras,
            self.group.producers,
            self.group.constants,
            lanes=lanes,
            lane=c,
            known={self.group.anchor.result: total},
            loaded=constants,
        )
        result = elements.element(self.group.result, index)
        return [*elements.statements, Store(self.y, physical(self.group.result.type, index), result)]


def _at(line: Line, number: Expr) -> Expr:
    """An element of a line of numbers."""
    return number * line.step + line.start
