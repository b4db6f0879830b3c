"""Errors that are meant for people: one exception family whose members carry located diagnostics.

`NetcError` is raised for anything a user can cause (bad text, weights, shapes, flags); the command line prints its
diagnostics and exits with code 2. `InternalError` means that netc broke one of its own invariants.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


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

    def __str__(self) -> str:
        where = f"{self.location}: " if self.location else ""
        cure = f"\n  hint: {self.hint}" if self.hint else ""
        trail = "".join(f"\n  in {name}, called at {at}" for name, at in self.trail)
        return f"{where}error: {self.message}{trail}{cure}"


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
    ) -> None:
        self.diagnostics = [Diagnostic(problem, location, hint)] if isinstance(problem, str) else list(problem)
        super().__init__(self.diagnostics)

    def __str__(self) -> str:
        return "\n".join(str(d) for d in self.diagnostics)


class ShapeError(NetcError):
    """Operands or attributes that do not fit an operator. The frontend adds the location."""


class ScaleError(ShapeError):
    """Scales or zero points with which an operator on quantized numbers has no defined result."""


class InternalError(Exception):
    """A pass or a stage of netc broke an invariant; the message names the stage and shows the IR."""


def near_miss(name: str, candidates: Iterable[str]) -> str | None:
    """Return "did you mean X?" for the candidate most like `name`, if one is close enough."""
    close = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.65)
    return f"did you mean {close[0]}?" if close else None
