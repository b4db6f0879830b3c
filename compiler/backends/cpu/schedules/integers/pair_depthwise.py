"""Depthwise convolution of 8-bit integers on processors that multiply two pairs of 16-bit numbers at once.

One channel after the other: its weights stay in registers while the window goes over the rows. Two input rows are put
into one word, column by column, which serves all windows of a block of results that see the column. Signs and zero
points are made good as in `integer_contraction`. The padding must lie in the input buffer's margins.
"""

from __future__ import annotations

from .....loops.ir import Binary, Buffer, Cast, Const, Dot2, Expr, Halves, Load, Space, Spread, Stmt, Store, Var
from .....lowering.elements import Elements, physical
from .....lowering.group import Group
from .....lowering.kernel import Names, Packed, Parameters, Scheduled, let, packing_step
from .....lowering.loops import ceil_div, kind_for, loop
from .....ops.windows.window import Window
from .....targets.target import Target
from .....types import DType
from ..epilogue import loaded_once
from .integer_depthwise import window_of_depthwise
from .rescaling import Rescaling
from .signs import QUAD, Signs

MOST_COLUMNS = 8
"""Results of a block, side by side."""
MOST_WORDS = 5
"""Words of weights that are kept in registers, or near them."""


def schedule_pair_depthwise(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule an integer convolution with one filter for each channel, on a machine with products of pairs."""
    window = window_of_depthwise(group) if target.has_pairs else None
    if window is None:
        return ()
    emitter = _PairDepthwise(group, window, target)
    if emitter.signs.needs_input_sums or emitter.quads * window.kernel[1] > MOST_WORDS:
        return ()
    return (emitter.schedule(),)


class _PairDepthwise:
    def __init__(self, group: Group, window: Window, target: Target) -> None:
        self.group = group
        self.window = window
        self.names = Names()
        self.x_type, weight_type = (v.type for v in group.anchor.operands[:2])
        self.signs = Signs.of(target, self.x_type.dtype, weight_type.dtype, group.anchor.attributes)
        self.channels = self.x_type.shape[-1]
        self.quads = ceil_div(window.kernel[0], QUAD)
        self.rescaling = Rescaling.of(group, target)
        self._declare()

    def _declare(self) -> None:
        operands, outer = self.group.anchor.operands, self.group.outer
        weight = outer[operands[1]]
        order = {"rows": 1, "stride": self.window.strides[0]}
        pack = packing_step("pack_depthwise", **order, offset=self.signs.weight_offset)
        self.parameters = Parameters()
        add = self.parameters.add
        self.x = add(Buffer("x", self.x_type.dtype, self.x_type.buffer_shape), outer[operands[0]])
        shape = (self.window.kernel[1], 1, self.quads, self.channels * QUAD)
        self.w = add(Buffer("w", DType.I8, shape), Packed(weight, (pack,)))
        self.bias: Buffer | None = None
        if self.rescaling is not None:
            self.table = add(*self.rescaling.table(weight, self.signs, self.channels, 1))
        else:
            self.correction = self.signs.add_correction(self.parameters, weight, self.channels)
            if len(operands) > 2:
                self.bias = add(Buffer("b", DType.I32, (self.channels,)), outer[operands[2]])
        result = self.group.result.type
        self.y = Buffer("y", result.dtype, result.buffer_shape, Space.OUT)
        without = self.rescaling.factors if self.rescaling else ()
        self.extras = self.parameters.add_epilogue(self.group, self.y, lambda v: v.type.buffer_shape, without)
        add(self.y, self.group.operation.result)

    def schedule(self) -> Scheduled:
        """The kernel and its arguments."""
        images, height, width = self.group.result.type.shape[:3]
        blocks = ceil_div(width, MOST_COLUMNS)
        columns = ceil_div(width, blocks)

        def channel(c: Expr) -> list[Stmt]:
            tile = _Channel(self, c)

            def row(n: Expr, oy: Expr) -> list[Stmt]:
                whole, rest = divmod(width, columns)
                across = loop("i", whole, lambda i: tile.emit(n, oy, i * columns, columns)) if whole else []
                return [*across, *(tile.emit(n, oy, Const(whole * columns), rest) if rest else [])]

            return [*tile.block, *loop("n", images, lambda n: loop("oy", height, lambda oy: row(n, oy)))]

        return self.parameters.scheduled(loop("c", self.channels, channel, kind_for(self.group.macs)))


class _Channel:
    """The code for one channel, whose weights and constants are at hand."""

    def __init__(self, owner: _PairDepthwise, c: Expr) -> None:
        self.o = owner
        self.c = c
        self.block: list[Stmt] = []
        """The statements that load what belongs to the channel."""
        name = owner.names.fresh
        self.weights: dict[tuple[int, int, int], Expr] = {}
        for quad in range(owner.quads):
            for kx in range(owner.window.kernel[1]):
                place = (Const(kx), Const(0), Const(quad), c * QUAD)
                four = let(self.block, name("w"), Load(owner.w, place, QUAD))
                for start in (0, 1):
                    self.weights[quad, start, kx] = let(self.block, name("h"), Halves(four, start))
        self.fields: tuple[Expr, ...] = ()
        if owner.rescaling:
            halves = [let(self.block, name("f"), Load(owner.table, (c, Const(i)), 2)) for i in (0, 2)]
            each = [let(self.block, name("f"), Spread(half, 1, 1, 1, i)) for half in halves for i in (0, 1)]
            self.start, *fields = each
            self.fields = tuple(fields)
        else:
            first: Expr = Load(owner.correction, (c,))
            if owner.bias:
                first = first + Load(owner.bias, (c,))
            self.start = let(self.block, name("start"), first)
        self.constants = loaded_once(self.block, owner.names, owner.extras, owner.channels, c)

    def emit(self, n: Expr, oy: Expr, ox: Expr, columns: int) -> list[Stmt]:
        """The statements for `columns` results from (oy, ox) of image n on."""
        o, window, block = self.o, self.o.window, list[Stmt]()
        margins, name = o.x_type.margins, o.names.fresh
        iy, ix = (
            let(block, name(word), place * window.strides[d] + (margins[1 + d][0] - window.padding[d][0]))
            for d, (word, place) in enumerate((("iy", oy), ("ix", ox)))
        )
        totals = [self.start] * columns
        left = [window.kernel[1] * o.quads] * columns
        seen = self._readers(columns)
        for column in sorted(seen):
            for quad in range(o.quads):
                for start in (0, 1):
                    rows = [r for r in (quad * QUAD + start, quad * QUAD + start + 2) if r < window.kernel[0]]
                    if not rows:
                        continue
                    pair = let(block, name("x"), self._pair(n, iy, ix + column, rows))
                    for s, kx in seen[column]:
                        totals[s] = let(block, name("t"), Dot2(pair, self.weights[quad, start, kx], totals[s]))
                for s, _ in seen[column]:
                    left[s] -= 1
            for s in (s for s, _ in seen[column] if left[s] == 0):
                block += self._store((n, oy, ox + s), totals[s])
        return block

    def _readers(self, columns: int) -> dict[int, list[tuple[int, int]]]:
        """By input column of the block: the results that see it, and through which column of the window."""
        (_, step), (_, apart) = self.o.window.strides, self.o.window.dilations
        found: dict[int, list[tuple[int, int]]] = {}
        for s in range(columns):
            for kx in range(self.o.window.kernel[1]):
                found.setdefault(s * step + kx * apart, []).append((s, kx))
        return found

    def _pair(self, n: Expr, iy: Expr, ix: Expr, rows: list[int]) -> Expr:
        """Elements of two input rows as the halves of a word; of one, with a sign that nothing multiplies."""
        apart = self.o.window.dilations[0]
        each = [Cast(Load(self.o.x, (n, iy + r * apart, ix, self.c)), DType.I32) for r in rows]
        if len(each) == 1:
            return each[0]
        low = Binary("and", each[0], Const(0xFFFF, DType.I32))
        return Binary("or", low, Binary("shl", each[1], Const(16, DType.I32)))

    def _store(self, place: tuple[Expr, ...], total: Expr) -> list[Stmt]:
        o, group = self.o, self.o.group
        block: list[Stmt] = []
        known = {group.anchor.result: total}
        if o.rescaling:
            known[o.rescaling.result] = o.rescaling.element(block, o.names, total, *self.fields)
        lane = self.c if isinstance(self.c, Var) else None
        elements = Elements(
            o.extras,
            group.producers,
            group.constants,
            lane=lane,
            known=known,
            loaded=self.constants,
            prefix=o.names.fresh("v"),
        )
        index = (*place, self.c)
        result = elements.element(group.result, index)
        return [*block, *elements.statements, Store(o.y, physical(group.result.type, index), result)]
