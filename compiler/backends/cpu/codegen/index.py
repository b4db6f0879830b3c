"""Index arithmetic during emission: linear forms over values that exist at run time.

Every `i64` scalar is held as `constant + sum(coefficient * atom)` until it is needed as an operand. Addresses that
differ by a constant thus share one register and differ in their displacement, whatever order a schedule wrote its
terms in. Atoms carry the range of their values, so that divisions and comparisons can be decided or made cheap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ....loops.form import Form
from ....loops.interval import UNKNOWN, Interval


@dataclass(frozen=True, slots=True, eq=False)
class Atom:
    """A number that LLVM computes: its operand text, the depth of the scope that defines it, and its range."""

    name: str
    order: int
    depth: int
    range: Interval = UNKNOWN
    bits: int = 64
    """Those of its LLVM type."""


class Linear(Form[Atom]):
    """A form of values that exist at run time."""

    __slots__ = ()

    def fits(self, bits: int) -> bool:
        """True if the value surely is a signed number of so many bits."""
        return self.is_within(self.range, bits)

    @staticmethod
    def is_within(reach: Interval, bits: int) -> bool:
        """True if the numbers of an interval are signed numbers of so many bits."""
        return -(1 << (bits - 1)) <= reach[0] and reach[1] < 1 << (bits - 1)

    @property
    def range(self) -> Interval:
        """Smallest and largest value."""
        low = high = float(self.constant)
        for atom, coefficient in self.terms.items():
            ends = (coefficient * atom.range[0], coefficient * atom.range[1])
            low += min(ends)
            high += max(ends)
        return (low, high)

    def ordered(self) -> list[tuple[Atom, int]]:
        """Terms with those of outer scopes first."""
        return in_order(self.terms)


def in_order(terms: Mapping[Atom, int]) -> list[tuple[Atom, int]]:
    """Terms with those of outer scopes first."""
    found = list(terms.items())
    if len(found) > 1:
        found.sort(key=lambda term: (term[0].depth, term[0].order))
    return found
