"""A whole program at loop level: kernels, the order in which they are called, and the memory that they share."""

from __future__ import annotations

import enum
from bisect import bisect_left
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
    turn: int = 0
    """Among turns: so many bytes farther with each turn."""
    share: int = 0
    """Among turns: so many bytes farther for each share of them, which has this memory to itself."""

    def __str__(self) -> str:
        turn = f" + {self.turn} * turn" if self.turn else ""
        share = f" + {self.share} * share" if self.share else ""
        return f"{self.memory.value}[{self.offset}]{turn}{share}"

    def at(self, turn: int, share: int) -> int:
        """Bytes from the place of turn 0 and share 0."""
        return self.turn * turn + self.share * share


@dataclass(frozen=True, slots=True)
class Call:
    """One kernel launch. Serial kernels run on the first thread alone."""

    kernel: str
    arguments: tuple[Slot, ...]
    barrier: bool
    """No later call begins before all threads' shares of the calls up to this one are done."""
    label: str
    """The operators it carries out, for profiles: "conv2d+relu"."""
    macs: int = 0
    location: Location | None = None
    when: Slot | None = None
    """A boolean; unless it holds, the call is skipped, its barrier too. Stays as it is until the program ends."""
    announces: bool = False
    """After its barrier the program calls back, if it is given whom: more outputs are final (see `final_outputs`)."""


@dataclass(frozen=True, eq=False, slots=True)
class Block:
    """Calls that are made if a boolean holds, or as long as it does.

    The boolean is asked before call number `body`, when all calls before are done; threads meet once all have read it.
    If it holds, the calls from there to `end` are made, `end` left out. If the block `repeats`, all goes on at call
    number `first` when they are done: those from there to `body` make the boolean.
    """

    first: int
    body: int
    end: int
    when: Slot
    repeats: bool


@dataclass(frozen=True, slots=True)
class Turns:
    """Calls that are made `count` times, on groups of samples that have nothing to do with each other.

    Threads share out the turns, not the calls: a share is so many turns in a row, which one thread makes. Threads meet
    before and behind, not in between.
    """

    first: int
    end: int
    count: int
    shares: int
    """How many shares there are at most, whose memory is apart."""


class Kind(enum.Enum):
    """What happens in a step of a program."""

    CALL = enum.auto()
    BEGIN = enum.auto()
    """A block begins: here it goes on if it repeats."""
    ASK = enum.auto()
    """The boolean of a block is asked."""
    END = enum.auto()
    """A block ends."""


@dataclass(frozen=True, slots=True)
class Step:
    """A call, by its number, or a place of a block."""

    kind: Kind
    call: int = -1
    block: Block | None = None


def sequence(calls: int, blocks: Sequence[Block]) -> list[Step]:
    """The steps of a program of so many calls, in order; of a block its begin, the question and its end."""
    steps: list[Step] = []
    waiting = sorted(blocks, key=lambda b: (b.first, -b.end))[::-1]
    open_: list[Block] = []
    for number in range(calls + 1):
        while open_ and open_[-1].end == number:
            steps.append(Step(Kind.END, block=open_.pop()))
        if open_ and open_[-1].body == number:
            steps.append(Step(Kind.ASK, block=open_[-1]))
        while waiting and waiting[-1].first == number:
            open_.append(waiting.pop())
            steps.append(Step(Kind.BEGIN, block=open_[-1]))
            if open_[-1].body == number:
                steps.append(Step(Kind.ASK, block=open_[-1]))
        if number < calls:
            steps.append(Step(Kind.CALL, number))
    return steps


def final_outputs(calls: Sequence[Call], outputs: int) -> list[list[int]]:
    """The outputs, by number, that are final at each call that announces some; then those that are so at the end.

    An output is final when no later call touches it.
    """
    last = dict.fromkeys(range(outputs), -1)
    for number, call in enumerate(calls):
        last |= {slot.offset: number for slot in call.arguments if slot.memory is Memory.OUTPUT}
    places = [number for number, call in enumerate(calls) if call.announces]
    found: list[list[int]] = [[] for _ in range(len(places) + 1)]
    for output in sorted(last, key=lambda o: (last[o], o)):
        found[bisect_left(places, last[output])].append(output)
    return found


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
    blocks: tuple[Block, ...] = ()
    """Conditions and loops among the calls: each is inside another or apart from it, and holds calls. Outer ones of the
    same calls stand before inner ones."""
    turns: tuple[Turns, ...] = ()
    """In order and apart from each other, and from blocks."""

    def turns_at(self, call: int) -> Turns | None:
        """The turns that hold a call."""
        return next((t for t in self.turns if t.first <= call < t.end), None)

    input_offsets: tuple[int, ...] = ()
    """Where the inputs lie in the arena when a run begins, if they do; a run overwrites them."""

    def __str__(self) -> str:
        from .printer import print_module  # it reads what is defined here

        return print_module(self)


class Meetings:
    """Where all threads wait for each other; `calls` may change their barriers meanwhile."""

    def __init__(self, calls: Sequence[Call], blocks: Sequence[Block] = ()) -> None:
        self.calls = calls
        self.blocks = blocks
        around: list[list[Block]] = [[] for _ in calls]
        for block in blocks:
            for n in range(block.body, block.end):
                around[n].append(block)
        self._around = [frozenset(found) for found in around]
        """The blocks that may leave a call out."""
        self._outside = {b: frozenset(o for o in blocks if o is not b and _is_inside(b, o)) for b in blocks}

    def between(self, first: int, second: int) -> bool:
        """True if all threads meet somewhere between two calls, whenever both of these are made in this order."""
        either = self._around[first] | self._around[second]
        return (
            any(self.calls[n].barrier and self.is_made_with(n, first, second) for n in range(first, second))
            or any(first < b.body <= second and self._outside[b] <= either for b in self.blocks)
            or any(first < b.end <= second and b.repeats for b in self._around[first])
        )

    def is_made_with(self, number: int, *others: int) -> bool:
        """True if a call is made whenever all the others are."""
        call, around = self.calls[number], self._around[number]
        if call.when is not None and all(call.when != self.calls[o].when for o in others):
            return False
        return not around or around <= frozenset[Block]().union(*(self._around[o] for o in others))

    def is_always_made(self, number: int) -> bool:
        """True if nothing leaves a call out."""
        return self.calls[number].when is None and not self._around[number]


def _is_inside(block: Block, outer: Block) -> bool:
    """True if another block may leave a whole block out."""
    return outer.body <= block.first and block.end <= outer.end
