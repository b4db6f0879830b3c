"""What schedules of Winograd's filtering for 3x3 convolutions of stride 1 share, F(4x4, 3x3).

Each thread takes blocks of tiles. It brings a block's inputs to the 36 points, [36][tile][channel]. Then, for one panel
of filters after another, it multiplies at each point the block's tiles by the panel's weights with the register-tiled
micro-kernel, [36][tile][filter], and brings the products back to results. What a block holds stays in the L2 cache.
Where tiles are few and filters many, threads share out the panels instead.

Filters known at load time are packed at their points; where that would take longer to read than to make, they are
brought there part by part of the channels, in the L2 cache, before they are multiplied.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from .....errors import InternalError
from .....graph.ir import Value
from .....loops.ir import Binary, Buffer, Const, Expr, For, If, LoopKind, Space, Stmt, Store, Var
from .....lowering.elements import Elements, Loaded, physical
from .....lowering.group import Group
from .....lowering.kernel import Names, Parameters, Scheduled, let
from .....lowering.loops import ceil_div, kind_for, loop, vector_widths
from .....ops.windows import winograd as f43
from .....targets.target import Target
from .....types import DType
from ..epilogue import finished_together
from ..geometry import Met, Walk, walks
from ..integers.lane_kernel import QUAD
from ..integers.rescaling import Rescaling
from ..owner import Fetched
from ..partition import part_of
from ..tiling import BROADCAST_CYCLES, Tile, Tiling, decided_tile
from .filters import Chunks
from .products import Product
from .tiles import Blocks, Points, Source, pitch_of, workspace

TILE = f43.TILE
BLOCK_SHARE = 0.2
"""Part of the L2 cache that a block's inputs at their points may fill ..."""
BLOCK_TILES = 24
"""... but the weights, which each block reads anew, should serve so many tiles at least."""
SPILLED_TILES = 96
"""Where the inputs of so few don't stay in the L2 cache, either, there should be so many."""
STREAMED_TILES = 64
"""So many where weights come from memory slowly. With no more tiles than that in the whole batch, filters are brought
to their points in each run."""
MOST_VECTORS = 4
"""Of filters in a register tile."""


def winograd_walk(group: Group, form: f43.Filtering = f43.F43) -> Walk:
    """How the anchor walks over its input by tiles. `InternalError` unless they lie inside the input's margins."""
    anchor = group.anchor
    x, weight = (v.type for v in anchor.operands[:2])
    found = walks(group)
    windows = [(walk.window, walk.strides, walk.dilations) for walk in found]
    if len(found) != 1 or not f43.is_served(x.dtype, *windows[0], form.stride):
        raise InternalError(f"{anchor.name} of {x} and {weight} can't be computed by {anchor.algorithm}")
    (walk,) = found
    rows, columns = (
        first + form.reach(size) for first, size in zip(walk.origin, (walk.height, walk.width), strict=True)
    )
    if rows > (walk.planes.rows or walk.buffer[1]) or columns * walk.pitch > walk.buffer[2]:
        raise InternalError(f"{anchor.name} by {anchor.algorithm} reaches beyond the margins of {x}")
    return walk


class WinogradEmitter(ABC):
    """Writes the kernel of one convolution."""

    dtype: DType
    """Of products and their sums."""
    points: DType
    """Of inputs and filters at their points."""
    form: f43.Filtering = f43.F43
    neighbours = 1
    """Channels that an instruction multiplies for each sum, and by how much more elements there are in a vector."""
    parts = 1
    """Parts of the channels whose products are kept apart."""
    most_vectors = MOST_VECTORS
    """Of filters in a register tile."""
    held_registers = 0
    """Registers that a register tile needs beside its sums, a vector of each filter and an input."""
    rescaling: Rescaling | None = None
    """How integer sums are rescaled from a table, bias included."""

    def __init__(self, group: Group, walk: Walk, target: Target, threads: int) -> None:
        self.group = group
        self.walk = walk
        self.target = target
        self.longest_epilogue = target.longest_epilogue
        self.joined_vectors = 1
        self.fetched: Sequence[Fetched] = ()
        self.kind = kind_for(group.macs)
        self.shares = threads if self.kind is LoopKind.PARALLEL else 1
        self.channels = self._summed_channels()
        self.filters = group.result.type.shape[-1]
        self.names = Names()
        self.bias: Buffer | None = None
        self.point: Expr = Const(0)
        self.share: Expr = Const(0)
        self.chunks: Chunks | None = None
        tiles = (walk.images, self.form.tiles_of(walk.height), self.form.tiles_of(walk.width))
        self.transforms = self._transforms()
        self.pitch = pitch_of(self.channels, self.points, target)
        self.by_lanes = self._takes_lanes(target)
        self.tile, self.blocks = self._choose_blocks(tiles, target)
        self.panels = ceil_div(self.filters, self.tile.channels)
        self.widths = self._widths(target)
        self._declare()
        self.g = self._view()

    def _widths(self, target: Target) -> list[tuple[int, ...]]:
        """Of the vectors of a panel; where the last panel has others, also of those."""
        last = vector_widths(self.filters % self.tile.channels, target.vector_lanes)
        if not last:
            return [self.tile.widths]
        return [self.tile.widths, last] if self.panels > 1 else [last]

    def _summed_channels(self) -> int:
        """Channels at the points."""
        return self.walk.planes.window * self.walk.channels

    def _takes_lanes(self, target: Target) -> bool:
        """Do multiplications take inputs from the lanes of vectors?"""
        return target.multiplies_by_lane and self.channels >= QUAD

    @abstractmethod
    def _transforms(self) -> bool:
        """Are filters brought to their points in each run?"""

    def _choose_blocks(self, tiles: tuple[int, int, int], target: Target) -> tuple[Tile, Blocks]:
        """The register tile, and blocks of so many image tiles that their inputs at all points stay in the L2 cache."""
        total = Blocks(tiles, 1, self.form.tile).total
        share = total if self.by_panels(total) else ceil_div(total, self.shares)
        # First the number of blocks, then their size: so the last one is about as large as the others.
        count = self._count(share, target)
        counts = (count, *(n for n in (count - 1, count + 1, 2 * count, 3 * count) if 0 < n <= share))
        chosen = self.group.choose("blocks", count, lambda: counts)
        assert isinstance(chosen, int)
        size = self._even_size(ceil_div(share, chosen), tiles)
        tile = self._decided_tile(self._tiling(size, target))
        # Whole register tiles. The last one of a block may have places for no image tile, whose products nobody reads.
        return tile, Blocks(tiles, ceil_div(size, tile.columns) * tile.columns, self.form.tile)

    def _even_size(self, size: int, tiles: tuple[int, int, int]) -> int:
        """The tiles of a block, `size` or fewer: whatever divides these tiles well."""
        return size

    def _count(self, share: int, target: Target) -> int:
        """So many blocks hold the tiles of a thread."""
        return ceil_div(share, self._largest_block(target))

    def _tiling(self, size: int, target: Target) -> Tiling:
        """What register tiles of a block of `size` are chosen for."""
        return Tiling(
            height=1,
            width=size,
            channels=self.filters,
            lanes=target.vector_lanes,
            registers=target.vector_registers - self.held_registers,
            max_vectors=self.most_vectors,
            whole_tiles=True,
            units=target.float_units,
            pixel_registers=int(self.by_lanes),
            pixel_cost=BROADCAST_CYCLES / (QUAD if self.by_lanes else 1),
        )

    def _decided_tile(self, tiling: Tiling) -> Tile:
        """Image tiles by vectors of filters that are multiplied at a time."""
        return decided_tile(self.group, tiling)

    def _largest_block(self, target: Target) -> int:
        """Tiles of a block."""
        tile = self.form.products * self.pitch * self.points.itemsize
        if target.streams_slowly:
            fewest = STREAMED_TILES
        else:
            fewest = BLOCK_TILES if BLOCK_TILES * tile <= target.l2_bytes else SPILLED_TILES
        return max(fewest, int(target.l2_bytes * BLOCK_SHARE / tile))

    def by_panels(self, total: int) -> bool:
        """True if threads share out the filters, not the tiles.

        All of them transform the inputs of all tiles, so these are few, or all filters would be transformed by all.
        """
        if self.shares == 1:
            return False
        few = total < BLOCK_TILES * self.shares and self.filters > total
        return few or (self.transforms and self.filters >= self.shares * MOST_VECTORS * self.target.vector_lanes)

    def _declare(self) -> None:
        operands, outer = self.group.anchor.operands, self.group.outer
        self.parameters = Parameters()
        source = outer[operands[0]]
        self.input = self.parameters.add(Buffer("x", source.type.dtype, self.walk.buffer), source)
        self.preparation: tuple[Scheduled, ...] = ()
        if self.transforms:
            self._declare_chunks(outer[operands[1]])
        else:
            self._declare_points(outer[operands[1]])
        self.anchor_bias: Buffer | None = None
        if len(operands) > 2 and operands[2] in outer and self.rescaling is None:
            self.anchor_bias = self.parameters.add(Buffer("b", self.dtype, (self.filters,)), outer[operands[2]])
        self.x = workspace(
            self.parameters, "v", self.points, self.shares, self.blocks.size * self.pitch, self.form.products
        )
        row = self.parts * self.kept_panels * self.products_of_part
        self.y = workspace(self.parameters, "m", self.dtype, self.shares, row, self.form.products)
        result = self.group.result.type
        self.result = Buffer("y", result.dtype, result.buffer_shape, Space.OUT)
        without = self.rescaling.factors if self.rescaling else ()
        self.extras = self.parameters.add_epilogue(self.group, self.result, lambda v: v.type.buffer_shape, without)
        self.parameters.add(self.result, self.group.operation.result)

    @abstractmethod
    def _declare_points(self, weight: Value) -> None:
        """Make the parameter `w` for the weights at their points."""

    @abstractmethod
    def _declare_chunks(self, weight: Value) -> None:
        """The filters in panels, and a place `w` for a part of them at its points."""

    @property
    def kept_panels(self) -> int:
        """Panels whose products lie beside each other."""
        return 1

    @property
    def products_of_part(self) -> int:
        """Of a block and a panel, at one point."""
        return self.blocks.size * self.tile.channels

    # ---- what the micro-kernel sees: 36 products of [tiles, channels] and [channels, filters] ----

    def _view(self) -> Walk:
        """Points as images, a block's tiles as one row of pixels."""
        _, _, row = self.x.shape
        return Walk(
            images=self.form.products,
            height=1,
            width=self.blocks.size,
            channels=self._steps(),
            pitch=self.pitch,
            buffer=(self.form.products, 1, row),
            flat=True,
        )

    def _steps(self) -> int:
        """Steps of the sum over the channels of a part."""
        return self.chunks.channels if self.chunks else self.channels

    @abstractmethod
    def weight_index(self, j: Expr, depth: Expr, channel: Expr, offset: int) -> tuple[Expr, ...]:
        """Place of the weights of step `depth` at the present point."""

    # ---- loops ----

    def schedule(self) -> tuple[Scheduled, ...]:
        """The kernels and their arguments."""
        by_panels = self.by_panels(self.blocks.total)

        def share(p: Expr) -> list[Stmt]:
            b = Var("b")
            blocks = part_of(self.blocks.count, p, self.shares, is_shared=not by_panels)
            panels = part_of(self.panels, p, self.shares, is_shared=by_panels)
            return [For("b", *blocks, (*self._inputs(p, b), *self._panels(p, b, panels)))]

        return (*self.preparation, self.parameters.scheduled(loop("p", self.shares, share, self.kind)))

    def _inputs(self, p: Expr, b: Expr) -> list[Stmt]:
        """Bring the inputs of a block to their points."""
        walk, stride = self.walk, self.form.stride
        planes, met = walk.planes, self._met(b)
        source = Source(self.input, walk.origin, walk.pitch, walk.channels, planes, stride=stride, met=met)
        lanes = self.neighbours * self.target.vector_lanes
        points = self._points(p * self.form.products)  # each thread has so many rows of the workspace
        return source.to_points(self.form.input, self.blocks, b, points, self.names, lanes)

    def _met(self, b: Expr) -> Met | None:
        """The planes of the window that a block multiplies; None: all of them."""
        return None

    def _points(self, first: Expr) -> Points:
        """Where the inputs of a block lie."""
        return Points(self.x, first, self.pitch, self.channels)

    def _panels(self, p: Expr, b: Expr, panels: tuple[Expr, Expr]) -> list[Stmt]:
        """All products of a block for a range of panels of filters, and their results."""
        j = Var("j")
        return [For("j", *panels, (*self._products(p, j), *self._results_of(p, b, j)))]

    def _results_of(self, p: Expr, b: Expr, j: Expr) -> list[Stmt]:
        """The results of a block for a panel."""
        return self.blocks.each(b, lambda t, number: self._results(p, j, t, number))

    def _products(self, p: Expr, j: Expr) -> list[Stmt]:
        """The products of a block by a panel."""
        self.point, self.share = Var("q"), p

        def by_widths(widths: tuple[int, ...]) -> list[Stmt]:
            return loop("q", self.form.products, lambda q: self._at_point(p, j, widths))

        return self._by_parts(p, j, self._by_panel(j, *map(by_widths, self.widths)))

    def _at_point(self, p: Expr, j: Expr, widths: tuple[int, ...]) -> list[Stmt]:
        """The products of a block by a panel at the present point."""
        tile, count = self.tile.columns, self.blocks.size // self.tile.columns

        def product(i: Expr) -> list[Stmt]:
            return self._product(widths, j, i).emit(p * self.form.products + self.point, Const(0), i * tile, j)

        return loop("i", count, product)

    def _by_panel(self, j: Expr, whole: list[Stmt], last: list[Stmt] | None = None) -> list[Stmt]:
        """`whole` for all panels, or for all but the last one, which has other vectors."""
        if last is None or not (whole or last):
            return whole
        return [If(Binary("lt", j, Const(self.panels - 1)), tuple(whole), tuple(last))]

    def _by_vectors(self, j: Expr, joined: int, body: Callable[[Expr, int, int], list[Stmt]]) -> list[Stmt]:
        """`body(first, width, count)` for the vectors of panel j, so many of them side by side where they allow.

        Where the last panel has fewer of a width, the others are passed over: no code is written twice.
        """

        def run(place: int, width: int, count: int, extent: int, whole: bool = True) -> list[Stmt]:
            size = width * count

            def unit(v: Expr) -> list[Stmt]:
                first = v * size + place
                block = body(first, width, count)
                end = Const(self.filters - size)
                return block if whole else [If(Binary("le", j * self.tile.channels + first, end), tuple(block))]

            return loop(self.names.fresh("v"), extent, unit)

        def runs(widths: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
            together = finished_together(widths, joined)
            return [(sum(widths[:number]), width, count, extent) for number, width, count, extent in together]

        plans, shared = list(map(runs, self.widths)), list[Stmt]()
        if len(plans) > 1 and plans[0][0][:3] == plans[1][0][:3]:
            longer, shorter = (plan.pop(0) for plan in plans)
            shared = run(*longer, whole=longer == shorter)
        return [*shared, *self._by_panel(j, *([s for each in plan for s in run(*each)] for plan in plans))]

    @abstractmethod
    def _product(self, widths: tuple[int, ...], j: Expr, i: Expr) -> Product:
        """What multiplies register tile i of a block by panel j."""

    @abstractmethod
    def _by_parts(self, p: Expr, j: Expr, products: list[Stmt]) -> list[Stmt]:
        """The products of all channels of a panel."""

    @abstractmethod
    def _results(self, p: Expr, j: Expr, t: Expr, number: Expr) -> list[Stmt]:
        """Bring the products of a tile back to results, and store what the epilogue makes of them."""

    def _image(self, block: list[Stmt], number: Expr) -> tuple[Expr, ...]:
        """Image, and plane where results have planes, by the number among all."""
        planes = self.walk.planes.count
        if self.group.result.type.rank == 4:
            return (number,)
        return tuple(let(block, self.names.fresh("t"), e) for e in (number // planes, number % planes))

    def _store(self, index: tuple[Expr, ...], width: int, total: Expr, constants: Loaded) -> list[Stmt]:
        """The epilogue for one pixel and a vector of filters."""
        lane = index[-1]
        elements = Elements(
            self.extras,
            self.group.producers,
            self.group.constants,
            lanes=width,
            lane=lane if isinstance(lane, Var) else None,
            known={self.rescaling.result if self.rescaling else self.group.anchor.result: total},
            loaded=constants,
            prefix=self.names.fresh("e") + "_",
        )
        result = elements.element(self.group.result, index)
        return [*elements.statements, Store(self.result, physical(self.group.result.type, index), result)]


def inside(body: list[Stmt], first: Expr, offset: int, size: int, tile: int = TILE) -> list[Stmt]:
    """`body` for the row or column `first` + `offset` of a tile, unless it lies outside a result of this size."""
    # The last tile reaches `size % tile` rows into the result; rows before that lie inside in every tile.
    if size % tile == 0 or offset < size % tile:
        return body
    return [If(Binary("lt", first, Const(size - offset)), tuple(body))]
