"""The innermost piece of a contraction: one register tile of results, from the first product to the stored result.

A tile of R pixels by V vectors of channels keeps R * V accumulators in registers. Each step along the sum loads V
vectors of weights and, for each pixel, one input element that is broadcast to all lanes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ....graph.ir import Value
from ....loops.ir import (
    Allocate,
    Broadcast,
    Buffer,
    Const,
    Expr,
    Fma,
    Load,
    LoopKind,
    Prefetch,
    Space,
    Stmt,
    Store,
    Var,
    VectorType,
    const,
)
from ....lowering.elements import Elements, physical
from ....lowering.kernel import let
from ....lowering.loops import LINE, loop
from ....types import DType
from .epilogue import Channels, Finish, epilogue, finished_together, loaded_once, side_by_side
from .geometry import Met
from .owner import Owner, Step
from .partial_sums import Cut, cut_of
from .storage import widened
from .sum_loops import Run, SumLoops


class MicroKernel:
    """One register tile."""

    elements = 1
    """Input elements of a pixel that one step multiplies."""
    products = 1
    """Multiply-adds of one step for each sum."""
    cuts_sums = True
    """Long sums in single precision are made of parts (see `partial_sums`)."""
    asks_for_lines = False
    """It asks for a line once, not for each of its vectors."""
    ahead: Callable[[Expr], tuple[Expr, int]] | None = None
    """By a step: the step behind whose weights it asks for others, and how many elements (see `prefetch`)."""

    def __init__(self, owner: Owner, rows: int, columns: int, widths: tuple[int, ...]) -> None:
        self.o = owner
        self.rows = rows
        self.columns = columns
        self.widths = widths
        shape = (rows * columns,)
        name = owner.names.fresh
        self.accumulators = [Buffer(name("acc"), owner.dtype, shape, Space.REGISTER, lanes=w) for w in widths]
        self.whole_sums = self.accumulators
        """What the results are made of."""
        self.block: list[Stmt] = []

    def emit(self, image: Expr, row: Expr, column: Expr, j: Expr) -> list[Stmt]:
        """The statements for the tile whose first pixel is (row, column) of `image`."""
        self.met = self._meet(image)
        self._start(j)
        self._fetch(image, row, column)
        self._accumulate(image, row, column, j)
        self._finish(image, row, column)
        return self.block

    def _meet(self, image: Expr) -> Met:
        """The planes of the window that are multiplied."""
        begin, end = self.o.g.planes.met(self._image(image)[1])
        if isinstance(begin, Const) and isinstance(end, Const):
            return begin, end
        fresh = self.o.names.fresh
        return let(self.block, fresh("begin"), begin), let(self.block, fresh("end"), end)

    def _pixels(self, body: Callable[[Expr, Expr], list[Stmt]]) -> list[Stmt]:
        """`body(r, s)` for all pixels of the tile, expanded."""

        def row(r: Expr) -> list[Stmt]:
            return loop("s", self.columns, lambda s: body(r, s), LoopKind.UNROLL)

        return loop("r", self.rows, row, LoopKind.UNROLL)

    def _start(self, j: Expr) -> None:
        o = self.o
        self.channels: list[Expr] = []
        offset = 0
        values: list[Expr] = []
        for accumulator, width in zip(self.accumulators, self.widths, strict=True):
            self.block.append(Allocate(accumulator))
            channel = let(self.block, o.names.fresh("c"), j * o.tile.channels + offset)
            self.channels.append(channel)
            offset += width
            values.append(self._initial(channel, accumulator.lanes))

        def clear(r: Expr, s: Expr) -> list[Stmt]:
            place = (r * self.columns + s,)
            return [Store(a, place, v) for a, v in zip(self.accumulators, values, strict=True)]

        self.block += self._pixels(clear)

    def _fetch(self, image: Expr, row: Expr, column: Expr) -> None:
        """Ask for the lines that the end of the tile reads and writes, which arrive during the multiplications."""

        def pixel(r: Expr, s: Expr) -> list[Stmt]:
            place = self._place(image, row + r, column + s)
            return [
                Prefetch(each.buffer, physical(each.type, (*place, self.channels[0] + offset)), each.writes)
                for each in self.o.fetched
                for offset in range(0, sum(self.widths), LINE // each.type.dtype.itemsize)
            ]

        self.block += self._pixels(pixel) if self.o.fetched else []

    def _initial(self, channel: Expr, width: int) -> Expr:
        """What the sums start from.

        Floats start from zero: beside a bias that is larger than the products, each of these would lose its last bits.
        """
        if self.o.bias is None or self.o.dtype.is_float:
            return const(0, VectorType(self.o.dtype, width))
        return let(self.block, self.o.names.fresh("bias"), Load(self.o.bias, (channel,), width))

    def _extents(self) -> tuple[int, int]:
        """Steps along a run of the sum that is contiguous in the input, and such runs in a row of the window."""
        g = self.o.g
        return (g.window[1] * g.channels, 1) if g.merges_columns else (g.channels, g.window[1])

    def _depth(self, kz: Expr, ky: Expr, kx: Expr, k: Expr) -> Expr:
        """Number of the weight that step k of run (kz, ky, kx) reads."""
        plane, row, column = self._tap(kz, ky, kx)
        kernel = self.o.g.kernel
        return ((plane * kernel[0] + row) * kernel[1] + column) * self.o.g.channels + k

    def _tap(self, kz: Expr, ky: Expr, kx: Expr) -> tuple[Expr, ...]:
        """Plane, row and column of the weight for a window element."""
        lines = (self.o.g.planes.taps, *self.o.g.taps)
        return tuple(t * line.step + line.start for t, line in zip((kz, ky, kx), lines, strict=True))

    def _accumulate(self, image: Expr, row: Expr, column: Expr, j: Expr) -> None:
        multiply = self._multiplying(image, row, column, j)
        if self.o.g.is_empty:
            return
        rows, (steps, runs) = self.o.g.window[0], self._extents()
        cut = self._cut(steps * self.products, runs)
        add = self._adding() if cut else []
        rest = self._last_step
        step, last = partial(multiply, self._step), partial(multiply, rest) if rest else None
        self.block += SumLoops(self.met, rows, runs, steps, self.products, step, last, cut, add).emit()

    def _multiplying(self, image: Expr, row: Expr, column: Expr, j: Expr) -> Callable[[Step, Run, Expr], list[Stmt]]:
        """The multiplications of a step of a run of the sum: where its inputs and weights lie."""
        o, g = self.o, self.o.g
        dy, dx = g.dilations
        n, z = self._image(image)
        first = (z * g.planes.stride + g.planes.origin) * g.planes.rows
        y0 = let(self.block, o.names.fresh("iy"), first + row * g.strides[0] + g.origin[0])
        x0 = let(
            self.block, o.names.fresh("ix"), (column * g.strides[1] + g.origin[1]) * g.pitch + self._first_input(j)
        )

        def at(multiply: Step, run: Run, k: Expr) -> list[Stmt]:
            (kz, ky, kx), depth = run, self._depth(*run, k)
            if g.channel_rows:
                return multiply(n, y0 + k, x0, j, depth)
            y = y0 + kz * (g.planes.dilation * g.planes.rows) + ky * dy
            return multiply(n, y, x0 + (kx * (dx * g.pitch) + k * (self.elements * g.step)), j, depth)

        return at

    def _cut(self, run: int, runs: int) -> Cut | None:
        """How the sum is cut, of `runs` of so many products in a row of the window."""
        if not self.cuts_sums or self.o.dtype is not DType.F32:
            return None
        return cut_of(run, runs, self.o.g.window[0], self.o.g.planes.window)

    def _adding(self) -> list[Stmt]:
        """Make buffers for the sums; what adds the accumulators to them, and clears these."""
        name = self.o.names.fresh
        self.whole_sums = [
            Buffer(name("sum"), self.o.dtype, a.shape, Space.REGISTER, lanes=a.lanes) for a in self.accumulators
        ]
        zeros = [const(0, VectorType(self.o.dtype, width)) for width in self.widths]
        self.block += [Allocate(total) for total in self.whole_sums]

        def clear(r: Expr, s: Expr) -> list[Stmt]:
            return [
                Store(total, (r * self.columns + s,), zero) for total, zero in zip(self.whole_sums, zeros, strict=True)
            ]

        def add(r: Expr, s: Expr) -> list[Stmt]:
            at = (r * self.columns + s,)
            pairs = zip(self.whole_sums, self.accumulators, zeros, strict=True)
            return [
                stmt
                for total, part, zero in pairs
                for stmt in (Store(total, at, Load(total, at) + Load(part, at)), Store(part, at, zero))
            ]

        self.block += self._pixels(clear)
        return self._pixels(add)

    @property
    def _last_step(self) -> Step | None:
        """What a run has after all whole steps."""
        return None

    def _first_input(self, j: Expr) -> Expr | int:
        """The first input channel that the results of channel tile j sum over."""
        return 0

    def _image(self, image: Expr) -> tuple[Expr, Expr]:
        """The image and its plane, of images and planes that are numbered together."""
        count = self.o.g.planes.count
        return (image // count, image % count) if count > 1 else (image, Const(0))

    def _step(self, image: Expr, y: Expr, x: Expr, j: Expr, depth: Expr) -> list[Stmt]:
        """One multiply-add for every accumulator."""
        return self._products_of(self._element, image, y, x, j, depth)

    def _products_of(
        self, element: Callable[[tuple[Expr, ...]], Expr], image: Expr, y: Expr, x: Expr, j: Expr, depth: Expr
    ) -> list[Stmt]:
        """The same of what `element` reads at the place of a pixel."""
        o, g = self.o, self.o.g
        block: list[Stmt] = []
        weights: list[Expr] = []
        offset = 0
        for width, channel in zip(self.widths, self.channels, strict=True):
            place = o.weight_index(j, depth, channel, offset)
            weights.append(let(block, o.names.fresh("w"), self._loaded_weights(place, width)))
            block += self._asked(j, depth, channel, offset)
            offset += width

        def pixel(r: Expr, s: Expr) -> list[Stmt]:
            place = (image, y + r * g.strides[0], x + s * (g.strides[1] * g.pitch))
            inside: list[Stmt] = []
            read, at = let(inside, "a", element(place)), (r * self.columns + s,)
            for accumulator, weight in zip(self.accumulators, weights, strict=True):
                inside.append(Store(accumulator, at, self._added(read, weight, Load(accumulator, at))))
            return inside

        return [*block, *self._pixels(pixel)]

    def _asked(self, j: Expr, depth: Expr, channel: Expr, offset: int) -> list[Stmt]:
        """What asks for other weights early beside those of a vector of channels."""
        if self.asks_for_lines and offset * self.o.w.dtype.itemsize % LINE:
            return []
        step, behind = self.ahead(depth) if self.ahead else (depth, 0)
        place = self.o.weight_index(j, step, channel, offset)
        return [Prefetch(self.o.w, place, ahead=behind)] if behind else []

    def _loaded_weights(self, place: tuple[Expr, ...], width: int) -> Expr:
        """What multiplies the inputs of a step, for so many sums."""
        return widened(Load(self.o.w, place, width), self.o.dtype)

    def _element(self, place: tuple[Expr, ...]) -> Expr:
        """What a step reads of a pixel."""
        return widened(Load(self.o.x, place), self.o.dtype)

    def _added(self, element: Expr, weight: Expr, total: Expr) -> Expr:
        """Sums and the products of a step."""
        width = total.type.lanes
        return Fma(Broadcast(element, width) if width > 1 else element, weight, total)

    def _total(self, v: int, at: tuple[Expr, ...]) -> Expr:
        """The finished sums of a pixel for vector v of channels."""
        return Load(self.whole_sums[v], at)

    def _finish(self, image: Expr, row: Expr, column: Expr) -> None:
        size, names, longest = (self.rows, self.columns), self.o.names, self.o.longest_epilogue
        for first, width, step, units in finished_together(self.widths, self.o.joined_vectors):
            begin = partial(self._begin, (image, row, column), first, width, step)
            total = partial(self._numbered, first, step)
            kind = VectorType(self.o.dtype, step * width)
            self.block += epilogue(units, kind, total, begin, size, names, longest)

    def _numbered(self, first: int, step: int, v: int, at: tuple[Expr, ...]) -> Expr:
        place = first + v * step
        return side_by_side([self._total(place + i, at) for i in range(step)])

    def _begin(
        self, tile: tuple[Expr, Expr, Expr], first: int, single: int, step: int, v: Expr
    ) -> tuple[list[Stmt], Finish]:
        """What the epilogue of the v-th vector of channels from the first on loads once for a tile, and the rest.

        Such a vector is made of `step` single ones.
        """
        block: list[Stmt] = []
        name, width = self.o.names.fresh, single * step
        if isinstance(v, Const):
            channel = self.channels[first + int(v.value) * step]
        else:
            channel = let(block, name("c"), self.channels[first] + v * width)
        channels = self.o.group.result.type.shape[-1]
        constants = loaded_once(block, self.o.names, self.o.extras, channels, channel, width)
        store = partial(self._store, Channels(tile, channel, width, constants))
        bias = self._late_bias(block, channel, width) if self.o.dtype.is_float else None
        if bias is None:
            return block, store
        return block, lambda r, s, total: store(r, s, total + bias)

    def _late_bias(self, block: list[Stmt], channel: Expr, width: int) -> Expr | None:
        """What is added to sums that started from zero; a bias of one element may be a number of the program."""
        if self.o.bias is not None:
            return let(block, self.o.names.fresh("bias"), Load(self.o.bias, (channel,), width))
        group = self.o.group
        numbers = [group.constants[v] for v in group.anchor.operands[2:] if v in group.constants]
        return Const(numbers[0], self.o.dtype, width) if numbers else None

    @property
    def _summed(self) -> Value:
        """The value that the epilogue starts from."""
        return self.o.group.anchor.result

    def _store(self, channels: Channels, r: Expr, s: Expr, total: Expr) -> list[Stmt]:
        """The epilogue for one pixel of the tile and a vector of channels."""
        index = self._index(channels, r, s)
        elements = self._elements(channels, {self._summed: total}, "v_")
        result = elements.element(self.o.group.result, index)
        return [*elements.statements, Store(self.o.y, physical(self.o.group.result.type, index), result)]

    def _index(self, channels: Channels, r: Expr, s: Expr) -> tuple[Expr, ...]:
        """The place of the first of these channels of a pixel of the tile in the result."""
        image, row, column = channels.tile
        return (*self._place(image, row + r, column + s), channels.first)

    def _elements(self, channels: Channels, known: dict[Value, Expr], prefix: str) -> Elements:
        """What evaluates the epilogue for a vector of channels."""
        return Elements(
            self.o.extras,
            self.o.group.producers,
            self.o.group.constants,
            lanes=channels.width,
            lane=channels.first if isinstance(channels.first, Var) else None,
            known=known,
            loaded=channels.loaded,
            prefix=prefix,
        )

    def _place(self, image: Expr, row: Expr, column: Expr) -> tuple[Expr, ...]:
        """A result pixel as leading indices of the result."""
        rank = self.o.group.result.type.rank
        if self.o.g.line:
            return (Const(0), column // self.o.g.line, column % self.o.g.line)
        if self.o.g.flat:
            return (*(Const(0),) * (rank - 2), column)[: rank - 1]
        n, z = self._image(image)
        lines = (self.o.g.planes.results, *self.o.g.results)
        place = [at * line.step + line.start for at, line in zip((z, row, column), lines, strict=True)]
        return (n, *place[-(rank - 2) :])
