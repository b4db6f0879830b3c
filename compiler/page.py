"""What the HTML pages of reports have in common: frame and style, cards, tables.

A page is one file that needs nothing else: no scripts, no links to other files, pictures drawn as SVG inside. It
follows the reader's choice of light or dark. All functions take plain text and escape it, but for what is called
`body`, which is HTML.
"""

from __future__ import annotations

import html
from collections.abc import Collection, Iterable
from importlib.resources import files

from .text import printable


def escape(text: str) -> str:
    """Text, as HTML shows it: marks of the language, and control characters, are escaped."""
    return html.escape(printable(text))


def page(title: str, style: str, body: str) -> str:
    """The whole page; `style` is CSS that follows the common one."""
    common = files("netc.compiler").joinpath("page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{common}{style}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def header(kind: str, title: str, verdict: str) -> str:
    """What stands on top: the kind of report, what it is about, and the result in one sentence."""
    return f'<header><p>{escape(kind)}</p><h1>{escape(title)}</h1><p class="verdict">{escape(verdict)}</p></header>'


def section(title: str, body: str, note: str = "") -> str:
    """A sheet with a title, and a remark under it."""
    remark = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{remark}{body}</section>"


def cards(rows: Iterable[tuple[str, str, str]]) -> str:
    """The figures that matter most: title, value, remark."""
    return '<section class="cards">' + "".join(_card(*map(escape, row)) for row in rows) + "</section>"


def _card(title: str, value: str, note: str) -> str:
    return f"<div><h2>{title}</h2><strong>{value}</strong><p>{note}</p></div>"


def head_row(titles: Iterable[str], numbers: Collection[int] = ()) -> str:
    """The first row of a table; the columns `numbers` are aligned to the right."""
    return "<tr>" + "".join(f"<th{_number(i, numbers)}>{escape(t)}</th>" for i, t in enumerate(titles)) + "</tr>"


def row(values: Iterable[str], numbers: Collection[int] = ()) -> str:
    """A row of a table."""
    return "<tr>" + "".join(f"<td{_number(i, numbers)}>{escape(v)}</td>" for i, v in enumerate(values)) + "</tr>"


def _number(index: int, numbers: Collection[int]) -> str:
    return ' class="number"' if index in numbers else ""
