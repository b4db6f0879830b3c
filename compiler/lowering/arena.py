"""The arena: places for all values that are neither inputs, outputs, weights nor state, by how long they are live."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..graph.ir import Value
from ..loops.ir import Kernel
from ..modules.module import Memory, Slot
from ..targets.target import Target
from ..types import DType, TensorType
from .arrangement import Overlaps, arrange
from .calls import OpenCall
from .control import ControlFlow
from .memory import Lifetime, Lives, Plan, plan_arena
from .overlapping import overlaps_of
from .places import Places


class Arena:
    """Plans the arena of a module whose calls are known.

    With `overlapping`, and where memory is scarce, values may lie in that of others which a call reads for the last
    time. `inputs` are those that lie in the arena when a run begins.
    """

    def __init__(
        self,
        calls: Sequence[OpenCall],
        kernels: Mapping[str, Kernel],
        places: Places,
        control: ControlFlow,
        target: Target,
        *,
        overlapping: bool,
        inputs: Sequence[Value],
    ) -> None:
        self._calls = calls
        self._kernels = kernels
        self._places = places
        self._control = control
        self._target = target
        self._overlapping = overlapping and not control.turns
        self._inputs = inputs

    def plan(self) -> int:
        """Give values their places; the bytes of the arena."""
        lives, places = self._lives(), self._places
        parts = {turns: self._planned(list(own.values())) for turns, own in lives.own.items()}
        memory = {turns: Value(TensorType(DType.U8, (turns.shares, plan.size))) for turns, plan in parts.items()}
        lifetimes = [each for each in lives.lifetimes() if each.value not in places.slots]
        lifetimes += [Lifetime(v, v.type.bytes, turns.first, turns.end - 1) for turns, v in memory.items()]
        whole = self._planned(lifetimes)
        for turns, plan in parts.items():
            start, share = whole.offsets[memory[turns]], plan.size if turns.shares > 1 else 0
            places.slots |= {v: Slot(Memory.ARENA, start + at, share=share) for v, at in plan.offsets.items()}
        places.slots |= {v: Slot(Memory.ARENA, offset) for v, offset in whole.offsets.items()}
        places.slots |= {v: places.slots[old] for v, old in places.shared.items()}
        return whole.size

    def _lives(self) -> Lives:
        """How long values are live."""
        lives, places = Lives(self._control.turns), self._places
        for position, value in self._touched():
            if value in places.slices:
                lives.touch(position, places.owner(places.slices[value].whole), apart=False)
            else:
                lives.touch(position, value, apart=value not in places.slots)
        lives.last |= {v: lives.last.get(v, -1) for v in self._inputs}
        lives.first |= dict.fromkeys(self._inputs, -1)
        lives.last = self._control.extended(lives.first, lives.last)
        # A thread may ask late whether it has to make a call.
        lives.last |= {places.root(c.guard): len(self._calls) for c in self._calls if c.guard is not None}
        return lives

    def _touched(self) -> Iterator[tuple[int, Value]]:
        """The values in whose memory calls read or write, weights aside, each with the call's number."""
        for position, c in enumerate(self._calls):
            owners = (self._places.owner(argument) for argument in c.arguments if isinstance(argument, Value))
            yield from ((position, owner) for owner in owners if not self._places.is_static(owner))

    def _planned(self, lifetimes: Sequence[Lifetime]) -> Plan:
        """Where values lie: where memory is scarce, in that of others which a call reads for the last time."""
        if not self._target.is_scarce:
            return plan_arena(lifetimes, self._target.alignment)
        return arrange(lifetimes, self._target.alignment, self._overlaps(lifetimes) if self._overlapping else {})

    def _overlaps(self, lifetimes: Sequence[Lifetime]) -> Overlaps:
        """How values may lie to each other that calls read last and write first."""
        owner = self._places.owner
        calls = [
            (self._kernels[c.call.kernel], [owner(a) if isinstance(a, Value) else None for a in c.arguments])
            for c in self._calls
        ]
        return overlaps_of(calls, lifetimes)
