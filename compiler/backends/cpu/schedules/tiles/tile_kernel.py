"""The innermost piece of a contraction by tile registers: some pixels by some tiles of channels.

Tiles of inputs are loaded from the input as it lies, or from a copy of what the pixels read (`gathered_tiles`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, groupby
from typing import Protocol

from .....graph.ir import Value
from .....loops.ir import (
    Allocate,
    Buffer,
    Const,
    Expr,
    For,
    Load,
    LoopKind,
    Space,
    Stmt,
    Store,
)
from .....lowering.kernel import let
from .....lowering.loops import ceil_div, loop
from ..epilogue import Finish, finished_at_once, side_by_side
from ..integers.rescaling import START
from ..micro_kernel import MicroKernel
from ..owner import Fetched, Owner, Step
from ..prefetch import EndAhead, TilesAhead
from ..tiling import Grid
from .tile_elements import TileElements
from .tile_shapes import COLUMNS, ROWS, Steps, held, parts_of


class TileOwner(Owner, Protocol):
    """What a micro-kernel of tiles needs to know beside."""

    elements: TileElements
    cut: Steps
    merges: bool
    """A row of the window is one run of the sum, in the input as in the weight."""
    run: int
    """Elements of the sum that are contiguous in the input."""
    grid: Grid
    """The bands of an image."""
    ahead: int
    """Elements of weights that steps of tiles ask for early."""
    far: Sequence[Fetched]
    """Tensors of the result's shape that ends read from beyond the first cache, if all pixels form a row."""

    def panel(self, j: Expr) -> Expr:
        """The first packed tile of weights of channel tile j."""
        ...

    def first_input(self, j: Expr) -> Expr | int:
        """The first input channel that the results of channel tile j sum over."""
        ...


@dataclass(frozen=True, slots=True)
class Part:
    """The pixels of one tile register: `size` of them from column `start` of row `row` of the micro-kernel on."""

    row: int
    start: int
    size: int


class TileMicroKernel(MicroKernel):
    """Rows and columns of pixels by tiles of 16 channels."""

    cuts_sums = False

    def __init__(self, owner: TileOwner, rows: int, columns: int, widths: tuple[int, ...]) -> None:
        super().__init__(owner, rows, columns, widths)
        self.owner = owner
        self.tiles = ceil_div(sum(widths), COLUMNS)
        """Of channels."""
        self.sizes = parts_of(columns)
        ends = [*accumulate(self.sizes)]
        line = [(end - size, size) for end, size in zip(ends, self.sizes, strict=True)]
        self.parts = [Part(row, start, size) for row in range(rows) for start, size in line]
        self.elements = owner.elements.word * owner.cut.words
        name, self.places = owner.names.fresh, dict[Part, int]()
        counts = Counter[int]()
        for part in self.parts:
            self.places[part] = counts[part.size] * self.tiles
            counts[part.size] += 1
        self.totals = {
            size: Buffer(name("acc"), owner.dtype, (count * self.tiles, size), Space.TILE, COLUMNS)
            for size, count in counts.items()
        }
        shape = (len(self.parts) * self.tiles, ROWS * COLUMNS)
        self.finished = Buffer(name("sums"), owner.dtype, shape, Space.STACK)
        g, grid, cut = owner.g, owner.grid, owner.cut
        row = owner.elements.word * COLUMNS
        self.weights_ahead = TilesAhead(owner.w, row, self.tiles, grid.count * g.images, owner.ahead)
        slots, channels = (cut.count + bool(cut.rest)) * self.tiles, sum(widths)
        self.end_ahead = EndAhead(owner.far, columns, channels, slots, g.width - 1) if owner.far else None

    def emit(self, image: Expr, row: Expr, column: Expr, j: Expr) -> list[Stmt]:
        """The statements, as a block of their own, with which the tiles end."""
        first = column // self.columns if self.owner.g.flat else row // self.owner.grid.band.rows
        self.band, self.column = image * self.owner.grid.count + first, column
        body = tuple(super().emit(image, row, column, j))
        return [For(self.owner.names.fresh("once"), Const(0), Const(1), body, LoopKind.UNROLL)]

    def _extents(self) -> tuple[int, int]:
        return self.owner.cut.count, 1 if self.owner.merges else self.owner.g.window[1]

    def _depth(self, kz: Expr, ky: Expr, kx: Expr, k: Expr) -> Expr:
        plane, row, column = self._tap(kz, ky, kx)
        kernel = self.owner.g.kernel
        run = plane * kernel[0] + row
        if not self.owner.merges:
            run = run * kernel[1] + column
        return run * self.owner.cut.total + k * self.owner.cut.words

    def _first_input(self, j: Expr) -> Expr | int:
        return self.owner.first_input(j)

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
        word, dtype = self.owner.elements.word, self.owner.elements.dtype
        self.inputs = {
            (size, words): Buffer(name("left"), x, (count, size), Space.TILE, word * words)
            for words in self.owner.cut.sizes
            for size, count in inputs.items()
        }
        self.weights = {
            words: Buffer(name("right"), dtype, (weights, words), Space.TILE, word * COLUMNS)
            for words in self.owner.cut.sizes
        }
        self.block += map(Allocate, (*self.totals.values(), *self.inputs.values(), *self.weights.values()))
        self.panel = self.owner.panel(j)
        for size, buffer in self.totals.items():
            for n in range(buffer.shape[0]):
                self.block.append(Store(buffer, (Const(n),), self._first_sums(size, n % self.tiles)))

    def _first_sums(self, size: int, tile: int) -> Expr:
        """What a tile of sums begins with: a row of the table for each pixel, or zeros."""
        if self.owner.elements.rescaling is None:
            return Const(0, self.owner.dtype, size * COLUMNS)
        return Load(self.owner.elements.table, (self.panel + tile, Const(START * COLUMNS)), COLUMNS, size)

    def _step(self, image: Expr, y: Expr, x: Expr, j: Expr, depth: Expr) -> list[Stmt]:
        return self._products(self.owner.cut.words, (image, y, x), j, depth)

    @property
    def _last_step(self) -> Step | None:
        rest = self.owner.cut.rest
        return (lambda image, y, x, j, depth: self._products(rest, (image, y, x), j, depth)) if rest else None

    def _products(self, words: int, first: tuple[Expr, Expr, Expr], j: Expr, depth: Expr) -> list[Stmt]:
        """The products of so many words of each pixel's inputs: one side is loaded, then each tile of the other."""
        block: list[Stmt] = []
        place = {part: Const(n) for n, part in self._numbered_parts()} if self.holds_inputs else {}
        slots = range(self.tiles) if not self.holds_inputs else [0] * self.tiles

        def load_input(part: Part) -> Load:
            buffer, at = self.inputs[part.size, words], place.get(part, Const(0))
            block.append(Store(buffer, (at,), self._input(part, words, first)))
            return Load(buffer, (at,))

        def load_weight(tile: int) -> Load:
            buffer, at = self.weights[words], Const(slots[tile])
            row = self.owner.elements.word * COLUMNS
            block.append(Store(buffer, (at,), Load(self.owner.w, (self.panel + tile, depth * row), words * row)))
            block.extend(self._ask_ahead(tile, depth, words))
            return Load(buffer, (at,))

        def multiply(part: Part, a: Load, tile: int, b: Load) -> None:
            buffer, at = self.totals[part.size], Const(self.places[part] + tile)
            block.append(Store(buffer, (at,), self.owner.elements.product(a, b, Load(buffer, (at,)))))

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

    def _ask_ahead(self, tile: int, depth: Expr, words: int) -> list[Stmt]:
        """Ask for what comes next, beside the products of a tile of weights."""
        asked = self.weights_ahead.step(self.panel + tile, self.band, depth, words)
        if self.end_ahead is None:
            return asked
        slot = depth // self.owner.cut.words * self.tiles + tile
        return [*asked, *self.end_ahead.slot(slot, self.column, self.channels[0])]

    def _numbered_parts(self) -> Iterator[tuple[int, Part]]:
        """Parts and their places among those of their size."""
        for part, first in self.places.items():
            yield first // self.tiles, part

    def _input(self, part: Part, words: int, first: tuple[Expr, Expr, Expr]) -> Load:
        """The inputs of a part's pixels."""
        (image, y, x), g = first, self.owner.g
        pitch = g.strides[1] * g.pitch
        place = (image, y + part.row * g.strides[0], x + part.start * pitch)
        return Load(self.owner.x, place, words * self.owner.elements.word, part.size, pitch)

    def _finish(self, image: Expr, row: Expr, column: Expr) -> None:
        self.block.append(Allocate(self.finished))
        for n, part in enumerate(self.parts):
            for tile in range(self.tiles):
                total = Load(self.totals[part.size], (Const(self.places[part] + tile),))
                self.block.append(Store(self.finished, (Const(n * self.tiles + tile), Const(0)), total))
        first, offset = 0, 0
        for width, same in groupby(self.widths):
            most = self.owner.elements.joined if width == COLUMNS else 1
            for step, equal in groupby(finished_at_once(len(list(same)), most)):
                units = len(list(equal))
                vector = partial(self._vector, (image, row, column), first, offset, (width, step))
                self.block += loop(self.owner.names.fresh("v"), units, vector)
                first, offset = first + units * step, offset + units * step * width

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
        channel = self.channels[first] + v * width
        initial = self.owner.elements.start(block, self.owner.names, self.owner.bias, channel, width)
        number, lane = v * step + offset // COLUMNS, offset % COLUMNS

        def total(part: Expr, s: Expr) -> Expr:
            place = part * self.tiles + number
            sums = side_by_side([Load(self.finished, (place + i, s * COLUMNS + lane), single) for i in range(step)])
            return sums if initial is None else sums + initial

        column, n = 0, 0
        for size, same in groupby(self.sizes):
            count = len(list(same))
            block += self._parts(finish, total, (n, count), column, size)
            column, n = column + count * size, n + count
        return [*before, *block]

    def _begin(
        self, tile: tuple[Expr, Expr, Expr], first: int, single: int, step: int, v: Expr
    ) -> tuple[list[Stmt], Finish]:
        block, store = super()._begin(tile, first, single, step, v)
        names, elements = self.owner.names, self.owner.elements
        rescaling = elements.rescaling
        if rescaling is None:
            return block, store
        offset = sum(self.widths[:first])
        panel = self.panel + v * step + offset // COLUMNS

        def field(number: int) -> Expr:
            place = Const(number * COLUMNS + offset % COLUMNS)
            parts = [Load(elements.table, (panel + i, place), single) for i in range(step)]
            return let(block, names.fresh("f"), side_by_side(parts))

        return block, rescaling.before(store, names, field)

    @property
    def _summed(self) -> Value:
        rescaling = self.owner.elements.rescaling
        return rescaling.result if rescaling else super()._summed

    def _idle_product(self, size: int) -> Stmt:
        """A product that nobody reads: sums of tiles are stored by now.

        A core that has multiplied no tiles for some 600 cycles (measured on Emerald Rapids) takes 500 to do so again.
        """
        words, at = self.owner.cut.words, (Const(0),)
        left, right, total = self.inputs[size, words], self.weights[words], self.totals[size]
        return Store(total, at, self.owner.elements.product(Load(left, at), Load(right, at), Load(total, at)))

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
