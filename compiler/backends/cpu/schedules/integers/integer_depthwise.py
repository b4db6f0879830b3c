"""Depthwise convolution of 8-bit integers by dot products down the columns, vectors along the channels.

Four neighbouring input rows are interleaved channel by channel, so that one dot-product instruction serves four taps of
a window column for a vector of channels; those with several filters each stand there as often. A block of result rows
shares these parts: each row multiplies them by its own copy of the weights, shifted to where its window lies and filled
up with zeros. Signs and zero points are made good as in `integer_contraction`. The padding must lie in the input
buffer's margins.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from .....graph.ir import Value
from .....loops.ir import (
    Allocate,
    Binary,
    Broadcast,
    Buffer,
    Const,
    Dot2Words,
    Dot4,
    Expr,
    If,
    Interleave,
    Load,
    LoopKind,
    Space,
    Spread,
    Stmt,
    Store,
    Var,
    VectorType,
)
from .....lowering.elements import Elements, Loaded, physical
from .....lowering.group import Group, Setting
from .....lowering.kernel import Names, Packed, Parameters, Scheduled, let, packing_step
from .....lowering.loops import kind_for, loop, vector_loop
from .....ops.quantized.contraction import Conv2DSum
from .....ops.windows.window import Window
from .....targets.target import DotProduct, Target
from .....types import DType
from ..epilogue import epilogue, loaded_once
from ..partition import largest_share
from .signs import QUAD, Signs

MOST_ROWS, MOST_COLUMNS = 6, 12
PROMISING = 16
"""Blocks that are worth a try, where somebody measures."""
_WITHOUT = (DotProduct.NONE, DotProduct.LANES)
"""Machines where sums of four products are no faster than one product after the other."""
INTERLEAVE_COST = 6
"""Instructions that load and interleave four rows of a column."""


def schedule_integer_depthwise(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule a group whose anchor is a depthwise sum of integer products with a static weight."""
    window = window_of_depthwise(group, target.vector_lanes) if target.dot_product not in _WITHOUT else None
    return () if window is None else (IntegerDepthwise(group, window, target, threads).schedule(),)


def window_of_depthwise(group: Group, most: int = 1) -> Window | None:
    """The window, if there is one filter for each channel, with a weight that is known, and margins for the padding.

    Or a power of two of them, at most `most`, as long as there are several channels.
    """
    anchor = group.anchor
    if not isinstance(anchor.operator, Conv2DSum):
        return None
    operands = anchor.operands
    if any(v not in group.outer for v in operands) or not group.knows_weight:
        return None
    x, weight = operands[0].type, operands[1].type
    if anchor.attributes["groups"] != x.shape[-1]:
        return None
    filters = weight.shape[-1] // x.shape[-1]
    if filters > 1 and (x.shape[-1] == 1 or filters > most or filters.bit_count() != 1):
        return None
    window = anchor.operator.window(x, weight, anchor.attributes)
    return window if x.has_margins(((0, 0), *window.padding, (0, 0))) else None


@dataclass(frozen=True, slots=True)
class _Block:
    """`rows` by `columns` results that one piece of code computes."""

    rows: int
    columns: int
    window: Window
    together: int
    """Input rows that a product takes."""
    costs: tuple[int, int]
    """Instructions that load and interleave so many rows of a column, and of a product."""

    @property
    def inputs(self) -> int:
        """Columns of the input that they see."""
        (_, kw), (_, step), (_, apart) = self.window.kernel, self.window.strides, self.window.dilations
        return (self.columns - 1) * step + (kw - 1) * apart + 1

    @property
    def last(self) -> int:
        """The last of the input rows that they see (those between the taps of a dilated window aside)."""
        return (self.rows - 1) * self.window.strides[0] + self.window.kernel[0] - 1

    @property
    def parts(self) -> int:
        """Parts of the input rows, each of those that a product takes."""
        return self.last // self.together + 1

    def readers(self, part: int) -> list[int]:
        """Result rows that have taps in a part of the input rows."""
        step, kh, size = self.window.strides[0], self.window.kernel[0], self.together
        return [r for r in range(self.rows) if r * step < (part + 1) * size and part * size < r * step + kh]

    @property
    def cost(self) -> int:
        """Instructions, the epilogue aside."""
        dots = sum(len(self.readers(q)) for q in range(self.parts)) * self.columns * self.window.kernel[1]
        fetch, dot = self.costs
        return self.parts * self.inputs * fetch + dots * dot


class IntegerDepthwise:
    """Writes the kernel of one depthwise convolution."""

    together = QUAD
    costs = (INTERLEAVE_COST, 1)
    """See `_Block`."""
    multiply: type[Dot4 | Dot2Words] = Dot4
    """The node that adds products."""
    loads_ahead = False
    """What epilogues read for each channel is loaded ahead of all blocks."""

    def __init__(self, group: Group, window: Window, target: Target, threads: int) -> None:
        self.group = group
        self.window = window
        self.kind = kind_for(group.macs)
        is_shared = self.kind is LoopKind.PARALLEL and group.result.type.shape[0] % threads
        self.threads = threads if is_shared else 1
        self.lanes = target.vector_lanes
        self.longest_epilogue = target.longest_epilogue
        self.names = Names()
        self.x_type, weight_type = (v.type for v in group.anchor.operands[:2])
        self.signs = Signs.of(target, self.x_type.dtype, weight_type.dtype, group.anchor.attributes)
        self.channels = weight_type.shape[-1]
        self.filters = self.channels // self.x_type.shape[-1]
        """For each channel of the input."""
        self.tile = self._choose(target.vector_registers)
        self._declare()

    @property
    def needs_input_sums(self) -> bool:
        """True if the sums of inputs make zero points of weights good."""
        return self.signs.needs_input_sums

    @property
    def left(self) -> DType:
        """The element type of the input in products."""
        return self.signs.left

    def interleaved(self, rows: tuple[Expr, ...]) -> Expr:
        """Elements of input rows as products take them."""
        return self.signs.as_left(Interleave(rows))

    def block(self, rows: int, columns: int) -> _Block:
        """So many results."""
        return _Block(rows, columns, self.window, self.together, self.costs)

    def _choose(self, registers: int) -> _Block:
        """The block with the fewest instructions of the busiest thread whose sums and inputs fit the registers."""
        height, width = self.window.output
        most_rows = min(height, MOST_ROWS) if self.window.dilations[0] == 1 else 1
        sets = 2 if self.needs_input_sums else 1
        best, least = self.block(1, 1), float("inf")
        others: list[tuple[float, Setting]] = []
        for rows in range(1, most_rows + 1):
            for columns in range(1, min(width, MOST_COLUMNS) + 1):
                block = self.block(rows, columns)
                cost = self._cost(block)
                if sets * rows * columns + block.inputs + 2 <= registers:
                    others.append((cost, (rows, columns)))
                    if cost < least:
                        best, least = block, cost
        default = best.rows, best.columns
        promising = [default, *(size for _, size in sorted(others)[:PROMISING] if size != default)]
        chosen = self.group.choose("tile", default, lambda: promising)
        assert isinstance(chosen, tuple)
        return self.block(chosen[0], chosen[1])

    def _cost(self, block: _Block) -> float:
        """Instructions of the busiest thread; threads share out rows of blocks."""
        height, width = self.window.output
        across, narrow = divmod(width, block.columns)

        def row(rows: int) -> int:
            whole, rest = (self.block(rows, columns) for columns in (block.columns, narrow))
            return across * whole.cost + (rest.cost if narrow else 0)

        down, low = divmod(height, block.rows)
        return largest_share(down, row(block.rows), row(low) if low else 0, self.threads)

    def _declare(self) -> None:
        group, signs, tile = self.group, self.signs, self.tile
        operands, outer = group.anchor.operands, group.outer
        weight = outer[operands[1]]
        block = (tile.rows, tile.parts)
        self.parameters = Parameters()
        add = self.parameters.add
        self.x = add(Buffer("x", self.x_type.dtype, self.x_type.buffer_shape), outer[operands[0]])
        self.w = self._declare_weight(weight, (self.window.kernel[1], *block, self.channels * self.together))
        if self.needs_input_sums:
            taps = packing_step("pack_depthwise", **self._order, ones=self.lanes)
            self.ones = add(Buffer("o", DType.I8, (1, *block, self.lanes * self.together)), Packed(weight, (taps,)))
        self.correction = signs.add_correction(self.parameters, weight, self.channels)
        self.bias: Buffer | None = None
        if len(operands) > 2:
            self.bias = add(Buffer("b", DType.I32, (self.channels,)), outer[operands[2]])
        result = group.result.type
        self.y = Buffer("y", result.dtype, result.buffer_shape, Space.OUT)
        self.extras = self.parameters.add_epilogue(group, self.y, lambda value: value.type.buffer_shape)
        add(self.y, group.operation.result)

    @property
    def _order(self) -> dict[str, int]:
        """How weights are packed."""
        return {"rows": self.tile.rows, "stride": self.window.strides[0]}

    def _declare_weight(self, weight: Value, shape: tuple[int, ...]) -> Buffer:
        """Make the parameter of the packed weight."""
        pack = packing_step("pack_depthwise", **self._order, offset=self.signs.weight_offset)
        return self.parameters.add(Buffer("w", DType.I8, shape), Packed(weight, (pack,)))

    def schedule(self) -> Scheduled:
        """The kernel and its arguments."""
        images, height = self.group.result.type.shape[:2]
        whole, rest = divmod(height, self.tile.rows)
        blocks = whole + bool(rest)

        def row(p: Expr) -> list[Stmt]:
            place: list[Stmt] = []
            n, block = (p // blocks, let(place, "block", p % blocks)) if images > 1 else (Const(0), p)
            full = self._rows(n, block * self.tile.rows, self.tile.rows) if whole else []
            last = self._rows(n, Const(whole * self.tile.rows), rest) if rest else []
            if full and last:
                return [*place, If(Binary("lt", block, Const(whole)), tuple(full), tuple(last))]
            return [*place, *full, *last]

        return self.parameters.scheduled(loop("p", images * blocks, row, self.kind))

    def _rows(self, n: Expr, oy: Expr, rows: int) -> list[Stmt]:
        """So many rows of results from row `oy` on."""

        def vector(c: Var, lanes: int) -> list[Stmt]:
            return self._vector(n, oy, rows, c, lanes)

        return vector_loop(self.names, self.channels, self.lanes, vector)

    def _vector(self, n: Expr, oy: Expr, rows: int, c: Var, lanes: int) -> list[Stmt]:
        """The same for `lanes` channels from c on."""
        whole, rest = divmod(self.window.output[1], self.tile.columns)
        size = self.tile.columns
        block, ahead = self.block(rows, size), list[Stmt]()
        constants = self.constants_at(ahead, c, lanes) if self.loads_ahead else None

        def tile(of: _Block, ox: Expr) -> list[Stmt]:
            return _Tile(self, of, c, lanes, constants).emit(n, oy, ox)

        across = loop(self.names.fresh("i"), whole, lambda i: tile(block, i * size))
        if rest:
            across += tile(self.block(rows, rest), Const(whole * size))
        return [*ahead, *across]

    def corner(self, oy: Expr, ox: Expr) -> tuple[Expr, Expr]:
        """Row and column of the input's buffer where the window of a result begins."""
        window, margins = self.window, self.x_type.margins
        y, x = (
            place * window.strides[d] + (margins[1 + d][0] - window.padding[d][0]) for d, place in enumerate((oy, ox))
        )
        return y, x

    def input(self, place: tuple[Expr, ...], channels: int) -> Expr:
        """Channels of the input from a place on."""
        return Load(self.x, place, channels)

    def weight(self, place: tuple[Expr, ...], c: Expr, lanes: int) -> Expr:
        """Weights at a column of the window, for a result row and a part of the input, of channels from c on."""
        return Load(self.w, (*place, c * self.together), lanes * self.together)

    def constants_at(self, block: list[Stmt], c: Var, lanes: int) -> Loaded:
        """What epilogues read for each channel."""
        return loaded_once(block, self.names, self.extras, self.channels, c, lanes)


class _Tile:
    """One block of results for `lanes` channels from c on."""

    def __init__(
        self, owner: IntegerDepthwise, block: _Block, c: Var, lanes: int, constants: Loaded | None = None
    ) -> None:
        self.o = owner
        self.constants = constants
        self.block = block
        self.c = c
        self.lanes = lanes
        shape = (block.rows * block.columns,)
        name = owner.names.fresh
        self.acc = Buffer(name("acc"), DType.I32, shape, Space.REGISTER, lanes=lanes)
        self.sums: Buffer | None = None
        if owner.needs_input_sums:
            self.sums = Buffer(name("sum"), DType.I32, shape, Space.REGISTER, lanes=lanes)
        width = lanes * owner.together
        self.line = Buffer(name("line"), owner.left, (block.inputs,), Space.REGISTER, lanes=width)

    def emit(self, n: Expr, oy: Expr, ox: Expr) -> list[Stmt]:
        """The statements for the block whose first result is (oy, ox) of image n."""
        statements = self._start()
        window, fresh = self.o.window, self.o.names.fresh
        corner = zip(("iy", "ix"), self.o.corner(oy, ox), strict=True)
        iy, ix = (let(statements, fresh(name), place) for name, place in corner)
        for part in range(self.block.parts):
            statements += loop("i", self.block.inputs, partial(self._fetch, n, iy, ix, part), LoopKind.UNROLL)
            for r in self.block.readers(part):
                statements += loop("kx", window.kernel[1], partial(self._taps, r, part), LoopKind.UNROLL)
        return [*statements, *self._finish(n, oy, ox)]

    def _start(self) -> list[Stmt]:
        """Sums start from bias and correction."""
        block: list[Stmt] = [Allocate(self.acc), Allocate(self.line)]
        start: Expr = Load(self.o.correction, (self.c,), self.lanes)
        if self.o.bias:
            start = start + Load(self.o.bias, (self.c,), self.lanes)
        first = let(block, self.o.names.fresh("start"), start)
        starts: list[tuple[Buffer, Expr]] = [(self.acc, first)]
        if self.sums:
            block.append(Allocate(self.sums))
            starts.append((self.sums, Const(0, DType.I32, self.lanes)))

        def clear(s: Expr) -> list[Stmt]:
            return [Store(total, (s,), value) for total, value in starts]

        return [*block, *loop("s", self.acc.shape[0], clear, LoopKind.UNROLL)]

    def _fetch(self, n: Expr, iy: Expr, ix: Expr, part: int, i: Expr) -> list[Stmt]:
        """A part of column i; rows that no tap needs are read again instead of what lies beyond."""
        dilation, together = self.o.window.dilations[0], self.o.together
        rows = (min(part * together + j, self.block.last) * dilation for j in range(together))
        parts = tuple(self._repeated((n, iy + row, ix + i, self.c // self.o.filters)) for row in rows)
        return [Store(self.line, (i,), self.o.interleaved(parts))]

    def _repeated(self, place: tuple[Expr, ...]) -> Expr:
        """Channels of the input from a place on, each as often as it has filters."""
        channels = self.lanes // self.o.filters
        some = self.o.input(place, channels)
        if self.o.filters == 1:
            return some
        return Spread(some, self.lanes, self.o.filters, 1, 0) if channels > 1 else Broadcast(some, self.lanes)

    def _taps(self, r: int, part: int, kx: Expr) -> list[Stmt]:
        """Multiply-add of column kx of the window for result row r."""
        (_, step), (_, apart) = self.o.window.strides, self.o.window.dilations
        block: list[Stmt] = []
        place, width = (Const(r), Const(part)), self.lanes * self.o.together
        weight = let(block, "w", self.o.weight((kx, *place), self.c, self.lanes))
        factors: list[tuple[Buffer, Expr]] = [(self.acc, weight)]
        if self.sums:
            ones = let(block, "o", Load(self.o.ones, (Const(0), *place, Const(0)), width))
            factors.append((self.sums, ones))

        def multiply(s: Expr) -> list[Stmt]:
            left, at = Load(self.line, (s * step + kx * apart,)), (s + r * self.block.columns,)
            return [Store(total, at, self.o.multiply(left, factor, Load(total, at))) for total, factor in factors]

        return [*block, *loop("s", self.block.columns, multiply, LoopKind.UNROLL)]

    def _finish(self, n: Expr, oy: Expr, ox: Expr) -> list[Stmt]:
        """The epilogue; what it reads for each channel is loaded once."""
        block: list[Stmt] = []
        constants = self.constants
        if constants is None:
            constants = self.o.constants_at(block, self.c, self.lanes)

        def total(v: int, at: tuple[Expr, ...]) -> Expr:
            sums = Load(self.sums, at) * self.o.signs.input_sum_factor if self.sums else None
            return Load(self.acc, at) if sums is None else Load(self.acc, at) + sums

        def store(r: Expr, s: Expr, total: Expr) -> list[Stmt]:
            group = self.o.group
            elements = Elements(
                self.o.extras,
                group.producers,
                group.constants,
                lanes=self.lanes,
                lane=self.c,
                known={group.anchor.result: total},
                loaded=constants,
            )
            index = (n, oy + r, ox + s, self.c)
            result = elements.element(group.result, index)
            return [*elements.statements, Store(self.o.y, physical(group.result.type, index), result)]

        size, kind = (self.block.rows, self.block.columns), VectorType(DType.I32, self.lanes)
        return [
            *block,
            *epilogue(1, kind, total, lambda v: ([], store), size, self.o.names, self.o.longest_epilogue),
        ]
