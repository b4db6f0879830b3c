"""A whole program at loop level: kernels, the order in which they are called, and the memory that they share."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import Location
from ..graph.ir import Graph
from ..loops.ir import Kernel
from ..types import TensorType


class Memory(enum.Enum):
    """The regions of memory of a running program."""

    ARENA = "arena"
    WEIGHTS = "weights"
    INPUT = "input"
    OUTPUT = "output"
    STATE = "state"
    """Parameters that the program itself changes, as a training step does."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a kernel argument lies: a byte offset in arena, weights or state, or the number of an input or output."""

    memory: Memory
    offset: int

    def __str__(self) -> str:
        return f"{self.memory.value}[{self.offset}]"


@dataclass(frozen=True, slots=True)
class Call:
    """One kernel launch. Serial kernels run on the first thread alone."""

    kernel: str
    arguments: tuple[Slot, ...]
    barrier: bool
    """All threads wait for each other after this call."""
    label: str
    """The operators it carries out, for profiles: "conv2d+relu"."""
    macs: int = 0
    location: Location | None = None
    when: Slot | None = None
    """A boolean; unless it holds, the call is skipped, its barrier too. Stays as it is until the program ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A compiled network before code generation.

    `setup` computes the packed weights from the parameters; its outputs go, in order, to `weight_offsets` in the
    weights region.
    """

    name: str
    kernels: tuple[Kernel, ...]
    """Each distinct kernel once."""
    calls: tuple[Call, ...]
    inputs: tuple[tuple[str, TensorType], ...]
    outputs: tuple[tuple[str, TensorType], ...]
    arena_bytes: int
    weights_bytes: int
    weight_offsets: tuple[int, ...]
    setup: Graph
    state: tuple[tuple[str, TensorType, int], ...] = ()
    """Name, type and byte offset of each parameter in the state region."""
    state_bytes: int = 0

    def __str__(self) -> str:
        from .printer import print_module  # it reads what is defined here

        return print_module(self)


def threads_meet(calls: Sequence[Call], first: int, second: int) -> bool:
    """True if all threads wait for each other somewhere between two calls, whenever both of these are made."""
    return any(calls[n].barrier and is_made_with(calls[n], calls[first], calls[second]) for n in range(first, second))


def is_made_with(call: Call, *others: Call) -> bool:
    """True if a call is made whenever all the others are."""
    return call.when is None or any(call.when == other.when for other in others)
