"""What of the parameters stays in the chip's memory, and what is streamed at each inference.

Whole operators are cached, in execution order, as long as there is room; one that doesn't fit is streamed, and smaller
ones behind it may still be cached. How much room the activations leave is a fit to few printed values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .facts import OperatorFacts, TensorFacts
from .parameters import LANES, TILES, Parameters, groups
from .release import Release

MIB = 1 << 20
NARROW_MEMORY = 196_608
"""Bytes of activations that a tile can hold; compiled files never use more."""
_WHOLE, _WHOLE_EARLY = 7.88 * MIB, 8.04 * MIB
_SHARE = 0.27
"""Part of the activations' memory that releases from 14 on take from the parameters; earlier ones take all."""
_ITEM = {"INT8": 1, "UINT8": 1, "INT16": 2}


@dataclass(frozen=True, slots=True)
class Stored:
    """Bytes of one operator after caching: in the file, in the chip's memory, sent at each inference."""

    file: int
    chip: int
    streamed: int


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes of all operators. `activations` is an estimate per tile, `capacity` what it leaves for parameters."""

    operators: tuple[Stored, ...]
    activations: int
    capacity: int

    @property
    def cached(self) -> int:
        """Bytes of the chip's memory that hold parameters ("on-chip memory used")."""
        return sum(s.chip for s in self.operators)

    @property
    def streamed(self) -> int:
        """Bytes sent at each inference ("off-chip memory used")."""
        return sum(s.streamed for s in self.operators)

    @property
    def file(self) -> int:
        """Bytes of parameters in the compiled file, cached and streamed ones."""
        return sum(s.file for s in self.operators)

    @property
    def remaining(self) -> int:
        """Bytes of the chip's memory left for other models."""
        return max(0, self.capacity - self.cached)


def plan(operators: Sequence[OperatorFacts], parameters: Sequence[Parameters], release: Release) -> MemoryPlan:
    """Decide what is cached of the parameters of mapped operators, given in execution order."""
    activations = activation_bytes(operators)
    capacity = parameter_capacity(activations, release)
    free = capacity
    stored: list[Stored] = []
    for each in parameters:
        if each.chip <= free:
            free -= each.chip
            stored.append(Stored(each.total, each.chip, each.streamed))
        else:
            stored.append(Stored(each.total, 0, each.total))
    return MemoryPlan(tuple(stored), activations, capacity)


def parameter_capacity(activations: int, release: Release) -> int:
    """Bytes of the chip's memory for parameters, if activations take `activations` bytes of each tile."""
    if release < Release(14, 0):
        return int(_WHOLE_EARLY) - TILES * activations
    return int(_WHOLE - _SHARE * TILES * activations)


def activation_bytes(operators: Sequence[OperatorFacts]) -> int:
    """Estimate of the bytes of each tile that activations need: the largest operator, with its inputs and outputs."""
    largest = max((sum(map(_padded, (*op.activations, *op.outputs))) for op in operators), default=0)
    return min(NARROW_MEMORY, -(-largest // TILES))


def _padded(tensor: TensorFacts) -> int:
    return tensor.positions * groups(tensor.channels) * LANES * _ITEM.get(tensor.dtype, 4)
