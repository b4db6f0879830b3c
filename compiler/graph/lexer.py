"""Tokens of the graph IR's text form."""

from __future__ import annotations

import bisect
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import Location, NetcError
from ..types import TYPE_PATTERN

_STRING = r'"(?:[^"\\\n]|\\[^\n])*"'
_NAME = rf"(?:[A-Za-z0-9_.$-]+|{_STRING})"
_TOKEN = re.compile(
    rf"""(?P<space>[ \t\r\n]+)
    |(?P<comment>//[^\n]*)
    |(?P<arrow>->)
    |(?P<value>%{_NAME})
    |(?P<symbol>@{_NAME})
    |(?P<string>{_STRING})
    |(?P<type>{TYPE_PATTERN})
    |(?P<float>-?(?:inf|nan)\b|-?[0-9]+(?:\.[0-9]*(?:e[+-]?[0-9]+)?|e[+-]?[0-9]+))
    |(?P<int>-?[0-9]+)
    |(?P<word>[A-Za-z_][A-Za-z0-9_-]*)
    |(?P<mark>[(){{}}\[\]<>,:=])""",
    re.VERBOSE,
)
_LOCATION = re.compile(rf"//[ ]*({_STRING}|[^\s\"]+):([0-9]{{1,9}}):([0-9]{{1,9}})[ ]*\r?")


@dataclass(frozen=True, slots=True)
class Token:
    """A token: its kind (a group of the pattern above; punctuation is its own kind), its text and where it begins."""

    kind: str
    text: str
    offset: int


@dataclass(frozen=True, slots=True)
class Source:
    """Text with the means to say where in it something stands."""

    text: str
    file: str
    starts: list[int] = field(default_factory=lambda: [0])
    """Offset of each line."""

    @staticmethod
    def of(text: str, file: str) -> Source:
        """A source of `text`."""
        return Source(text, file, [0, *(m.end() for m in re.finditer("\n", text))])

    def line(self, offset: int) -> int:
        """The line of an offset, counted from 1."""
        return bisect.bisect_right(self.starts, offset)

    def location(self, token: Token) -> Location:
        """Where a token stands."""
        line = self.line(token.offset)
        column = token.offset - self.starts[line - 1] + 1
        return Location(self.file, line, column, line, column + max(len(token.text), 1))


def tokenize(source: Source) -> tuple[list[Token], Mapping[int, Location]]:
    """The tokens of a text, ending in one of kind "end", and the location that the comment of each line gives.

    Raises `NetcError`, with its place, for what is no token.
    """
    text = source.text
    tokens: list[Token] = []
    locations: dict[int, Location] = {}
    offset = 0
    while offset < len(text):
        match = _TOKEN.match(text, offset)
        if match is None:
            wrong = Token("wrong", text[offset], offset)
            problem = "this string doesn't end" if wrong.text == '"' else f"{wrong.text!r} has no meaning here"
            raise NetcError(problem, location=source.location(wrong))
        kind = match.lastgroup or ""
        if kind == "comment":
            _note_location(source, match.group(), offset, locations)
        elif kind != "space":
            tokens.append(Token(match.group() if kind == "mark" else kind, match.group(), offset))
        offset = match.end()
    tokens.append(Token("end", "", len(text)))
    return tokens, locations


def _note_location(source: Source, comment: str, offset: int, locations: dict[int, Location]) -> None:
    match = _LOCATION.fullmatch(comment)
    if match:
        file = unquoted(match[1])
        if file is not None:
            locations[source.line(offset)] = Location(file, int(match[2]), int(match[3]))


def unquoted(text: str) -> str | None:
    """The text of a string literal (or of a plain name, which stays as it is); None if its escapes are wrong."""
    if not text.startswith('"'):
        return text
    try:
        value = json.loads(text, strict=False)
    except ValueError:
        return None
    return str(value)
