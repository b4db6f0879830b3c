"""Grouped convolutions: each result sums over the input channels of its group alone.

The schedule is that of `contraction`; what differs is which channels a tile of results reads.

- Wide groups: a tile holds channels of one group. It starts at the first input channel of that group.
- Narrow groups, of fewer results than half the lanes of a vector: a vector holds the results of several whole groups.
  One vector of input holds all channels that they read; for the i-th channel of each group, its lanes are spread over
  the group's results. So all lanes multiply, and nothing is multiplied by zero.

Tiles of one vector, packed or not, broadcast or spread an element for each multiplication. A core that multiplies two
vectors in a cycle reads no more than two, so such a tile takes a whole row of the window in a step: what is read of the
input is multiplied by the weights of all columns of the window that lie over it, for as many pixels side by side.
"""

from __future__ import annotations

from itertools import groupby

from ....errors import InternalError
from ....loops.ir import Broadcast, Const, Expr, Fma, Load, Spread, Stmt, Store
from ....lowering.group import Group
from ....lowering.kernel import Scheduled, let
from ....lowering.loops import vector_widths
from ....ops.windows.convolution import Convolution
from ....ops.windows.transpose_convolution import TransposeConvolution
from ....targets.target import Target
from .contraction import ContractionEmitter
from .geometry import Walk, walks
from .micro_kernel import MicroKernel
from .row_tiles import RowTiling, uses_of_row
from .tiling import Tile

WIDEST_INPUT = 2
"""Vectors of input, at most, whose lanes are spread over one vector of results."""
SPREAD_COST = 1.0
"""Cycles that a pixel takes in a step beside its multiplications."""
FEWEST_REGISTERS = 8
"""Left for sums when the weights of a step are kept in registers."""
WIDEST_ROW = 4
"""Columns of a window whose weights are held for a step."""
PREFERRED_VECTORS = 2
"""Of a tile: enough that a broadcast element serves several multiplications."""


def is_packed(channels: int, filters: int, lanes: int, *, halves: bool = False) -> bool:
    """True if vectors hold the results of several groups, each of `filters` results over `channels` inputs.

    Results that fill half a vector have one of their own, unless `halves` of two groups are to share one.
    """
    narrow = (filters if halves else 2 * filters) < lanes and lanes % filters == 0
    return narrow and lanes // filters * channels <= WIDEST_INPUT * lanes


def shares_rows(g: Walk, target: Target) -> bool:
    """True if a step of a tile of one vector takes a whole row of the window.

    Processors with more registers multiply by an element of memory in one instruction, or by a lane of a vector: there
    it pays where the windows of neighbouring pixels share all but a column.
    """
    if target.loads_ahead or target.float_units == 1 or not WIDEST_ROW >= g.window[1] > 1:
        return False
    return target.has_few_registers or g.strides[1] == 1


class GroupedEmitter(ContractionEmitter):
    """Writes the kernel of one walk of a grouped convolution."""

    def __init__(self, group: Group, g: Walk, target: Target, threads: int) -> None:
        self.share = group.result.type.shape[-1] // g.groups
        """Results of one group."""
        self.shares_rows = shares_rows(g, target)
        self.is_packed = is_packed(g.channels, self.share, target.vector_lanes, halves=self.shares_rows)
        super().__init__(group, g, target, threads)

    def _choose_tile(self, target: Target) -> Tile:
        lanes, registers = target.vector_lanes, target.vector_registers
        channels = min(self.filters, lanes) if self.is_packed else tile_of_group(self.share, lanes, registers)
        widths = vector_widths(channels, lanes)
        self.shares_rows = self.shares_rows and len(widths) == 1
        if self.shares_rows:
            return RowTiling(self.g, target).decided(self.group, widths)
        if not self.is_packed:
            return self._tile_of(widths, target, registers)
        self.pixel_cost = SPREAD_COST
        return self._tile_of(widths, target, max(registers - self.g.channels, FEWEST_REGISTERS))

    def inputs_of(self, results: int) -> int:
        """Input channels that so many results of whole groups sum over."""
        return results // self.share * self.g.channels

    def micro_kernel(self, rows: int, columns: int, widths: tuple[int, ...]) -> MicroKernel:
        """What computes one tile."""
        if self.shares_rows:
            return _RowKernel(self, rows, columns, widths)
        return (_PackedKernel if self.is_packed else _WideKernel)(self, rows, columns, widths)

    def first_input(self, j: Expr) -> Expr | int:
        """The first input channel that channel tile j reads."""
        return j * self.inputs_of(self.tile.channels) if self.is_packed else first_of_group(self, j)


def first_of_group(owner: ContractionEmitter, j: Expr) -> Expr | int:
    """The first input channel of the group that channel tile j is a part of."""
    if owner.g.groups == 1:
        return 0
    share, channels = owner.filters // owner.g.groups, owner.tile.channels
    if share % channels:
        raise InternalError(f"tiles of {channels} channels don't fit groups of {share}")
    return j // (share // channels) * owner.g.channels


def tile_of_group(filters: int, lanes: int, registers: int) -> int:
    """Results of one tile: a divisor of the group's for which vectors are full, and not too many."""

    def cost(size: int) -> tuple[int, int]:
        vectors = len(vector_widths(size, lanes))
        return filters // size * vectors, abs(vectors - PREFERRED_VECTORS)

    fitting = (d for d in range(1, filters + 1) if filters % d == 0)
    return min((d for d in fitting if len(vector_widths(d, lanes)) <= max(registers // 3, 1)), key=cost)


class _WideKernel(MicroKernel):
    """One register tile of the results of one group."""

    def __init__(self, owner: GroupedEmitter, rows: int, columns: int, widths: tuple[int, ...]) -> None:
        super().__init__(owner, rows, columns, widths)
        self.grouped = owner

    def _first_input(self, j: Expr) -> Expr | int:
        return self.grouped.first_input(j)


class _PackedKernel(_WideKernel):
    """One register tile of the results of several narrow groups."""

    @property
    def products(self) -> int:  # type: ignore[override]
        """Multiply-adds of one step for each sum: all channels of a group."""
        return self.o.g.channels

    def _extents(self) -> tuple[int, int]:
        return 1, self.o.g.window[1]

    def _step(self, image: Expr, y: Expr, x: Expr, j: Expr, depth: Expr) -> list[Stmt]:
        """The multiply-adds of one window element: as many as a group has channels for every accumulator."""
        o, g = self.grouped, self.o.g
        block: list[Stmt] = []
        weights: list[list[Expr]] = []
        starts: list[int] = []
        offset = 0
        for width, channel in zip(self.widths, self.channels, strict=True):
            places = [o.weight_index(j, depth + i, channel, offset) for i in range(g.channels)]
            weights.append([let(block, o.names.fresh("w"), Load(o.w, place, width)) for place in places])
            starts.append(o.inputs_of(offset))
            offset += width

        def pixel(r: Expr, s: Expr) -> list[Stmt]:
            inside: list[Stmt] = []
            at = (r * self.columns + s,)
            first = x + s * (g.strides[1] * g.pitch)
            for accumulator, each, start, width in zip(self.accumulators, weights, starts, self.widths, strict=True):
                place = (image, y + r * g.strides[0], first + start)
                inputs = o.inputs_of(width)
                line = let(inside, o.names.fresh("a"), Load(o.x, place, inputs))
                for i, weight in enumerate(each):
                    element = Spread(line, width, o.share, g.channels, i) if (width, inputs) != (1, 1) else line
                    inside.append(Store(accumulator, at, Fma(element, weight, Load(accumulator, at))))
            return inside

        return [*block, *self._pixels(pixel)]


class _RowKernel(_WideKernel):
    """One register tile whose steps take a row of the window, for one channel of a group, or packed ones' all."""

    @property
    def _together(self) -> int:
        """Channels of a group that a step takes."""
        return self.o.g.channels if self.grouped.is_packed else 1

    @property
    def products(self) -> int:  # type: ignore[override]
        """Multiply-adds of one step for each sum."""
        return self._together * self.o.g.window[1]

    def _extents(self) -> tuple[int, int]:
        return self.o.g.channels // self._together, 1

    def _step(self, image: Expr, y: Expr, x: Expr, j: Expr, depth: Expr) -> list[Stmt]:
        block: list[Stmt] = []
        for channel in range(self._together):
            weights = self._row_of_weights(block, j, depth + channel)
            for r in range(self.rows):
                for place, uses in groupby(uses_of_row(self.o.g, self.columns), key=lambda use: use[0]):
                    at = (image, y + r * self.o.g.strides[0], x + place * self.o.g.pitch)
                    self._multiply(block, at, channel, [(r * self.columns + s, kx) for _, kx, s in uses], weights)
        return block

    def _row_of_weights(self, block: list[Stmt], j: Expr, depth: Expr) -> list[list[Expr]]:
        """The weights of all columns of the window, for each vector."""
        g, name = self.o.g, self.o.names.fresh
        weights: list[list[Expr]] = []
        offset = 0
        for width, channel in zip(self.widths, self.channels, strict=True):
            steps = [depth + kx * (g.taps[1].step * g.channels) for kx in range(g.window[1])]
            places = [self.o.weight_index(j, step, channel, offset) for step in steps]
            weights.append([let(block, name("w"), self._loaded_weights(place, width)) for place in places])
            offset += width
        return weights

    def _multiply(
        self,
        block: list[Stmt],
        at: tuple[Expr, Expr, Expr],
        channel: int,
        uses: list[tuple[int, int]],
        weights: list[list[Expr]],
    ) -> None:
        """Add the products of one input pixel to the sums that use it: pairs of a sum and a column of the window."""
        offset = 0
        for accumulator, each, width in zip(self.accumulators, weights, self.widths, strict=True):
            element = let(block, self.o.names.fresh("a"), self._spread(at, channel, offset, width))
            for number, kx in uses:
                place = (Const(number),)
                block.append(Store(accumulator, place, Fma(element, each[kx], Load(accumulator, place))))
            offset += width

    def _spread(self, at: tuple[Expr, Expr, Expr], channel: int, offset: int, width: int) -> Expr:
        """The element of a pixel that multiplies the weights of each result of a vector."""
        o, (image, row, first) = self.grouped, at
        if not o.is_packed:
            element = self._element(at)
            return Broadcast(element, width) if width > 1 else element
        inputs = o.inputs_of(width)
        line = Load(o.x, (image, row, first + o.inputs_of(offset)), inputs)
        return Spread(line, width, o.share, o.g.channels, channel) if (width, inputs) != (1, 1) else line


def schedule_grouped(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule a convolution, or transposed one, in groups, whose padding lies in the margins."""
    anchor = group.anchor
    if not isinstance(anchor.operator, (Convolution, TransposeConvolution)) or anchor.attributes["groups"] == 1:
        return ()
    if any(v not in group.outer for v in anchor.operands):
        return ()
    return tuple(GroupedEmitter(group, walk, target, threads).schedule() for walk in walks(group))
