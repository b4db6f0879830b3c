"""Where values lie: at a place of their own, in the memory of other values, or among the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..graph.ir import Value
from ..modules.module import Memory, Slot
from .kernel import Argument, Packed
from .weights import WeightRegion


@dataclass(frozen=True, slots=True)
class Slice:
    """A value among turns that lies in a part of another one: so many bytes farther in each turn."""

    whole: Value
    step: int


class Places:
    """What is known so far of where each value lies."""

    def __init__(self, region: WeightRegion, given: Mapping[Value, Slot]) -> None:
        self._region = region
        self.slots = dict(given)
        """Of values that have memory of their own, or that of an input, an output or the state."""
        self.aliases: dict[Value, Value] = {}
        """Values that show the memory of others."""
        self.slices: dict[Value, Slice] = {}
        self.shared: dict[Value, Value] = {}
        """Results that are written in the memory of others."""

    def is_static(self, value: Value) -> bool:
        """True for what is known when weights are loaded."""
        return value in self._region.static

    def root(self, value: Value) -> Value:
        """The value whose memory another one shows."""
        return self.aliases.get(value, value)

    def owner(self, value: Value) -> Value:
        """The value in whose memory another one lies."""
        root = self.root(value)
        return self.shared.get(root, root)

    def slot(self, argument: Argument) -> Slot:
        """The place of a kernel's argument, once it has one."""
        if isinstance(argument, Value):
            argument = self.root(argument)
        if isinstance(argument, Packed) or self.is_static(argument):
            return Slot(Memory.WEIGHTS, self._region.place(argument))
        if argument in self.slices:
            part = self.slices[argument]
            return replace(self.slot(part.whole), turn=part.step)
        return self.slots[argument]
