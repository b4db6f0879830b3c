"""Convolutions and dense layers by tile registers: products of whole tiles of bytes, or of bfloat16.

Loops are those of `contraction`; the micro-kernel (`tile_kernel`) differs. A tile of inputs has up to 16 pixels of a
row, and of each up to 16 words (of four bytes) of a run of the sum, loaded from the input as it lies: the distance from
pixel to pixel is the pitch of its rows. It is multiplied with tiles of weights, [words of the run][channel, element of
the word], for 16 channels each. Sums go through the stack to the epilogue, a vector of channels at a time. Where a run
is no whole words and can't be filled up, all that the pixels of a micro-kernel read is gathered on the stack first, as
one run for each. `tile_elements` has what depends on the type of elements, `tile_shapes` chooses how all is cut.
"""

from __future__ import annotations

from collections.abc import Sequence

from .....graph.ir import Value
from .....loops.ir import Buffer, Expr
from .....lowering.group import Group, Setting
from .....lowering.kernel import Scheduled
from .....lowering.loops import ceil_div
from .....targets.target import Target
from ..bfloat16_contraction import as_pairs
from ..contraction import ContractionEmitter
from ..geometry import Line, Walk, walks
from ..grouped import first_of_group
from ..integers.integer_contraction import serves
from ..micro_kernel import MicroKernel
from ..owner import Fetched
from ..tiling import Tile
from .gathered_tiles import GatheringMicroKernel
from .tile_elements import Bytes, Pairs, TileElements
from .tile_kernel import TileMicroKernel
from .tile_shapes import COLUMNS, Shapes, Steps

BY_TILES = "tile_registers"
"""The algorithm by which contractions of bfloat16 are computed with tiles."""
GAIN = 0.8
"""Part of the time without tiles that must not be exceeded."""
MOST_GATHERED = 192
"""Elements of a pixel that are gathered: those of a micro-kernel's pixels fit the first cache."""
GATHERING = 6.0
"""Cycles of gathering a run."""


def schedule_tile_contraction(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule products of bytes with a weight known at load time, where tiles are quicker."""
    if not target.has_byte_tiles or not serves(group):
        return ()
    emitters = _emitters(group, target, threads, Bytes(group, target))
    return tuple(e.schedule() for e in emitters) if all(e.pays for e in emitters) else ()


def schedule_bfloat16_tiles(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule products of bfloat16 that are to be computed by tiles: other instructions round otherwise."""
    stored = as_pairs(group)
    if stored is None or not target.has_bfloat16_tiles:
        return ()
    return tuple(e.schedule() for e in _emitters(stored, target, threads, Pairs()))


def tiles_pay(group: Group, target: Target) -> bool:
    """Are tiles the quicker way, on one thread, for a group that multiplies bfloat16 by a weight known at load time?"""
    stored = as_pairs(group)
    emitters = [] if stored is None else _emitters(stored, target, 1, Pairs())
    return bool(emitters) and all(e.pays for e in emitters)


def _emitters(group: Group, target: Target, threads: int, elements: TileElements) -> Sequence[TileEmitter]:
    """What writes the kernels; nothing where tiles can't serve."""
    found = walks(group)
    if not all(_fits(group, walk, elements) for walk in found):
        return ()
    return [TileEmitter(group, walk.over_padding(), target, threads, elements) for walk in found]


def _fits(group: Group, g: Walk, elements: TileElements) -> bool:
    """Inputs lie along rows, what is gathered is little, and no tile of channels belongs to two groups."""
    share = group.result.type.shape[-1] // g.groups
    if g.is_empty or g.channel_rows or g.step != 1 or not elements.serves(g) or (g.groups > 1 and share % COLUMNS):
        return False
    return not _gathers(g, elements) or (_reads_whole_weight(g) and g.depth <= MOST_GATHERED)


def _gathers(g: Walk, elements: TileElements) -> bool:
    """Runs of the sum are no whole words, and nothing may be read in their place."""
    return not elements.fills_up and _run(g, elements) % elements.word != 0


def _run(g: Walk, elements: TileElements) -> int:
    """Elements of the sum that are contiguous in the input."""
    return g.channels * (g.window[1] if elements.merges(g) else 1)


def _reads_whole_weight(g: Walk) -> bool:
    """In its order: no phase of a transposed convolution."""
    return g.window == g.kernel and g.planes.window == g.planes.kernel and {*g.taps, g.planes.taps} == {Line()}


class TileEmitter(ContractionEmitter):
    """Writes the kernel of one walk of a contraction."""

    def __init__(self, group: Group, g: Walk, target: Target, threads: int, elements: TileElements) -> None:
        self.elements = elements
        self.rescaling = elements.rescaling
        self.merges = elements.merges(g)
        self.gathers = _gathers(g, elements)
        self.run = _run(g, elements)
        self.run_length = g.depth if self.gathers else self.run
        """Elements of the sum that tiles find side by side."""
        super().__init__(group, g, target, threads)
        result = group.result.type
        read = [Fetched(b, v.type, False) for v, b in self.extras.items() if v.type.shape == result.shape]
        self.far: Sequence[Fetched] = read if g.flat and result.bytes > target.l1_bytes else ()
        if self.gathers:  # copies wait for results that were stored before them
            self.fetched = (Fetched(self.y, result, True),)

    def _choose_tile(self, target: Target) -> Tile:
        itemsize, result = self.x_type.dtype.itemsize, self.group.result.type
        self.cut = Steps.of(self.run_length * itemsize)
        shapes = Shapes(
            g=self.g,
            filters=self.filters // self.g.groups,
            steps=self.cut,
            runs=self.runs,
            gathering=GATHERING * self.g.depth / self.run if self.gathers else 0.0,
            threads=self.threads,
            joined=self.elements.joined,
            residuals=tuple(v.type.dtype.itemsize for v in self.group.epilogue_inputs if v.type.shape == result.shape),
            itemsize=itemsize,
            result_bytes=result.dtype.itemsize,
            l1_bytes=target.l1_bytes,
            l2_bytes=target.l2_bytes,
        )
        best, self.channels_outside, cycles = shapes.best()
        self.pays = self._repeats * cycles < GAIN * self.group.macs / self.elements.products / self.threads

        def settings() -> list[Setting]:
            return list(dict.fromkeys(tile.setting for tile in (best, *shapes.promising())))

        return Tile.of(self.group.choose("tile", best.setting, settings))

    @property
    def _repeats(self) -> int:
        """How often the walk is made."""
        return 1

    def _prefers_channels(self) -> bool:
        return self.channels_outside if self.threads == 1 else super()._prefers_channels()

    @property
    def runs(self) -> int:
        """Contiguous runs of the whole sum."""
        return self.g.depth // self.run_length

    def _declare_weight(self, weight: Value) -> None:
        self.packed = True
        word, words = self.elements.word, self.runs * self.cut.total
        self.w = Buffer("w", self.elements.dtype, (ceil_div(self.filters, COLUMNS), words * COLUMNS * word))
        packed = self.elements.pack(self.parameters, weight, (self.runs, self.run_length, self.filters))
        self.parameters.add(self.w, packed)

    def panel(self, j: Expr) -> Expr:
        """The first packed tile of weights of channel tile j."""
        return j * (self.tile.channels // COLUMNS)

    def first_input(self, j: Expr) -> Expr | int:
        """The first input channel that the results of channel tile j sum over."""
        return first_of_group(self, j)

    def micro_kernel(self, rows: int, columns: int, widths: tuple[int, ...]) -> MicroKernel:
        """What computes one tile."""
        kind = GatheringMicroKernel if self.gathers else TileMicroKernel
        return kind(self, rows, columns, widths)
