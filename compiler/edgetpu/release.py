"""Releases of the real compiler, as far as they behave differently."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import NetcError

KNOWN = ("1.0", "2.0", "2.1", "14.1", "15.0", "16.0")
"""Releases from which logs or compiled files are known."""


@dataclass(frozen=True, order=True, slots=True)
class Release:
    """A release of `edgetpu_compiler`, such as 16.0."""

    major: int
    minor: int

    @staticmethod
    def parse(text: str) -> Release:
        """Read `16.0`, or the start of a full version such as `16.0.384591198`."""
        numbers = text.split(".")
        if len(numbers) < 2 or not all(n.isascii() and n.isdigit() and len(n) < 12 for n in numbers):
            raise NetcError(f"`{text}` is not a release of edgetpu_compiler", hint="known are " + ", ".join(KNOWN))
        release = Release(int(numbers[0]), int(numbers[1]))
        if release > LATEST:
            raise NetcError(f"there is no release {release} of edgetpu_compiler", hint="known are " + ", ".join(KNOWN))
        return release

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


FIRST = Release(1, 0)
"""The release that the documentation's oldest limits describe (2019)."""

LATEST = Release(16, 0)
"""The last release that Google published (2021)."""
