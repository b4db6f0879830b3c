"""The parts of lines: values of the language, paths, lines that are broken where they are too long."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from .items import Expr, Label, Leaf
from .naming import KEYWORDS

WIDTH = 116
"""Longest line."""


def value_text(value: Leaf, names: Mapping[str, str] | None = None) -> str:
    """A value of the language."""
    match value:
        case Expr():
            return re.sub(r"[A-Za-z_]\w*", lambda m: (names or {}).get(m[0], m[0]), value.text)
        case None:
            return "none"
        case bool():
            return "true" if value else "false"
        case str():
            return value if value in ("same", "valid") else _quoted(value)
        case tuple():
            return "[" + ", ".join(value_text(v, names) for v in value) + "]"
        case _:
            return repr(value)


def _quoted(text: str) -> str:
    for old, new in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\t", "\\t"), ("{", "{{"), ("}", "}}")):
        text = text.replace(old, new)
    return f'"{text}"'


def label_text(label: Label, names: Mapping[str, str]) -> str:
    """`@name` or `@"text {with} expressions"`."""
    return "@" + path_text(label, names, bare=True)


def path_text(label: Label, names: Mapping[str, str], *, bare: bool = False) -> str:
    """A path as a text; a single word without quotes if it may be `bare`."""
    plain = "".join(str(p) for p in label if not isinstance(p, Expr))
    if (
        bare
        and re.fullmatch(r"[A-Za-z_]\w*", plain)
        and plain not in KEYWORDS
        and not any(isinstance(p, Expr) for p in label)
    ):
        return plain
    parts = [f"{{{value_text(p, names)}}}" if isinstance(p, Expr) else _quoted(str(p))[1:-1] for p in label]
    return '"' + "".join(parts) + '"'


def sequence_text(values: Leaf, names: Mapping[str, str] | None = None) -> str:
    """The values of a loop's variable: a range where they are one."""
    if isinstance(values, tuple) and len(values) > 1 and all(type(v) is int for v in values):
        step = values[1] - values[0]
        if step == 1 and all(b - a == 1 for a, b in pairwise(values)):
            return f"range({values[-1] + 1})" if values[0] == 0 else f"range({values[0]}, {values[-1] + 1})"
    return value_text(values, names)


def same_value(value: Any, default: Any) -> bool:
    """Whether an argument says what its default says."""
    return default is not ... and type(value) is type(default) and bool(value == default)


def folded(line: str, indent: str) -> list[str]:
    """A line broken before `|>` and behind commas in brackets, so that its parts fit."""
    if "\n" in line:
        return line.split("\n")
    lines: list[str] = []
    depth = 0
    while len(line) > WIDTH and (found := _break(line, len(indent), depth)) is not None:
        at, depth = found
        lines.append(line[:at].rstrip())
        line = indent + line[at:].lstrip()
    return [*lines, line]


def _break(line: str, start: int, depth: int) -> tuple[int, int] | None:
    """The last place before the width, or else the first, at which a line may be broken, and the brackets open there.

    `depth` brackets are open where the line begins.
    """
    is_text = False
    places: list[tuple[int, int, int]] = []
    for i, c in enumerate(line):
        if is_text:
            is_text = c != '"' or line[i - 1] == "\\"
        elif c == '"':
            is_text = True
        elif c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
        elif i > start and ((c == "|" and line[i : i + 2] == "|>") or (c == " " and line[i - 1] == "," and depth)):
            places.append((i, 0 if c == "|" and not depth else depth, depth))
    fitting = [p for p in places if p[0] <= WIDTH]
    if fitting:
        outermost = min(rank for _, rank, _ in fitting)
        good = [(i, d) for i, rank, d in fitting if rank == outermost and i > WIDTH // 3]
        return good[-1] if good else (fitting[-1][0], fitting[-1][2])
    return (places[0][0], places[0][2]) if places else None
