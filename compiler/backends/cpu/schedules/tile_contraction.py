"""Integer convolutions and dense layers by tile registers: products of whole tiles of bytes.

Loops and packed weights are those of `integer_contraction`; the micro-kernel differs. A tile of inputs has up to 16
pixels of a row, and of each up to 64 bytes of a run of the sum, loaded from the input as it lies: the distance from
pixel to pixel is the pitch of its rows. It is multiplied with tiles of weights, [fours of the run][channel, byte], for
16 channels each. Sums go through the stack to the epilogue, a vector of channels at a time. Each combination of signs
has its instruction, so that only the zero points are to be made good. `tile_shapes` chooses how all is cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, groupby

from ....graph.ir import Value
from ....loops.ir import Allocate, Buffer, Const, Expr, For, Join, Load, LoopKind, Space, Stmt, Store, TileDot4
from ....lowering.group import Group, Setting
from ....lowering.kernel import Packed, Scheduled, let, packing_step
from ....lowering.loops import ceil_div, loop
from ....targets.target import Target
from ....types import DType
from .epilogue import Finish
from .geometry import Walk, walks
from .integer_contraction import DotEmitter, DotMicroKernel, serves
from .micro_kernel import MicroKernel, Step
from .signs import QUAD
from .tile_shapes import COLUMNS, ROWS, Shapes, Steps, held, parts_of
from .tiling import Tile

DOT4_PRODUCTS = 70.0
"""Multiply-adds of a cycle without tiles (VNNI)."""
JOINED = 2
"""Vectors of sums that are finished together: the instructions of one fill the waiting times of the other."""
GAIN = 0.8
"""Part of the time without tiles that must not be exceeded."""


def schedule_tile_contraction(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule a sum of integer products with a weight known at load time, where tiles are quicker."""
    if not target.has_byte_tiles or not serves(group):
        return ()
    found = walks(group)
    if not all(_fits(group, walk) for walk in found):
        return ()
    emitters = [TileEmitter(group, walk, target, threads) for walk in found]
    if not emitters or any(emitter.signs.needs_input_sums or not emitter.pays for emitter in emitters):
        return ()
    return tuple(emitter.schedule() for emitter in emitters)


def _fits(group: Group, g: Walk) -> bool:
    """Inputs lie along rows, and no tile of channels belongs to two groups."""
    share = group.result.type.shape[-1] // g.groups
    return not (g.is_empty or g.channel_rows or g.step != 1) and (g.groups == 1 or share % COLUMNS == 0)


class TileEmitter(DotEmitter):
    """Writes the kernel of one integer contraction."""

    def _choose_tile(self, target: Target) -> Tile:
        self.signs = replace(self.signs, left=self.signs.x)
        g, share = self.g, self.filters // self.g.groups
        self.cut = Steps.of(self.run_length)
        shapes = Shapes(
            g=g,
            filters=share,
            steps=self.cut,
            runs=self.runs,
            threads=self.threads,
            residuals=sum(v.type.shape == self.group.result.type.shape for v in self.group.epilogue_inputs),
            l1_bytes=target.l1_bytes,
            l2_bytes=target.l2_bytes,
        )
        best, self.channels_outside, cycles = shapes.best()
        self.pays = cycles < GAIN * self.group.macs / DOT4_PRODUCTS / self.threads

        def settings() -> list[Setting]:
            return list(dict.fromkeys(tile.setting for tile in (best, *shapes.promising())))

        return Tile.of(self.group.choose("tile", best.setting, settings))

    def _prefers_channels(self) -> bool:
        return self.channels_outside if self.threads == 1 else super()._prefers_channels()

    @property
    def quads(self) -> int:
        """Fours of the whole sum."""
        return self.runs * self.cut.total

    def _declare_panels(self, weight: Value) -> int:
        """Panels of the channels of one tile register, in which a step's weights lie one after the other."""
        self.w = Buffer("w", DType.I8, (ceil_div(self.filters, COLUMNS), self.quads * COLUMNS * QUAD))
        pack = packing_step("pack_dot4", rows=self.runs, width=COLUMNS, offset=self.signs.weight_offset)
        self.parameters.add(self.w, Packed(weight, (pack,)))
        return self.quads

    def micro_kernel(self, rows: int, columns: int, widths: tuple[int, ...]) -> MicroKernel:
        """What computes one tile."""
        return TileMicroKernel(self, rows, columns, widths)


@dataclass(frozen=True, slots=True)
class Part:
    """The pixels of one tile register: `size` of them from column `start` of row `row` of the micro-kernel on."""

    row: int
    start: int
    size: int


class TileMicroKernel(DotMicroKernel):
    """Rows and columns of pixels by tiles of 16 channels."""

    def __init__(self, owner: TileEmitter, rows: int, columns: int, widths: tuple[int, ...]) -> None:
        super().__init__(owner, rows, columns, widths)
        self.owner = owner
        self.tiles = ceil_div(sum(widths), COLUMNS)
        """Of channels."""
        self.sizes = parts_of(columns)
        ends = [*accumulate(self.sizes)]
        line = [(end - size, size) for end, size in zip(ends, self.sizes, strict=True)]
        self.parts = [Part(row, start, size) for row in range(rows) for start, size in line]
        self.elements = QUAD * owner.cut.quads
        name, self.places = owner.names.fresh, dict[Part, int]()
        counts = Counter[int]()
        for part in self.parts:
            self.places[part] = counts[part.size] * self.tiles
            counts[part.size] += 1
        self.totals = {
            size: Buffer(name("acc"), DType.I32, (count * self.tiles, size), Space.TILE, COLUMNS)
            for size, count in counts.items()
        }
        shape = (len(self.parts) * self.tiles, ROWS * COLUMNS)
        self.finished = Buffer(name("sums"), DType.I32, shape, Space.STACK)

    def emit(self, image: Expr, row: Expr, column: Expr, j: Expr) -> list[Stmt]:
        """The statements, as a block of their own, with which the tiles end."""
        body = tuple(super().emit(image, row, column, j))
        return [For(self.owner.names.fresh("once"), Const(0), Const(1), body, LoopKind.UNROLL)]

    def _extents(self) -> tuple[int, int]:
        g = self.owner.g
        return self.owner.cut.count, 1 if g.merges_columns else g.window[1]

    def _depth(self, kz: Expr, ky: Expr, kx: Expr, k: Expr) -> Expr:
        _, outer = self._extents()
        run = (kz * self.owner.g.window[0] + ky) * outer + kx
        return run * self.owner.cut.total + k * self.owner.cut.quads

    def _start(self, j: Expr) -> None:
        self.channels, self.starts = [], list[Expr]()
        offset = 0
        for width in self.widths:
            channel = let(self.block, self.owner.names.fresh("c"), j * self.owner.tile.channels + offset)
            self.channels.append(channel)
            offset += width
        x, held_inputs = self.owner.x.dtype, held(tuple(p.size for p in self.parts), self.tiles)
        inputs, weights = held_inputs
        self.holds_inputs = inputs.total() == len(self.parts) and weights == 1
        name = self.owner.names.fresh
        self.inputs = {
            (size, quads): Buffer(name("left"), x, (count, size), Space.TILE, QUAD * quads)
            for quads in self.owner.cut.sizes
            for size, count in inputs.items()
        }
        self.weights = {
            quads: Buffer(name("right"), DType.I8, (weights, quads), Space.TILE, QUAD * COLUMNS)
            for quads in self.owner.cut.sizes
        }
        self.block += map(Allocate, (*self.totals.values(), *self.inputs.values(), *self.weights.values()))
        for size, buffer in self.totals.items():
            zero = Const(0, DType.I32, size * COLUMNS)
            self.block += [Store(buffer, (Const(n),), zero) for n in range(buffer.shape[0])]

    def _step(self, image: Expr, y: Expr, x: Expr, j: Expr, depth: Expr) -> list[Stmt]:
        return self._products(self.owner.cut.quads, (image, y, x), j, depth)

    @property
    def _last_step(self) -> Step | None:
        rest = self.owner.cut.rest
        return (lambda image, y, x, j, depth: self._products(rest, (image, y, x), j, depth)) if rest else None

    def _products(self, quads: int, first: tuple[Expr, Expr, Expr], j: Expr, depth: Expr) -> list[Stmt]:
        """The products of so many fours of each pixel's inputs: one side is loaded, then each tile of the other."""
        block: list[Stmt] = []
        place = {part: Const(n) for n, part in self._numbered_parts()} if self.holds_inputs else {}
        slots = range(self.tiles) if not self.holds_inputs else [0] * self.tiles

        def load_input(part: Part) -> Expr:
            buffer, at = self.inputs[part.size, quads], place.get(part, Const(0))
            block.append(Store(buffer, (at,), self._input(part, quads, first)))
            return Load(buffer, (at,))

        def load_weight(tile: int) -> Expr:
            buffer, at = self.weights[quads], Const(slots[tile])
            panel = j * (self.owner.tile.channels // COLUMNS) + tile
            lanes = quads * QUAD * COLUMNS
            block.append(Store(buffer, (at,), Load(self.owner.w, (panel, depth * (QUAD * COLUMNS)), lanes)))
            return Load(buffer, (at,))

        def multiply(part: Part, a: Expr, tile: int, b: Expr) -> None:
            buffer, at = self.totals[part.size], Const(self.places[part] + tile)
            block.append(Store(buffer, (at,), TileDot4(a, b, Load(buffer, (at,)), COLUMNS)))

        if self.holds_inputs:
            inputs = {part: load_input(part) for part in self.parts}
            for tile in range(self.tiles):
                b = load_weight(tile)
                for part, a in inputs.items():
                    multiply(part, a, tile, b)
            return block
        weights = [load_weight(tile) for tile in range(self.tiles)]
        for part in self.parts:
            a = load_input(part)
            for tile, b in enumerate(weights):
                multiply(part, a, tile, b)
        return block

    def _numbered_parts(self) -> Iterator[tuple[int, Part]]:
        """Parts and their places among those of their size."""
        for part, first in self.places.items():
            yield first // self.tiles, part

    def _input(self, part: Part, quads: int, first: tuple[Expr, Expr, Expr]) -> Load:
        """The inputs of a part's pixels."""
        (image, y, x), g = first, self.owner.g
        pitch = g.strides[1] * g.pitch
        place = (image, y + part.row * g.strides[0], x + part.start * pitch)
        return Load(self.owner.x, place, quads * QUAD, part.size, pitch)

    def _finish(self, image: Expr, row: Expr, column: Expr) -> None:
        self.block.append(Allocate(self.finished))
        for n, part in enumerate(self.parts):
            for tile in range(self.tiles):
                total = Load(self.totals[part.size], (Const(self.places[part] + tile),))
                self.block.append(Store(self.finished, (Const(n * self.tiles + tile), Const(0)), total))
        first, offset = 0, 0
        for width, same in groupby(self.widths):
            count = len(list(same))
            joined = JOINED if width == COLUMNS else 1
            for step, units in ((joined, count // joined), (1, count % joined)):
                if units:
                    vector = partial(self._vector, (image, row, column), first, offset, (width, step))
                    self.block += loop(self.owner.names.fresh("v"), units, vector)
                first, offset = first + units * step, offset + units * step * width
                if joined == 1:
                    break

    def _vector(
        self, tile: tuple[Expr, Expr, Expr], first: int, offset: int, extent: tuple[int, int], v: Expr
    ) -> list[Stmt]:
        """The epilogue of the v-th vector of channels from the first on, `offset` channels into the micro-kernel.

        One vector after the other, made of `extent` (width, count) single ones: what is the same for all pixels fits
        the registers.
        """
        block: list[Stmt] = []
        single, step = extent
        width = single * step
        before, finish = self._begin(tile, first, single, step, v)
        name, channel = self.owner.names.fresh, self.channels[first] + v * width
        start: Expr = Load(self.owner.correction, (channel,), width)
        if self.owner.bias is not None:
            start += Load(self.owner.bias, (channel,), width)
        initial = let(block, name("start"), start + self.owner.literal_bias)
        number, lane = v * step + offset // COLUMNS, offset % COLUMNS

        def total(part: Expr, s: Expr) -> Expr:
            place = part * self.tiles + number
            sums: list[Expr] = [Load(self.finished, (place + i, s * COLUMNS + lane), single) for i in range(step)]
            return (Join(*sums) if step > 1 else sums[0]) + initial

        column, n = 0, 0
        for size, same in groupby(self.sizes):
            count = len(list(same))
            block += self._parts(finish, total, (n, count), column, size)
            column, n = column + count * size, n + count
        return [*before, *block]

    def _idle_product(self, size: int) -> Stmt:
        """A product that nobody reads: sums of tiles are stored by now.

        A core that has multiplied no tiles for some 600 cycles (measured on Emerald Rapids) takes 500 to do so again.
        """
        quads, at = self.owner.cut.quads, (Const(0),)
        left, right, total = self.inputs[size, quads], self.weights[quads], self.totals[size]
        return Store(total, at, TileDot4(Load(left, at), Load(right, at), Load(total, at), COLUMNS))

    def _parts(
        self,
        finish: Finish,
        total: Callable[[Expr, Expr], Expr],
        numbers: tuple[int, int],
        column: int,
        size: int,
    ) -> list[Stmt]:
        """The same for parts of one size of all rows: those with such numbers (first, count), from a column on."""
        name, (first, count) = self.owner.names.fresh, numbers

        def pixel(r: Expr, t: Expr, s: Expr) -> list[Stmt]:
            return finish(r, t * size + column + s, total(r * len(self.sizes) + t + first, s))

        def part(r: Expr, t: Expr) -> list[Stmt]:
            return [self._idle_product(size), *loop(name("s"), size, partial(pixel, r, t))]

        return loop(name("r"), self.rows, lambda r: loop(name("t"), count, partial(part, r)))
