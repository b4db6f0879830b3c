"""Files that all networks of a folder share: each has its section there, which the others' builds leave as it is.

A section begins with a comment that names the network by the prefix of its names, and ends at the next; what is before
the first section and behind the last depends on which networks there are, and is written anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

_END = "all networks"


@dataclass(frozen=True, slots=True)
class Member:
    """A network of a folder."""

    prefix: str
    preprocess: bool
    """It has a function for pictures, in a file of its own."""
    threads: int


@dataclass(frozen=True, slots=True)
class Sheet:
    """How such a file says where sections are."""

    comment: tuple[str, str]
    """What is before a comment in a line of its own, and behind it."""
    head: Callable[[Collection[str]], str]
    """The text before the sections of the networks with these prefixes."""
    tail: Callable[[Collection[str]], str]

    def merged(self, old: str, prefix: str, section: str, others: Collection[str]) -> str:
        """The file with a network's section, and those that `others` have in the old one, in alphabetical order."""
        kept = {name: text for name, text in self.sections(old).items() if name in others}
        sections = dict(sorted({**kept, prefix: section.strip("\n")}.items()))
        parts = [f"{self._line(f'network {name}')}\n{text}\n" for name, text in sections.items()]
        tail = f"{self._line(_END)}\n{self.tail(sections)}"
        return "\n".join(part for part in (self.head(sections), *parts, tail) if part)

    def sections(self, text: str) -> Mapping[str, str]:
        """The sections of a file, by prefix."""
        first, last = map(re.escape, self._line("network N").split("N"))
        _, *pieces = re.split(rf"^{first}(\w+){last}$", text.split(f"{self._line(_END)}\n")[0], flags=re.MULTILINE)
        return {name: piece.strip("\n") for name, piece in zip(pieces[::2], pieces[1::2], strict=True)}

    def _line(self, text: str) -> str:
        opening, closing = self.comment
        return f"{opening}{text}{closing}"
