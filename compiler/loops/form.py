"""Linear forms: what the verifier proves bounds with, and code generation makes addresses of."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Self, TypeVar

AtomT = TypeVar("AtomT", bound=Hashable)
_NONE: dict[Any, int] = {}
"""The terms of constants: all have the same, so that they are found by identity."""


@dataclass(slots=True, eq=False)
class Form(Generic[AtomT]):
    """`constant + sum of coefficient * atom`; coefficients are not zero. Never changed once made."""

    constant: int
    terms: Mapping[AtomT, int] = field(default_factory=lambda: _NONE)

    def plus(self, other: Form[AtomT], factor: int = 1) -> Self:
        """`self + factor * other`."""
        constant = self.constant + factor * other.constant
        if not other.terms or not factor:
            return self.__class__(constant, self.terms)
        terms = dict(self.terms)
        for atom, coefficient in other.terms.items():
            total = terms.get(atom, 0) + factor * coefficient
            if total:
                terms[atom] = total
            else:
                del terms[atom]
        return self.__class__(constant, terms)

    def times(self, factor: int) -> Self:
        """`factor * self`."""
        if not factor or not self.terms:
            return self.__class__(self.constant * factor)
        return self.__class__(self.constant * factor, {a: c * factor for a, c in self.terms.items()})

    def split(self, divisor: int) -> tuple[Self, Self]:
        """(quotient, rest) with `self == divisor * quotient + rest` and every coefficient that divides in quotient."""
        whole = {a: c // divisor for a, c in self.terms.items() if c % divisor == 0}
        rest = {a: c for a, c in self.terms.items() if c % divisor}
        return self.__class__(self.constant // divisor, whole), self.__class__(self.constant % divisor, rest)
