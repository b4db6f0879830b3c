"""What a kernel touches: accesses to its parameters, those together that differ in constants only.

A kernel with unrolled loops has thousands of accesses, and tens of forms of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import le

from .interval import Interval
from .ir import Buffer
from .linear import Key, Knowledge, Linear

Box = tuple[tuple[int, int], ...]
"""For each dimension of a buffer the first and last index of what is touched."""


@dataclass(slots=True)
class Access:
    """Accesses to a buffer that differ in constants only: in each dimension, `terms` plus a number from a range."""

    buffer: str
    terms: tuple[Mapping[int, int], ...]
    constants: set[tuple[int, ...]]
    lanes: int
    writes: bool
    narrowed: Mapping[int, Interval]
    """What was known of atoms at that place."""
    limits: tuple[Interval, ...]
    """What was known of the sum of the terms, in each dimension."""
    shared: bool
    """Inside the parallel loop."""

    def span(self, d: int) -> tuple[int, int]:
        """Smallest and largest constant in dimension d, in the last one lanes included."""
        numbers = [constant[d] for constant in self.constants]
        return min(numbers), max(numbers) + (self.lanes - 1 if d == len(self.terms) - 1 else 0)

    def boxes(self, knowledge: Knowledge, shape: Sequence[int]) -> list[Box]:
        """What each of them touches at most."""
        sums = [knowledge.range(Linear(0, terms), self.narrowed) for terms in self.terms]
        ranges = [(max(a, c), min(b, d)) for (a, b), (c, d) in zip(sums, self.limits, strict=True)]
        if ranges:
            ranges[-1] = (ranges[-1][0], ranges[-1][1] + self.lanes - 1)
        limits = [(low, high, size - 1) for (low, high), size in zip(ranges, shape, strict=False)]
        return [
            tuple(
                [
                    (int(max(low + n, 0)), int(min(high + n, last)))
                    for n, (low, high, last) in zip(constant, limits, strict=False)
                ]
            )
            for constant in sorted(self.constants)
        ]


@dataclass(slots=True)
class KernelFacts:
    """What a kernel touches."""

    knowledge: Knowledge
    parallel: Linear | None = None
    """The variable of the parallel loop; None for a serial kernel."""
    accesses: dict[str, list[Access]] = field(default_factory=dict[str, list[Access]])
    """By name of the parameter."""


class AccessRecord:
    """Gathers the accesses of one kernel."""

    def __init__(self, facts: KernelFacts) -> None:
        self.facts = facts
        self._classes: dict[Key, Access] = {}
        self._by_identity: dict[Key, tuple[set[tuple[int, ...]], Sequence[float], Sequence[float]]] = {}
        """Constants of accesses that share terms, and the least and most ones with which they lie inside."""
        self._kept: list[tuple[Sequence[Linear], Sequence[Linear]]] = []
        """Forms and facts, so that identities stay theirs."""

    def keep(self, buffer: Buffer, forms: Sequence[Linear], lanes: int, writes: bool, shared: bool) -> bool:
        """Keep an access to a parameter; False if its bounds remain to be proved.

        `shared` says that it stands inside the parallel loop.
        """
        knowledge = self.facts.knowledge
        facts = knowledge.facts
        quick = (id(buffer), id(knowledge.narrowed), id(facts), lanes, writes, shared, *[id(f.terms) for f in forms])
        known = self._by_identity.get(quick)
        if known is None:
            self._kept.append((forms, facts))
            access = self._access(buffer, forms, lanes, writes, shared)
            known = self._by_identity[quick] = (access.constants, *self._room(buffer, forms, lanes))
        seen, least, most = known
        constants = tuple([form.constant for form in forms])
        seen.add(constants)
        return all(map(le, least, constants)) and all(map(le, constants, most))

    def _access(self, buffer: Buffer, forms: Sequence[Linear], lanes: int, writes: bool, shared: bool) -> Access:
        """What accesses with these terms are kept in."""
        narrowed = self.facts.knowledge.narrowed
        terms = tuple(f.terms for f in forms)
        limits = tuple(map(self.facts.knowledge.limits, terms))
        key = (buffer.name, writes, shared, id(narrowed), lanes, limits, *[tuple(t.items()) for t in terms])
        access = self._classes.get(key)
        if access is None:
            access = self._classes[key] = Access(buffer.name, terms, set(), lanes, writes, narrowed, limits, shared)
            self.facts.accesses[buffer.name].append(access)
        return access

    def _room(self, buffer: Buffer, forms: Sequence[Linear], lanes: int) -> tuple[list[float], list[float]]:
        """For each dimension the least and the most constant with which the terms' range lies inside the buffer."""
        ranges = [self.facts.knowledge.range(Linear(0, form.terms)) for form in forms]
        ends = [*(size - 1 for size in buffer.shape[:-1]), *(size - lanes for size in buffer.shape[-1:])]
        return [-low for low, _ in ranges], [end - high for (_, high), end in zip(ranges, ends, strict=True)]
