"""Register-tiled schedule for convolutions and dense layers: a sum of products with a weight, then an epilogue.

Loops, outermost first: blocks of result pixels (or tiles of channels) shared out to the threads; tiles of channels;
rows and columns of pixel tiles; then the micro-kernel (see `micro_kernel`) over the window and the input channels. A
weight known at load time is packed into panels [channel tile][window and input channel][channel], so that the innermost
loop reads it front to back; one that the program computes or changes is copied so where many pixels multiply it (see
`weight_panels`), else read as it lies, [window and input channel][channel]. The padding of a convolution must lie in
the input buffer's margins (see the pass `assign-layouts`), hence no bounds checks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

from ....graph.ir import Value
from ....loops.ir import Binary, Buffer, Const, Expr, For, If, LoopKind, Space, Stmt, Var
from ....lowering.group import Group
from ....lowering.kernel import Names, Packed, Parameters, Scheduled, packing_step
from ....lowering.loops import LINE, ceil_div, kind_for, loop, vector_widths
from ....ops.products.dense import Dense
from ....targets.target import Target
from ....types import DType
from .geometry import Walk
from .integers.lane_kernel import QUAD, LaneMicroKernel, takes_lanes
from .integers.rescaling import Rescaling
from .micro_kernel import MicroKernel
from .owner import Fetched
from .partition import Shares, largest_share
from .prefetch import VectorsAhead
from .tiling import BROADCAST_CYCLES, LATENCY, Band, Segment, Tile, Tiling, conflicts, decided_tile, grid_of
from .weight_panels import WeightPanels, are_copied

KEPT_SHARE = 0.5
"""Part of the L2 cache that the weights of a channel tile may fill to stay there."""
NEXT_SHARE = 0.75
"""The part that they and those of the next channel tile, which are asked for meanwhile, may fill (Zen 5)."""
AHEAD_BYTES = 4096
"""So far ahead weights are asked for that come from beyond the L2 cache: what Intel's cores foresee by themselves ends
with a page of memory, and leaves them waiting. Twice and half of it do as well."""
ASKING_PIXELS = range(8, 129)
"""With so many pixels cores wait that stream quickly, too: with fewer they do little else, with more they seldom do."""
MORE_ASKING_PIXELS = range(8, 513)
"""The same with 16 vector registers (Zen 3), whose register tiles are so small that filters come sooner, and with two
units for vectors of 512 bits (Zen 5), which wait with more pixels, too, for weights that don't stay in the L2 cache."""
ASKED_BYTES = 64 * 1024
"""Of weights, at least: fewer stay in the caches, or come in less time than a kernel begins."""
BLOCK_BYTES = 192 * 1024
"""Input that one sweep over the weights serves; it should stay in the L2 cache."""
SWEPT_SHARE = 3
"""The same in sizes of the L2 cache, where all bands of a sweep ask for weights together (Zen 5). Input comes from
beyond that cache by itself, and weights change seldom: a fifth of it takes 1.03 of the time, four times as much 1.02.
"""
LOAD_COST = 0.5
"""Cycles of an instruction that loads a pixel's element, where multiplications take none from memory."""


class ContractionEmitter:
    """Writes the kernel of one walk of a contraction group."""

    pixel_cost = 0.0
    """Cycles that a pixel takes in a step beside its multiplications (see `tiling.Tiling`); 0: what reading it
    takes."""
    vector_cost = 0.0
    """The same of a vector of weights."""
    held_vectors: int | None = None
    """Vectors of weights that are in registers at a time; None: all of a tile, and an input element."""
    fewest_vectors = 1
    """Of a tile, where there are enough filters: so many multiplications pay for the broadcast of an element."""
    pixel_registers = 0
    """Registers that a pixel needs beside its sums."""
    latency: float = LATENCY
    """Cycles from one product of a sum to the next."""
    held_registers = 0
    """Registers with what all steps of a tile use."""
    joined_vectors = 1
    """Vectors of sums, one or two, that are finished together."""
    band: tuple[Expr, int] = (Const(0), 1)
    """Number of the band that is being written, and how many there are, where all follow for each channel tile."""
    turn: tuple[Expr, int] = (Const(0), 1)
    """The same of the register tile."""
    by_lanes = False
    """Multiplications take the elements of a pixel from the lanes of a vector."""
    fetched: Sequence[Fetched] = ()
    """What tiles ask for early."""
    copied = False
    """The weight is copied in each run."""
    rescaling: Rescaling | None = None
    """How integer sums are rescaled from a table, bias included."""

    def __init__(self, group: Group, g: Walk, target: Target, threads: int, copies: WeightPanels | None = None) -> None:
        self.group = group
        self.g = g
        self.copies = copies
        self.kind = kind_for(group.macs)
        self.threads = threads if self.kind is LoopKind.PARALLEL else 1
        self.longest_epilogue = target.longest_epilogue
        self.x_type = self._input.type
        self.dtype = group.anchor.result.type.dtype
        self.filters = group.result.type.shape[-1]
        self.lanes = lanes = target.vector_lanes
        self.tile = self._choose_tile(target)
        self.grid = grid_of(g.height, g.width, self.tile, flat=g.flat)
        self.tiles, rest = divmod(self.filters, self.tile.channels)
        self.last_widths = vector_widths(rest, lanes)
        self.names = Names()
        self._declare()
        if self.copied or self._waits_for_ends(target):
            self.fetched = self._far()
        self.ahead = AHEAD_BYTES // self.w.dtype.itemsize if self._waits_for_weights(target) else 0
        """Elements of weights that steps of tiles ask for early."""
        panel = self.g.depth * self.tile.channels
        share = 1 if target.streams_quickly and target.has_few_registers else KEPT_SHARE
        self.asks_for_lines = target.has_few_registers
        """A step asks for each line once, not for each of its vectors."""
        self.next_panel = panel if 2 * panel * self.w.dtype.itemsize <= target.l2_bytes * share else 0
        """The same where tiles ask for the weights of the next channel tile; 0: these would displace those in use."""
        self.swept_bytes = SWEPT_SHARE * target.l2_bytes if self.ahead and self._is_outrun(target) else 0
        """Input of a sweep whose bands ask for weights together; 0: each asks for its own."""

    @property
    def _pixels(self) -> int:
        return self.g.images * self.g.height * self.g.width

    def _waits_for_weights(self, target: Target) -> bool:
        """Does a core spend its time waiting for packed weights, unless it asks for them early?"""
        if not self.packed or self.copied:
            return False
        if target.streams_slowly:
            return True
        if not (target.streams_quickly and self._has_large_weight):
            return False
        outrun = self._is_outrun(target)
        if outrun and self.g.depth * self.filters * self.w.dtype.itemsize > target.l2_bytes * KEPT_SHARE:
            return self._pixels >= ASKING_PIXELS.start
        more = outrun or (target.has_few_registers and self.g.groups == 1)
        return self._pixels in (MORE_ASKING_PIXELS if more else ASKING_PIXELS)

    def _is_outrun(self, target: Target) -> bool:
        """Does a core multiply faster than weights come? So it was measured in single precision, without groups."""
        return target.outruns_caches and self.x_type.dtype is DType.F32 and self.g.groups == 1

    @property
    def _has_large_weight(self) -> bool:
        """Is the packed weight so large that asking for it early may pay?"""
        return self.g.depth * self.filters * self.w.dtype.itemsize >= ASKED_BYTES

    def _choose_tile(self, target: Target) -> Tile:
        pixels = self._pixels
        self._count_reading(target)
        threads = self.threads if self.g.images % self.threads else 1
        shares = self._shares(Tile(1, 1, (self.filters,)))
        tiling = Tiling(
            height=self.g.height,
            width=self.g.width,
            channels=self.filters,
            threads=threads,
            flat=self.g.flat,
            joins_narrow=self._outruns_weights(target) and self.group.knows_weight,
            shared_input=shares.shared_input * self.filters / shares.cycles if shares.cycles else 0.0,
            lanes=target.vector_lanes,
            registers=target.vector_registers - self.held_registers,
            min_vectors=min(self.fewest_vectors, max(1, self.filters // target.vector_lanes)),
            max_vectors=8 if pixels == 1 else 4,
            pixel_cost=self.pixel_cost,
            vector_cost=self.vector_cost,
            held_vectors=self.held_vectors,
            latency=self.latency,
            units=self._units(target),
            pixel_registers=self.pixel_registers + target.loads_ahead,
            most_kept_vectors=self._kept_vectors(target),
            most_near_vectors=self._near_vectors(target),
            evicts=lambda rows, columns: conflicts(self._pixel_offsets(rows, columns), target.l1_bytes),
            fetching=partial(self._fetching, target),
        )
        return decided_tile(self.group, tiling)

    def _fetching(self, target: Target, vectors: int) -> float:
        """What a step waits for the weights of so many vectors, in multiplications, where that was measured."""
        return 0.0

    def _units(self, target: Target) -> int:
        """Vectors that the core multiplies in a cycle, as far as register tiles depend on it."""
        return target.float_units

    def _count_reading(self, target: Target) -> None:
        """Decide how pixels are read, and count what that takes."""
        self.by_lanes = target.multiplies_by_lane and takes_lanes(self.g, self.dtype)
        self.pixel_registers += self.by_lanes
        if target.multiplies_by_lane:
            self.pixel_cost += LOAD_COST / QUAD if self.by_lanes else LOAD_COST
        elif not self.pixel_cost:
            self.pixel_cost = BROADCAST_CYCLES

    def _near_vectors(self, target: Target) -> float:
        """Vectors of channels whose weights stay in the L1 cache, or come from the L2 cache beside the multiplications.

        Measured with 16 registers alone.
        """
        few = target.streams_quickly and target.has_few_registers and self.dtype is DType.F32
        if not few or self._pixels == 1 or not self.g.depth:
            return math.inf
        return max(2.0, target.l1_bytes / (2 * self.g.depth * target.vector_lanes * self.dtype.itemsize))

    def _kept_vectors(self, target: Target) -> float:
        """Vectors of channels whose weights stay in the L2 cache, where it matters.

        Where a core outruns them, beside those of the next channel tile.
        """
        size = self.g.depth * self.x_type.dtype.itemsize
        outruns = self._outruns_weights(target) and size * self.filters >= ASKED_BYTES
        if not (target.streams_slowly or outruns) or self._pixels == 1 or not self.g.depth:
            return math.inf
        return target.l2_bytes * KEPT_SHARE / (size * target.vector_lanes * (2 if outruns else 1))

    def _outruns_weights(self, target: Target) -> bool:
        """Does a core wait for weights that many pixels share? So it was measured in single precision alone.

        Dense layers of transformers lose by narrower register tiles (convnext_tiny takes 1.16 of the time): they only
        ask for weights.
        """
        return target.outruns_caches and self.x_type.dtype is DType.F32 and not self._is_dense

    @property
    def _is_dense(self) -> bool:
        return isinstance(self.group.anchor.operator, Dense)

    def _tile_of(self, widths: tuple[int, ...], target: Target, registers: int) -> Tile:
        """The best tile of these vectors of channels."""
        tiling = Tiling(
            height=self.g.height,
            width=self.g.width,
            channels=len(widths) * target.vector_lanes,
            lanes=target.vector_lanes,
            registers=registers - self.held_registers,
            min_vectors=len(widths),
            max_vectors=len(widths),
            pixel_cost=self.pixel_cost,
            vector_cost=self.vector_cost,
            held_vectors=self.held_vectors,
            latency=self.latency,
            units=target.float_units,
            pixel_registers=self.pixel_registers + target.loads_ahead,
            evicts=lambda rows, columns: conflicts(self._pixel_offsets(rows, columns), target.l1_bytes),
        )
        tile = decided_tile(self.group, tiling)
        return Tile(tile.rows, tile.columns, widths)

    def _declare(self) -> None:
        """Make the kernel's parameters and remember which argument each one takes."""
        operands, outer = self.group.anchor.operands, self.group.outer
        self.parameters = Parameters()
        self.x = self.parameters.add(Buffer("x", self.x_type.dtype, self.g.buffer), self._input)
        self._declare_weight(outer[operands[1]])
        self.bias: Buffer | None = None
        if len(operands) > 2 and operands[2] in outer and self.rescaling is None:
            self.bias = self.parameters.add(Buffer("b", self.dtype, (self.filters,)), outer[operands[2]])
        self.y = Buffer("y", self.group.result.type.dtype, self._view(self.group.result), Space.OUT)
        without = self.rescaling.factors if self.rescaling else ()
        self.extras = self.parameters.add_epilogue(self.group, self.y, self._view, without)
        self.parameters.add(self.y, self.group.operation.result)

    def _waits_for_ends(self, target: Target) -> bool:
        """Do what comes next wait for what ends of tiles read? So it was measured of dense layers in f32."""
        is_single = self.x_type.dtype is self.w.dtype is DType.F32
        return target.outruns_caches and is_single and self._is_dense

    def _far(self) -> Sequence[Fetched]:
        """The result and tensors like it that the epilogue reads.

        A tile reads and writes a line or two of each pixel, which lie far from each other: no processor foresees them.
        """
        result = self.group.result.type
        read = [Fetched(b, v.type, False) for v, b in self.extras.items() if v.type.shape == result.shape]
        return (*read, Fetched(self.y, result, True)) if read and not (self.copied and self.g.flat) else ()

    @property
    def _input(self) -> Value:
        """What the kernel reads as the first operand."""
        return self.group.outer[self.group.anchor.operands[0]]

    @property
    def panels(self) -> int:
        """Channel tiles, the last one perhaps narrower than the others."""
        return self.tiles + bool(self.last_widths)

    def _declare_weight(self, weight: Value) -> None:
        pixels = self._pixels
        known, wide = self.group.knows_weight, self.tile.channels
        self.copied = self.copies is not None and not known and are_copied(weight, pixels, wide, self.filters)
        self.packed = known or self.copied
        shape = (self.panels, self.g.depth, self.tile.channels) if self.packed else (self.g.depth, self.filters)
        self.w = Buffer("w", weight.type.dtype, shape)
        if self.copies is not None and self.copied:
            self.parameters.add(self.w, self.copies.of(wide))
        else:
            self.parameters.add(self.w, self._weight_argument(weight))

    def _weight_argument(self, weight: Value) -> Value | Packed:
        """The weight as the kernel reads it."""
        if not self.packed:
            return weight
        panels, depth, width = self.w.shape
        steps = [packing_step("reshape", shape=(depth, self.filters))]
        if panels * width > self.filters:
            steps.append(packing_step("pad", padding=((0, 0), (0, panels * width - self.filters))))
        steps.append(packing_step("reshape", shape=(depth, panels, width)))
        steps.append(packing_step("transpose", permutation=(1, 0, 2)))
        return Packed(weight, tuple(steps))

    def weight_index(self, j: Expr, depth: Expr, channel: Expr, offset: int) -> tuple[Expr, ...]:
        """Place of the weights of step `depth` for the channels from `channel` on, `offset` into channel tile j."""
        return (j, depth, Const(offset)) if self.packed else (depth, channel)

    def micro_kernel(self, rows: int, columns: int, widths: tuple[int, ...]) -> MicroKernel:
        """What computes one tile."""
        kind = LaneMicroKernel if self.by_lanes else MicroKernel
        kernel = kind(self, rows, columns, widths)
        if self.ahead:
            kernel.asks_for_lines = self.asks_for_lines
            kernel.ahead = self._by_turns()
        return kernel

    def _by_turns(self) -> Callable[[Expr], tuple[Expr, int]]:
        """Where the weights are that the present register tile asks for in a step; all tiles share them out."""
        return partial(VectorsAhead(self.ahead, self.next_panel, self.w.shape[1]).place, *self.turn)

    def _pixel_offsets(self, rows: int, columns: int) -> list[int]:
        """Byte offsets of the input pixels that a tile reads in one step."""
        (sy, sx), size = self.g.strides, self.x_type.dtype.itemsize
        return [(r * sy * self.g.buffer[2] + c * sx * self.g.pitch) * size for r in range(rows) for c in range(columns)]

    def _view(self, value: Value) -> tuple[int, ...]:
        shape = value.type.buffer_shape
        if self.g.flat and not self.g.line and len(shape) > 1 and value.type.shape == self.group.result.type.shape:
            return (*(1,) * (len(shape) - 2), self.g.width, shape[-1])
        return shape

    def schedule(self) -> Scheduled:
        """The kernel and its arguments."""
        default = "channels" if self._prefers_channels() else "bands"
        by_channels = self.group.choose("outer loop", default, lambda: ("channels", "bands")) == "channels"
        body = self._by_channels(self.kind) if by_channels else self._by_bands(self.kind)
        return self.parameters.scheduled(body, multiplies=self.g.multiplications)

    def _prefers_channels(self) -> bool:
        """Share out channel tiles (each thread reads its own weights) or bands of pixels (its own input)?"""
        if self.threads == 1:
            size = math.prod(self.g.buffer)
            if self.swept_bytes:
                return size * self.x_type.dtype.itemsize <= self.swept_bytes
            return self.g.depth * self.filters > size
        shares = self._shares(self.tile)
        return shares.by_channels < shares.by_bands

    def _shares(self, tile: Tile) -> Shares:
        """What threads would have to do with such tiles."""
        g, size, result = self.g, self.x_type.dtype.itemsize, self.group.result.type.dtype.itemsize
        grid, pixels = grid_of(g.height, g.width, tile, flat=g.flat), g.images * g.height * g.width
        extent, part = (g.width, tile.columns) if g.flat else (g.height, tile.rows)
        rest = extent % part if grid.last else 0
        whole = g.images * grid.count - bool(rest)
        panels, tail = divmod(self.filters, tile.channels)
        border = ceil_div(panels + bool(tail), self.threads) * tile.channels * result
        return Shares(
            threads=self.threads,
            cycles=pixels * self.filters * g.depth / (self.lanes * DType.F32.itemsize / size),
            channels=largest_share(panels, tile.channels, tail, self.threads) / self.filters,
            bands=largest_share(whole, part, rest, self.threads) / (whole * part + rest),
            weight=g.depth * self.filters * size,
            input=math.prod(g.buffer) * size,
            overlap=max(0, g.window[0] - g.strides[0]) * g.buffer[2] * size,
            torn_lines=pixels if border % LINE or self.filters * result % LINE else 0,
        )

    def _by_channels(self, kind: LoopKind) -> list[Stmt]:
        bands = self.grid.count * self.g.images

        def panel(j: Expr) -> list[Stmt]:
            def over_bands(widths: tuple[int, ...]) -> list[Stmt]:
                def each(g: Expr) -> list[Stmt]:
                    self.band = (g, bands)
                    return self._band(g, j, widths)

                return [*self._ahead(j, widths), *loop("g", bands, each)]

            main = over_bands(self.tile.widths) if self.tiles else []
            if not self.last_widths:
                return main
            last = over_bands(self.last_widths)
            return [If(Binary("lt", j, Const(self.tiles)), tuple(main), tuple(last))] if main else last

        return loop("j", self.panels, panel, kind)

    def _by_bands(self, kind: LoopKind) -> list[Stmt]:
        bands = self.grid.count * self.g.images
        blocks = self._sweeps(bands)

        def sweep(p: Expr) -> list[Stmt]:
            def over_bands(j: Expr, widths: tuple[int, ...]) -> list[Stmt]:
                return [*self._ahead(j, widths), *self._sweep(p, blocks, j, widths)]

            main = loop("j", self.tiles, lambda j: over_bands(j, self.tile.widths)) if self.tiles else []
            return [*main, *(over_bands(Const(self.tiles), self.last_widths) if self.last_widths else [])]

        return loop("p", blocks, sweep, kind)

    def _sweep(self, p: Expr, sweeps: int, j: Expr, widths: tuple[int, ...]) -> list[Stmt]:
        """The bands of one sweep of several, for channel tile j."""
        bands = self.grid.count * self.g.images
        if sweeps == bands:
            return self._band(p, j, widths)
        first, stop = (q * bands // sweeps for q in (p, p + 1))
        if self.swept_bytes:
            self.band = self._number_in_sweep(sweeps)
        return [For("g", first, stop, tuple(self._band(Var("g"), j, widths)))]

    def _number_in_sweep(self, sweeps: int) -> tuple[Expr, int]:
        """Of band g of a sweep a number that no other one has, and how many there are at most; see `band`."""
        bands = self.grid.count * self.g.images
        most = ceil_div(bands, sweeps)
        return (Var("g") if sweeps == 1 else Var("g") % most, most) if most > 1 else ContractionEmitter.band

    def _sweeps(self, bands: int) -> int:
        """How many sweeps over the weights there are."""
        default = self._fitting_sweeps(bands)
        counts = {default // 4, default // 2, default * 2, default * 4} & set(range(1, bands + 1))
        chosen = self.group.choose("sweeps", default, lambda: (default, *sorted(counts - {default})))
        assert isinstance(chosen, int)
        return chosen

    def _fitting_sweeps(self, bands: int) -> int:
        """So many that the input of the bands of each fits the L2 cache, or comes from beyond it by itself."""
        share = self.tile.rows / self.g.height if not self.g.flat else self.tile.columns / self.g.width
        bytes_per_band = max(1.0, self.g.plane_inputs * share * self.x_type.dtype.itemsize)
        most = max(1, int((self.swept_bytes or BLOCK_BYTES) / bytes_per_band))
        return min(ceil_div(ceil_div(bands, most), self.threads) * self.threads, bands)

    def _ahead(self, j: Expr, widths: tuple[int, ...]) -> list[Stmt]:
        """What comes before all tiles of channel tile j."""
        return []

    def _band(self, g: Expr, j: Expr, widths: tuple[int, ...]) -> list[Stmt]:
        """One row of tiles: band `g` of all images, channel tile `j`."""
        image = g // self.grid.count if self.g.images > 1 else Const(0)
        band = g % self.grid.count if self.g.images > 1 else g

        def tiles(of: Band) -> list[Stmt]:
            return [s for segment in of.segments for s in self._segment(of, segment, image, band, j, widths)]

        if self.grid.last is None:
            return tiles(self.grid.band)
        if self.grid.full == 0:
            return tiles(self.grid.last)
        test = Binary("lt", band, Const(self.grid.full))
        return [If(test, tuple(tiles(self.grid.band)), tuple(tiles(self.grid.last)))]

    def _segment(
        self, of: Band, segment: Segment, image: Expr, band: Expr, j: Expr, widths: tuple[int, ...]
    ) -> list[Stmt]:
        def tile(i: Expr) -> list[Stmt]:
            row, column = band * self.grid.band.rows, i * segment.columns + segment.start
            if self.g.flat:
                row, column = Const(0), band * self.grid.band.segments[0].columns
            return self._tile((of.rows, segment.columns), (image, row, column), j, widths)

        return loop("i", segment.count, tile)

    def _tile(
        self, pixels: tuple[int, int], first: tuple[Expr, Expr, Expr], j: Expr, widths: tuple[int, ...]
    ) -> list[Stmt]:
        """One tile: rows and columns of pixels from `first` on (image, row, column)."""
        self.turn = self._turn(first[2])
        return self.micro_kernel(*pixels, widths).emit(*first, j)

    def _turn(self, column: Expr) -> tuple[Expr, int]:
        """Number of the tile that begins at a column of the present band, and how many there are; see `band`."""
        if self.band is ContractionEmitter.band or self.g.flat:
            return self.band
        (band, bands), row = self.band, ceil_div(self.g.width, self.tile.columns)
        return band * row + column // self.tile.columns, bands * row
