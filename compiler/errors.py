"""Errors that are meant for people: one exception family whose members carry located diagnostics.

`NetcError` is raised for anything a user can cause (bad text, weights, shapes, flags); the command line prints its
diagnostics and exits with code 2. `InternalError` means that netc broke one of its own invariants.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice, takewhile
from typing import Any

from .text import printable

EXIT_CODE = 2
"""Of a command that ends with an error of this kind."""


@dataclass(frozen=True, slots=True)
class Location:
    """A stretch of source text; lines and columns count from 1, `end_column` is exclusive."""

    file: str
    line: int
    column: int
    end_line: int = 0
    end_column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One error in the user's terms: what is wrong, where, by which trail of blocks, and what may cure it."""

    message: str
    location: Location | None = None
    hint: str | None = None
    trail: tuple[tuple[str, Location], ...] = ()
    """Innermost first: (name of the block, where it was called)."""
    details: tuple[str, ...] = ()
    """Findings of which the message is the sum, one a line."""

    def __str__(self) -> str:
        return "\n".join([self.headline, *self.lines_below])

    def as_data(self) -> dict[str, Any]:
        """All of it in types that JSON has."""
        return asdict(self)

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Diagnostic:
        """What `as_data` gave, also by way of JSON."""
        location = None if data["location"] is None else Location(**data["location"])
        trail = tuple((name, Location(**at)) for name, at in data["trail"])
        return cls(data["message"], location, data["hint"], trail, tuple(data["details"]))

    @property
    def headline(self) -> str:
        """The first line: place and message. Control characters, which names of strangers may hold, are escaped."""
        where = f"{self.location}: " if self.location else ""
        return printable(f"{where}error: {self.message}")

    @property
    def lines_below(self) -> list[str]:
        """The lines after the first: details, trail and hint, escaped like it."""
        lines = [*self.details, *(f"in {name}, called at {at}" for name, at in self.trail)]
        lines += [f"hint: {self.hint}"] if self.hint else []
        return [f"  {printable(line)}" for line in lines]


@dataclass(eq=False)
class NetcError(Exception):
    """An error that the user can cure. `diagnostics` holds one or more findings."""

    diagnostics: Sequence[Diagnostic] = field(default_factory=list[Diagnostic])

    def __init__(
        self,
        problem: str | Sequence[Diagnostic],
        *,
        location: Location | None = None,
        hint: str | None = None,
        details: Iterable[str] = (),
    ) -> None:
        if isinstance(problem, str):
            self.diagnostics = [Diagnostic(problem, location, hint, details=tuple(details))]
        else:
            self.diagnostics = list(problem)
        super().__init__(self.diagnostics)

    def __str__(self) -> str:
        return "\n".join(str(d) for d in self.diagnostics)

    def at(self, location: Location | None) -> NetcError:
        """The same error, whose findings without a place stand at this one."""
        return NetcError([replace(d, location=d.location or location) for d in self.diagnostics])

    def hinted(self, hint: str) -> NetcError:
        """The same error, whose findings without a hint get this one."""
        return NetcError([replace(d, hint=d.hint or hint) for d in self.diagnostics])


class ShapeError(NetcError):
    """Operands or attributes that do not fit an operator. The frontend adds the location."""


class ScaleError(ShapeError):
    """Scales or zero points with which an operator on quantized numbers has no defined result."""


class Note(UserWarning):
    """What was guessed, or isn't plain: something to know, which asks for nothing."""


class InternalError(Exception):
    """A pass or a stage of netc broke an invariant; the message names the stage and shows the IR."""


_LONGEST = 64
_MOST_ALIKE = 200
_EXAMINED = 20_000
_LIKENESS = 0.65


def near_miss(name: str, candidates: Iterable[str]) -> str | None:
    """Return "did you mean X?" for the candidate most like `name`, if one is close enough.

    However many and long the names are, this takes milliseconds: those that share the longest beginning and end with
    `name` are compared in full, at most 200.
    """
    if len(name) > _LONGEST:
        return None
    fitting = (c for c in candidates if 2 * min(len(c), len(name)) >= _LIKENESS * (len(c) + len(name)))
    import difflib  # these serve only what is wrong
    import heapq

    likely = heapq.nlargest(_MOST_ALIKE, islice(fitting, _EXAMINED), key=lambda c: _shared_ends(c, name))
    close = difflib.get_close_matches(name, likely, n=1, cutoff=_LIKENESS)
    return f"did you mean {close[0]}?" if close else None


def _shared_ends(one: str, other: str) -> int:
    """How many characters two names share at their beginning and at their end."""
    return sum(
        sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))
        for a, b in ((one, other), (reversed(one), reversed(other)))
    )
