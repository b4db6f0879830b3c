"""Integer convolutions and dense layers on processors that add two products of 16-bit numbers to each sum at once.

A kernel of its own widens the input to 16 bits first, margins included, so that an instruction takes two neighbours of
it from memory and spreads them. Weights stay bytes, which are widened when a tile loads them. All else is as in
`integer_contraction`.
"""

from __future__ import annotations

from functools import partial

from .....graph.ir import Value
from .....loops.ir import Cast, Const, Dot2Words, Expr, Stmt
from .....lowering.elements import Loaded
from .....lowering.group import Group
from .....lowering.kernel import Scheduled, let
from .....targets.target import DotProduct, Target
from .....types import DType, TensorType
from ..epilogue import Channels, Finish, finished_together, loaded_once
from ..geometry import Walk, walks
from ..micro_kernel import MicroKernel
from ..tiling import BROADCAST_CYCLES
from .integer_contraction import DotEmitter, DotMicroKernel, converting_kernel, serves
from .rescaling import FIELDS, START

PAIR = 2
"""Neighbours of the sum that an instruction multiplies at once."""
WITH_WORDS = (DotProduct.WORDS, DotProduct.WIDENED)
WIDENING_CYCLES = 0.5
"""What widening a vector of weights takes, in multiplications."""
ADD_LATENCY = 1
"""Products are added by an instruction of their own, so that a sum waits for the addition alone."""
SHORT_SUM = 128
"""Up to so many products the end of a tile is worth its expansion: measured on Zen 3."""


def schedule_word_contraction(group: Group, target: Target, threads: int) -> tuple[Scheduled, ...]:
    """Schedule a group whose anchor is a sum of integer products, on a machine with products of 16-bit numbers."""
    if target.dot_product not in WITH_WORDS or not serves(group):
        return ()
    found = walks(group)
    if not found:
        return ()
    x = group.outer[group.anchor.operands[0]]
    words = Value(TensorType(DType.I16, x.type.buffer_shape))
    emitters = (WordEmitter(group, walk, words, target, threads) for walk in found)
    return (widening_kernel(x, words, target), *(emitter.schedule() for emitter in emitters))


def widening_kernel(x: Value, words: Value, target: Target) -> Scheduled:
    """A kernel that writes 8-bit numbers as 16-bit ones, margins included."""
    return converting_kernel(x, words, target, lambda bytes_: Cast(bytes_, DType.I16))


class WordEmitter(DotEmitter):
    """Writes the kernel of one integer contraction, whose input has been widened."""

    together = PAIR
    step_cost = BROADCAST_CYCLES
    vector_cost = WIDENING_CYCLES
    held_registers = 1
    """Of a product, before it is added."""

    def __init__(self, group: Group, g: Walk, words: Value, target: Target, threads: int) -> None:
        self.words = words
        if target.multiplies_words:
            self.latency = ADD_LATENCY
        self.loads_ahead = target.dot_product is DotProduct.WORDS
        self.loaded: dict[tuple[int, int], dict[Value, Expr]] = {}
        """By a vector of a channel tile and its lanes: what the epilogues of all tiles of pixels read."""
        self.factors: dict[tuple[int, int], dict[int, Expr]] = {}
        """The same of the table's numbers, where sums are rescaled from one."""
        super().__init__(group, g, target, threads)

    @property
    def _input(self) -> Value:
        return self.words

    def _has_short_end(self) -> bool:
        if self.rescaling is None or self.group.results != (self.rescaling.result,):
            return False
        return self.g.depth <= SHORT_SUM

    def _ahead(self, j: Expr, widths: tuple[int, ...]) -> list[Stmt]:
        self.loaded.clear()
        self.factors.clear()
        block: list[Stmt] = []
        if self.loads_ahead:
            channels = self.group.result.type.shape[-1]
            for first, width, step, units in finished_together(widths, self.joined_vectors):
                for vector in range(first, first + units * step, step):
                    channel = let(block, self.names.fresh("c"), j * self.tile.channels + sum(widths[:vector]))
                    lanes = step * width
                    found = loaded_once(block, self.names, self.extras, channels, channel, lanes)
                    self.loaded[vector, lanes] = {value: expr for (value, _), expr in found.items()}
                    if self.rescaling is not None:
                        self.factors[vector, lanes] = self._numbers(block, channel, lanes)
        return block

    def _numbers(self, block: list[Stmt], channel: Expr, lanes: int) -> dict[int, Expr]:
        """Those of the table for the end of a tile, by their place in it."""
        return {
            place: let(block, self.names.fresh("f"), self.number(place, channel, lanes))
            for place in range(START + 1, FIELDS)
        }

    def micro_kernel(self, rows: int, columns: int, widths: tuple[int, ...]) -> MicroKernel:
        """What computes one tile."""
        return WordMicroKernel(self, rows, columns, widths)


class WordMicroKernel(DotMicroKernel):
    """One register tile of integer sums."""

    elements = PAIR
    multiply = Dot2Words

    def __init__(self, owner: WordEmitter, rows: int, columns: int, widths: tuple[int, ...]) -> None:
        super().__init__(owner, rows, columns, widths)
        self.loaded, self.factors = owner.loaded, owner.factors

    def _begin(
        self, tile: tuple[Expr, Expr, Expr], first: int, single: int, step: int, v: Expr
    ) -> tuple[list[Stmt], Finish]:
        vector, width = first + int(v.value) * step if isinstance(v, Const) else -1, single * step
        if (vector, width) not in self.loaded:
            return super()._begin(tile, first, single, step, v)
        channel = self.channels[vector]
        loaded: Loaded = {(value, (channel,)): expr for value, expr in self.loaded[vector, width].items()}
        store = partial(self._store, Channels(tile, channel, width, loaded))
        if self.dot.rescaling is None:
            return [], store
        return [], self.dot.rescaling.before(store, self.dot.names, self.factors[vector, width].__getitem__)

    def _factor(self, weight: Expr) -> Expr:
        return Cast(weight, DType.I16)
