"""Diagnostics for people (text with the source line and carets) and for tools (JSON)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from ..compiler.errors import Diagnostic, Location, NetcError
from ..compiler.reading import read_text
from .budget import MAX_FILE
from .lexer import is_network

_WIDTH = 120
"""Longest stretch of a source line that is shown."""


class SourceError(NetcError):
    """Errors in .net text. `sources` holds the texts, by file name, so that the lines can be shown."""

    def __init__(self, diagnostics: Sequence[Diagnostic], sources: Mapping[str, str]) -> None:
        super().__init__(diagnostics)
        self.args = (self.diagnostics, sources)
        self.sources = sources
        self.args = (self.diagnostics, sources)  # what it is made of again when it is unpickled


def render(error: NetcError) -> str:
    """All diagnostics of an error as text, each with its source line, carets, trail of blocks and hint."""
    sources = error.sources if isinstance(error, SourceError) else {}
    return "\n".join(render_diagnostic(d, sources) for d in error.diagnostics)


def render_diagnostic(diagnostic: Diagnostic, sources: Mapping[str, str] | None = None) -> str:
    """One diagnostic as text; control characters are escaped.

    The source line comes from `sources`, else from a network on disk: other files are not quoted, as a location may
    come from a stranger's text. Without a source the line is left out.
    """
    excerpt = _excerpt(diagnostic.location, sources or {}) if diagnostic.location else []
    return "\n".join([diagnostic.headline, *excerpt, *diagnostic.lines_below])


def to_json(diagnostics: Iterable[Diagnostic]) -> str:
    """Diagnostics as a JSON list, for editors and scripts."""
    return json.dumps([_record(d) for d in diagnostics], indent=2)


def _record(diagnostic: Diagnostic) -> dict[str, object]:
    return {
        "message": "\n".join([diagnostic.message, *diagnostic.details]),
        **(_place(diagnostic.location) if diagnostic.location else {}),
        "hint": diagnostic.hint,
        "trail": [{"block": name, **_place(place)} for name, place in diagnostic.trail],
    }


def _place(location: Location) -> dict[str, object]:
    return {
        "file": location.file,
        "line": location.line,
        "column": location.column,
        "end_line": location.end_line or location.line,
        "end_column": location.end_column or location.column + 1,
    }


def _excerpt(location: Location, sources: Mapping[str, str]) -> list[str]:
    line = _source_line(location, sources)
    if line is None:
        return []
    start = min(location.column, len(line) + 1) - 1
    end = location.end_column - 1 if location.end_line == location.line else len(line)
    end = max(start + 1, min(end, len(line)))
    skipped = max(0, start - _WIDTH // 2) if len(line) > _WIDTH else 0
    shown = line[skipped : skipped + _WIDTH]
    margin = "".join("\t" if c == "\t" else " " for c in line[skipped:start])
    carets = "^" * min(end - start, max(1, len(shown) - (start - skipped)))
    number = str(location.line)
    return [f" {number} | {_printable(shown)}", f" {' ' * len(number)} | {margin}{carets}"]


def _printable(line: str) -> str:
    return "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in line)


def _source_line(location: Location, sources: Mapping[str, str]) -> str | None:
    text = sources.get(location.file)
    if text is None:
        text = _network_on_disk(location.file)
    lines = text.split("\n") if text is not None else []
    return lines[location.line - 1] if 0 < location.line <= len(lines) else None


def _network_on_disk(file: str) -> str | None:
    if not file.endswith(".net"):
        return None
    try:
        text = read_text(file, limit=MAX_FILE)
    except NetcError:
        return None
    return text if is_network(text) else None
