"""Grouped convolutions: each result sums over the input channels of its group alone.

The schedule is that of `contraction`; what differs is which channels a tile of results reads.

- Wide groups: a tile holds channels of one group. It starts at the first input channel of that group.
- Narrow groups, of fewer results than half the lanes of a vector: a vector holds the results of several whole groups.
  One vector of input holds all channels that they read; for the i-th channel of each group, its lanes are spread over
  the group's results. So all lanes multiply, and nothing is multiplied by zero.
"""

from __future__ import annotations

from ....loops.ir import Expr, Fma, Load, Spread, Stmt, Store
from ....lowering.group import Group
from ....lowering.kernel import Scheduled, let
from ....lowering.loops import vector_widths
from ....ops.convolution import Convolution
from ....ops.transpose_convolution import TransposeConvolution
from ....targets.target import Target
from .contraction import ContractionEmitter
from .geometry import Walk, walks
from .micro_kernel import MicroKernel
from .tiling import Tile

WIDEST_INPUT = 2
"""Vectors of input, at most, whose lanes are spread over one vector of results."""
SPREAD_COST = 1.0
"""Cycles that a pixel takes in a step beside its multiplications."""
FEWEST_REGISTERS = 8
"""Left for sums when the weights of a step are kept in registers."""
PREFERRED_VECTORS = 2
"""Of a tile: enough that a broadcast element serves several multiplications."""


def is_packed(channels: int, filters: int, lanes: int) -> bool:
    """True if vectors hold the results of several groups, each of `filters` results over `channels` inputs."""
    narrow = 2 * filters < lanes and lanes % filters == 0
    return narrow and lanes // filters * channels <= WIDEST_INPUT * lanes


class GroupedEmitter(ContractionEmitter):
    """Writes the kernel of one walk of a grouped convolution."""

    def __init__(self, group: Group, g: Walk, target: Target, threads: int) -> None:
        self.share = group.result.type.shape[-1] // g.groups
        """Results of one group."""
        self.is_packed = is_packed(g.channels, self.share, target.vector_lanes)
        super().__init__(group, g, target, threads)

    def _choose_tile(self, target: Target) -> Tile:
        lanes, registers = target.vector_lanes, target.vector_registers
        if not self.is_packed:
            return self._tile_of(vector_widths(tile_of_group(self.share, lanes, registers), lanes), target, registers)
        self.pixel_cost = SPREAD_COST
        left = max(registers - self.g.channels, FEWEST_REGISTERS)
        return self._tile_of(vector_widths(min(self.filters, lanes), lanes), target, left)

    def inputs_of(self, results: int) -> int:
        """Input channels that so many results of whole groups sum over."""
        return results // self.share * self.g.channels

    def micro_kernel(self, rows: int, columns: int, widths: tuple[int, ...]) -> MicroKernel:
        """What computes one tile."""
        return (_PackedKernel if self.is_packed else _WideKernel)(self, rows, columns, widths)


def first_of_group(owner: ContractionEmitter, j: Expr) -> Expr | int:
    """The first input channel of the group that channel tile j is a part of."""
    if owner.g.groups == 1:
        return 0
    tiles = owner.filters // owner.g.groups // owner.tile.channels
    return j // tiles * owner.g.channels


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
        return first_of_group(self.grouped, j)


class _PackedKernel(_WideKernel):
    """One register tile of the results of several narrow groups."""

    @property
    def products(self) -> int:  # type: ignore[override]
        """Multiply-adds of one step for each sum: all channels of a group."""
        return self.o.g.channels

    def _first_input(self, j: Expr) -> Expr | int:
        return j * self.grouped.inputs_of(self.o.tile.channels)

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


def schedule_grouped(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule a convolution, or transposed one, in groups, whose padding lies in the margins."""
    anchor = group.anchor
    if not isinstance(anchor.operator, (Convolution, TransposeConvolution)) or anchor.attributes["groups"] == 1:
        return ()
    if any(v not in group.outer for v in anchor.operands):
        return ()
    return tuple(GroupedEmitter(group, walk, target, threads).schedule() for walk in walks(group))
