"""Index arithmetic during emission: linear forms over values that exist at run time.

Every `i64` scalar is held as `constant + sum(coefficient * atom)` until it is needed as an operand. Addresses that
differ by a constant thus share one register and differ in their displacement, whatever order a schedule wrote its
terms in. Atoms carry the range of their values, so that divisions and comparisons can be decided or made cheap.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..loops.interval import UNKNOWN, Interval


@dataclass(frozen=True, slots=True, eq=False)
class Atom:
    """An `i64` that LLVM computes: its operand text, the depth of the scope that defines it, and its range."""

    name: str
    order: int
    depth: int
    range: Interval = UNKNOWN


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """`constant + sum of coefficient * atom`; coefficients are not zero."""

    constant: int
    terms: dict[Atom, int] = field(default_factory=dict[Atom, int])

    def plus(self, other: Linear, factor: int = 1) -> Linear:
        """`self + factor * other`."""
        constant = self.constant + factor * other.constant
        if not other.terms or not factor:
            return Linear(constant, self.terms)
        terms = dict(self.terms)
        for atom, coefficient in other.terms.items():
            total = terms.get(atom, 0) + factor * coefficient
            if total:
                terms[atom] = total
            else:
                del terms[atom]
        return Linear(constant, terms)

    def times(self, factor: int) -> Linear:
        """`factor * self`."""
        if not factor:
            return Linear(0)
        return Linear(self.constant * factor, {a: c * factor for a, c in self.terms.items()})

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
        return sorted(self.terms.items(), key=lambda term: (term[0].depth, term[0].order))

    def split(self, divisor: int) -> tuple[Linear, Linear]:
        """(quotient, rest) with `self == divisor * quotient + rest` and every coefficient that divides in quotient."""
        whole = {a: c // divisor for a, c in self.terms.items() if c % divisor == 0}
        rest = {a: c for a, c in self.terms.items() if c % divisor}
        return Linear(self.constant // divisor, whole), Linear(self.constant % divisor, rest)
