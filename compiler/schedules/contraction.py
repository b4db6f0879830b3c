"""Register-tiled schedule for convolutions and dense layers: a sum of products with a weight, then an epilogue.

Loops, outermost first: blocks of result pixels (or tiles of channels) shared out to the threads; tiles of channels;
rows and columns of pixel tiles; then, inside the micro-kernel, the window and the input channels. A weight known at
load time is packed into panels [channel tile][window and input channel][channel], so that the innermost loop reads it
front to back; one that the program computes or changes is read as it lies, [window and input channel][channel]. The
padding of a convolution must lie in the input buffer's margins (see the pass `assign-layouts`), hence no bounds checks.

Pixels of a 1x1 convolution or a dense layer without margins form one long row ("flat").
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ..codegen.target import Target
from ..graph.ir import Value
from ..graph.types import TensorType
from ..loops.ir import (
    Allocate,
    Binary,
    Broadcast,
    Buffer,
    Const,
    Expr,
    Fma,
    For,
    If,
    Kernel,
    Load,
    LoopKind,
    Space,
    Stmt,
    Store,
    Var,
    minimum,
)
from ..ops.convolution import Convolution
from .elements import Elements, physical
from .group import Group
from .kernel import Names, Packed, Scheduled, let, step
from .loops import kind_for, loop
from .tiling import Tile, ceil_div, choose_tile, conflicts, vector_widths

BLOCK_BYTES = 192 * 1024
"""Input that one sweep over the weights serves; it should stay in the L2 cache."""
UNROLL_LIMIT = 4
"""Innermost loops up to this length are expanded."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """Result grid and how it walks over the input buffer, seen as [images, rows, columns * pitch]."""

    images: int
    height: int
    width: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    origin: tuple[int, int]
    """Buffer row and column of the first window element of the first result."""
    channels: int
    pitch: int
    """Elements from one input pixel to the next."""
    buffer: tuple[int, int, int]
    """Rows and columns of the input buffer are in elements: [images, rows, columns * pitch]."""
    flat: bool

    @property
    def depth(self) -> int:
        """Length of the sum."""
        return self.kernel[0] * self.kernel[1] * self.channels


def _flat(x: TensorType, pixels: int) -> Geometry:
    pitch = x.buffer_shape[-1]
    return Geometry(1, 1, pixels, (1, 1), (1, 1), (1, 1), (0, 0), x.shape[-1], pitch, (1, 1, pixels * pitch), True)


def _spatial(type_: TensorType) -> tuple[int, int, int]:
    """[N, W, C] or [N, H, W, C] as images, height, width."""
    return (type_.shape[0], 1 if type_.rank == 3 else type_.shape[1], type_.shape[-2])


def geometry(group: Group) -> Geometry | None:
    """How the anchor walks over its input; None where this schedule can't serve it."""
    anchor = group.anchor
    x, weight = (v.type for v in anchor.operands[:2])
    y = anchor.result.type
    if not isinstance(anchor.operator, Convolution):
        return _flat(x, math.prod(x.shape[:-1]))
    if x.rank > 4 or anchor.attributes["groups"] != 1:
        return None
    window = anchor.operator.window(x, weight, anchor.attributes)
    outs = [v.type for v in (group.result, *group.outer) if v.type.shape == y.shape]
    dense = all(m == (0, 0) for t in (x, *outs) for m in t.margins[1:-1])
    if dense and set(window.kernel) == {1} and set(window.strides) == {1} and _flat_epilogue(group):
        return _flat(x, math.prod(x.shape[:-1]))
    one = x.rank == 3
    images, height, width = _spatial(y)
    margins = x.margins[1:-1]
    origin = [m[0] - p[0] for m, p in zip(margins, window.padding, strict=True)]
    if min(origin) < 0 or any(m[1] < p[1] for m, p in zip(margins, window.padding, strict=True)):
        return None
    shape = x.buffer_shape
    return Geometry(
        images,
        height,
        width,
        _pair(window.kernel),
        _pair(window.strides),
        _pair(window.dilations),
        (0, origin[0]) if one else (origin[0], origin[1]),
        x.shape[-1],
        shape[-1],
        (shape[0], 1 if one else shape[1], shape[-2] * shape[-1]),
        False,
    )


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    """Vertical and horizontal value; windows over one dimension have height 1."""
    return (1, values[0]) if len(values) == 1 else (values[0], values[1])


def _flat_epilogue(group: Group) -> bool:
    """True if every other operand has the result's shape, or is the same for all pixels."""
    shape = group.result.type.shape
    own = set(group.anchor.operands)
    return all(v.type.shape == shape or math.prod(v.type.shape[:-1]) == 1 for v in group.outer if v not in own)


# ---- the grid of register tiles -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Segment:
    """`count` tiles of `columns` pixels side by side from column `start` on."""

    start: int
    count: int
    columns: int


@dataclass(frozen=True, slots=True)
class Band:
    """One row of tiles: `rows` pixels high."""

    rows: int
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """All bands of one image: `full` equal ones, then perhaps a lower (for flat grids: shorter) last one."""

    band: Band
    full: int
    last: Band | None

    @property
    def count(self) -> int:
        """Bands of one image."""
        return self.full + (self.last is not None)


def _segments(width: int, columns: int) -> tuple[Segment, ...]:
    whole, rest = divmod(width, columns)
    segments = [Segment(0, whole, columns)] if whole else []
    if rest:
        segments.append(Segment(whole * columns, 1, rest))
    return tuple(segments)


def grid_of(g: Geometry, tile: Tile) -> Grid:
    """Divide the result into bands of tiles."""
    if g.flat:
        full, rest = divmod(g.width, tile.columns)
        last = Band(1, _segments(rest, rest)) if rest else None
        return Grid(Band(1, _segments(tile.columns, tile.columns)), full, last)
    full, rest = divmod(g.height, tile.rows)
    segments = _segments(g.width, tile.columns)
    return Grid(Band(tile.rows, segments), full, Band(rest, segments) if rest else None)


# ---- emission -------------------------------------------------------------------------------------------------------


class ContractionEmitter:
    """Writes the kernel of one contraction group."""

    def __init__(self, group: Group, g: Geometry, target: Target, threads: int) -> None:
        self.group = group
        self.g = g
        self.threads = threads
        self.dtype = group.result.type.dtype
        self.filters = group.result.type.shape[-1]
        lanes = target.vector_lanes
        pixels = g.images * g.height * g.width
        self.tile = choose_tile(
            g.height,
            g.width,
            self.filters,
            lanes=lanes,
            registers=target.vector_registers,
            max_vectors=8 if pixels == 1 else 4,
            evicts=lambda rows, columns: conflicts(self._pixel_offsets(rows, columns), target.l1_bytes),
        )
        self.grid = grid_of(g, self.tile)
        self.tiles, rest = divmod(self.filters, self.tile.channels)
        self.last_widths = vector_widths(rest, lanes)
        self.names = Names()
        self._declare()

    def _declare(self) -> None:
        """Make the kernel's parameters and remember which argument each one takes."""
        operands = self.group.anchor.operands
        width = self.tile.channels
        panels = self.tiles + bool(self.last_widths)
        self.x = Buffer("x", self.dtype, self.g.buffer)
        self.packed = self.group.outer[operands[1]] in self.group.static
        w_shape = (panels, self.g.depth, width) if self.packed else (self.g.depth, self.filters)
        self.w = Buffer("w", self.dtype, w_shape)
        self.y = Buffer("y", self.dtype, self._view(self.group.result), Space.OUT)
        outer = self.group.outer
        self.params = [self.x, self.w]
        self.arguments: list[Value | Packed] = [outer[operands[0]], self._weight_argument(outer[operands[1]])]
        self.bias: Buffer | None = None
        if len(operands) > 2:
            self.bias = Buffer("b", self.dtype, (self.filters,))
            self.params.append(self.bias)
            self.arguments.append(outer[operands[2]])
        self.extras: dict[Value, Buffer] = {}
        for value in self.group.epilogue_inputs:
            self.extras[value] = Buffer(f"e{len(self.extras)}", value.type.dtype, self._view(value))
            self.params.append(self.extras[value])
            self.arguments.append(outer[value])
        self.params.append(self.y)
        self.arguments.append(self.group.operation.result)

    def _weight_argument(self, weight: Value) -> Value | Packed:
        """The weight as the kernel reads it."""
        if not self.packed:
            return weight
        panels, depth, width = self.w.shape
        steps = [step("reshape", shape=(depth, self.filters))]
        if panels * width > self.filters:
            steps.append(step("pad", padding=((0, 0), (0, panels * width - self.filters))))
        steps.append(step("reshape", shape=(depth, panels, width)))
        steps.append(step("transpose", permutation=(1, 0, 2)))
        return Packed(weight, tuple(steps))

    def weight_index(self, j: Expr, depth: Expr, channel: Expr, offset: int) -> tuple[Expr, ...]:
        """Place of the weights of step `depth` for the channels from `channel` on, `offset` into channel tile j."""
        return (j, depth, Const(offset)) if self.packed else (depth, channel)

    def _pixel_offsets(self, rows: int, columns: int) -> list[int]:
        """Byte offsets of the input pixels that a tile reads in one step."""
        (sy, sx), size = self.g.strides, self.dtype.itemsize
        return [(r * sy * self.g.buffer[2] + c * sx * self.g.pitch) * size for r in range(rows) for c in range(columns)]

    def _view(self, value: Value) -> tuple[int, ...]:
        shape = value.type.buffer_shape
        if self.g.flat and len(shape) > 1 and value.type.shape == self.group.result.type.shape:
            return (*(1,) * (len(shape) - 2), self.g.width, shape[-1])
        return shape

    def schedule(self) -> Scheduled:
        """The kernel and its arguments."""
        kind = kind_for(self.group.macs)
        body = self._by_channels(kind) if self._prefers_channels() else self._by_bands(kind)
        return Scheduled(Kernel("", tuple(self.params), tuple(body)), tuple(self.arguments))

    def _prefers_channels(self) -> bool:
        """Share out channel tiles (each thread reads its own weights) or bands of pixels (its own input)?"""
        panels = self.tiles + bool(self.last_widths)
        bands = self.grid.count * self.g.images
        uneven_channels = ceil_div(panels, self.threads) * self.threads / panels
        uneven_bands = ceil_div(bands, self.threads) * self.threads / bands
        weights, inputs = self.g.depth * self.filters, math.prod(self.g.buffer)
        if abs(uneven_channels - uneven_bands) > 0.05:
            return uneven_channels < uneven_bands
        return weights > inputs

    def _by_channels(self, kind: LoopKind) -> list[Stmt]:
        bands = self.grid.count * self.g.images
        panels = self.tiles + bool(self.last_widths)

        def panel(j: Expr) -> list[Stmt]:
            main = loop("g", bands, lambda g: self._band(g, j, self.tile.widths)) if self.tiles else []
            if not self.last_widths:
                return main
            last = loop("g", bands, lambda g: self._band(g, j, self.last_widths))
            return [If(Binary("lt", j, Const(self.tiles)), tuple(main), tuple(last))] if main else last

        return loop("j", panels, panel, kind)

    def _by_bands(self, kind: LoopKind) -> list[Stmt]:
        bands = self.grid.count * self.g.images
        block = self._bands_per_block(bands)

        def sweep(p: Expr) -> list[Stmt]:
            def over_bands(j: Expr, widths: tuple[int, ...]) -> list[Stmt]:
                if block == 1:
                    return self._band(p, j, widths)
                stop = minimum(p * block + block, bands) if bands % block else p * block + block
                return [For("g", p * block, stop, tuple(self._band(Var("g"), j, widths)))]

            main = loop("j", self.tiles, lambda j: over_bands(j, self.tile.widths)) if self.tiles else []
            return [*main, *(over_bands(Const(self.tiles), self.last_widths) if self.last_widths else [])]

        return loop("p", ceil_div(bands, block), sweep, kind)

    def _bands_per_block(self, bands: int) -> int:
        """Bands that one sweep over the weights serves: as many as keep their input in the L2 cache."""
        _, rows, columns = self.g.buffer
        share = self.tile.rows / self.g.height if not self.g.flat else self.tile.columns / self.g.width
        bytes_per_band = max(1.0, rows * columns * share * self.dtype.itemsize)
        most = max(1, int(BLOCK_BYTES / bytes_per_band))
        blocks = ceil_div(ceil_div(bands, most), self.threads) * self.threads
        return ceil_div(bands, min(blocks, bands))

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
            micro = MicroKernel(self, of.rows, segment.columns, widths)
            return micro.emit(image, row, column, j)

        return loop("i", segment.count, tile)


class MicroKernel:
    """The innermost piece: one register tile from the first product to the stored result."""

    def __init__(self, owner: ContractionEmitter, rows: int, columns: int, widths: tuple[int, ...]) -> None:
        self.o = owner
        self.rows = rows
        self.columns = columns
        self.widths = widths
        shape = (rows * columns,)
        name = owner.names.fresh
        self.accumulators = [Buffer(name("acc"), owner.dtype, shape, Space.REGISTER, lanes=w) for w in widths]
        self.block: list[Stmt] = []

    def emit(self, image: Expr, row: Expr, column: Expr, j: Expr) -> list[Stmt]:
        """The statements for the tile whose first pixel is (row, column) of `image`."""
        self._start(j)
        self._accumulate(image, row, column, j)
        self._finish(image, row, column)
        return self.block

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
            if o.bias:
                values.append(let(self.block, o.names.fresh("bias"), Load(o.bias, (channel,), width)))
            else:
                values.append(Const(0.0, o.dtype, width))

        def clear(r: Expr, s: Expr) -> list[Stmt]:
            place = (r * self.columns + s,)
            return [Store(a, place, v) for a, v in zip(self.accumulators, values, strict=True)]

        self.block += self._pixels(clear)

    def _accumulate(self, image: Expr, row: Expr, column: Expr, j: Expr) -> None:
        o, g = self.o, self.o.g
        (kh, kw), (dy, dx) = g.kernel, g.dilations
        y0 = let(self.block, o.names.fresh("iy"), row * g.strides[0] + g.origin[0])
        x0 = let(self.block, o.names.fresh("ix"), (column * g.strides[1] + g.origin[1]) * g.pitch)
        merged = kw == 1 or (g.pitch == g.channels and dx == 1)
        inner = kw * g.channels if merged else g.channels
        outer = 1 if merged else kw

        def step(ky: Expr, kx: Expr, k: Expr) -> list[Stmt]:
            depth = (ky * outer + kx) * inner + k
            return self._step(image, y0 + ky * dy, x0 + (kx * (dx * g.pitch) + k), j, depth)

        small = inner <= UNROLL_LIMIT
        kind = LoopKind.UNROLL if small else LoopKind.SERIAL
        window = LoopKind.UNROLL if small and inner * outer * kh <= 3 * UNROLL_LIMIT else LoopKind.SERIAL
        self.block += loop(
            "ky",
            kh,
            lambda ky: loop("kx", outer, lambda kx: loop("k", inner, lambda k: step(ky, kx, k), kind), window),
            window,
        )

    def _step(self, image: Expr, y: Expr, x: Expr, j: Expr, depth: Expr) -> list[Stmt]:
        """One multiply-add for every accumulator."""
        o, g = self.o, self.o.g
        block: list[Stmt] = []
        weights: list[Expr] = []
        offset = 0
        for width, channel in zip(self.widths, self.channels, strict=True):
            place = o.weight_index(j, depth, channel, offset)
            weights.append(let(block, o.names.fresh("w"), Load(o.w, place, width)))
            offset += width

        def pixel(r: Expr, s: Expr) -> list[Stmt]:
            place = (image, y + r * g.strides[0], x + s * (g.strides[1] * g.pitch))
            inside: list[Stmt] = []
            element = let(inside, "a", Load(o.x, place))
            at = (r * self.columns + s,)
            for accumulator, weight, width in zip(self.accumulators, weights, self.widths, strict=True):
                spread = Broadcast(element, width) if width > 1 else element
                inside.append(Store(accumulator, at, Fma(spread, weight, Load(accumulator, at))))
            return inside

        return [*block, *self._pixels(pixel)]

    def _finish(self, image: Expr, row: Expr, column: Expr) -> None:
        o = self.o

        def pixel(r: Expr, s: Expr) -> list[Stmt]:
            block: list[Stmt] = []
            at = (r * self.columns + s,)
            for v, (accumulator, width) in enumerate(zip(self.accumulators, self.widths, strict=True)):
                channel = self.channels[v]
                index = (*self._place(image, row + r, column + s), channel)
                elements = Elements(
                    o.extras,
                    o.group.producers,
                    o.group.constants,
                    lanes=width,
                    lane=channel if isinstance(channel, Var) else None,
                    known={o.group.anchor.result: Load(accumulator, at)},
                    prefix=f"v{v}_",
                )
                result = elements.element(o.group.result, index)
                block += elements.statements
                block.append(Store(o.y, physical(o.group.result.type, index), result))
            return block

        self.block += self._pixels(pixel)

    def _place(self, image: Expr, row: Expr, column: Expr) -> tuple[Expr, ...]:
        """A result pixel as leading indices of the result."""
        rank = self.o.group.result.type.rank
        if self.o.g.flat:
            return (*(Const(0),) * (rank - 2), column)[: rank - 1]
        return (image, column) if rank == 3 else (image, row, column)


def schedule_contraction(group: Group, target: Target, threads: int) -> Scheduled | None:
    """Schedule a group whose anchor is a contraction; None where its form needs the generic lowering."""
    operands = group.anchor.operands
    if not group.anchor.operator.contraction or not group.result.type.dtype.is_float:
        return None
    if any(v not in group.outer for v in operands):
        return None
    g = geometry(group)
    return None if g is None else ContractionEmitter(group, g, target, threads).schedule()
