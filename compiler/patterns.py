"""Names chosen by patterns, as in a shell: `features.*`, `*.bias`, `fc?.weight`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from .errors import NetcError, near_miss

_SHOWN = 12
"""How many names a message lists."""


def matching(patterns: str | Sequence[str], names: Iterable[str], what: str = "parameter") -> frozenset[str]:
    """The names that match one of the patterns; raises `NetcError` for a pattern that no name matches."""
    known = list(names)
    found: set[str] = set()
    for pattern in (patterns,) if isinstance(patterns, str) else patterns:
        matched = [name for name in known if fnmatchcase(name, pattern)]
        if not matched:
            listed = ", ".join(known[:_SHOWN]) + (", ..." if len(known) > _SHOWN else "")
            cure = near_miss(pattern, known)
            raise NetcError(f"no {what} matches `{pattern}`", hint=(cure + " " if cure else "") + f"there are {listed}")
        found.update(matched)
    return frozenset(found)
