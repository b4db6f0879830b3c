"""Writing results: to stdout, or to a file that appears complete or not at all; and plain text tables."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from .compiler.errors import NetcError
from .compiler.files import write_bytes, writing
from .compiler.text import printable, shortened

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

NUMBER = r"-+.0123456789%, x"


LONGEST_CELL = 100
"""Characters of a cell of a table; longer ones are cut."""


def echo(text: str = "", *, err: bool = False, nl: bool = True) -> None:
    """Write text to stdout or stderr: all that commands say goes through here.

    Names of strangers may be in it (of tensors, operators, files, classes): what a terminal would obey is escaped.
    """
    click.echo(printable(text, keep="\n\t"), err=err, nl=nl)


def progress_bar(length: int, label: str) -> ProgressBar[int]:
    """A bar on stderr, if that is a terminal; a context manager."""
    return click.progressbar(length=length, label=printable(label), file=sys.stderr, hidden=not sys.stderr.isatty())


@contextmanager
def progress_to(length: int, label: str) -> Iterator[Callable[[int], None]]:
    """A bar under which something runs that says how much of `length` is done so far."""
    with progress_bar(length, label) as bar:
        yield lambda done: bar.update(done - bar.pos)


def write_result(data: str | bytes, path: str | None) -> None:
    """Write text or bytes to `path`, or to stdout if it is None or "-"; bytes are not sent to a terminal.

    Raises `NetcError` for bytes to a terminal.
    """
    if path is None or path == "-":
        if isinstance(data, bytes) and sys.stdout.isatty():
            raise NetcError("this would write machine code to the terminal", hint="give -o FILE or redirect stdout")
        click.echo(data if isinstance(data, bytes) else printable(data, keep="\n\t"), nl=False)
        return
    write_bytes(path, data.encode("utf-8") if isinstance(data, str) else data)


def check_results(results: Iterable[str | None], sources: Iterable[str | None]) -> None:
    """Look at the files to be written before anything is computed; those that are None aren't asked for.

    Raises `NetcError` where there is no folder for a result, or where it would take the place of a file that it is made
    from, or of another result. (A source may be the name of a shipped network, which is no file.)
    """
    files = [source for source in sources if source and os.path.exists(source)]
    places = set[str]()
    for result in results:
        if result is None or result == "-":
            continue
        place = os.path.realpath(result)
        if place in places and (os.path.isfile(place) or not os.path.exists(place)):
            raise NetcError(f"two results would be written to {result}", hint="give one of them another name")
        places.add(place)
        with writing(result):
            os.stat(os.path.join(os.path.dirname(result) or ".", ""))
        if os.path.exists(result) and any(os.path.samefile(result, file) for file in files):
            raise NetcError(f"{result} would replace what it is made from", hint="give the result another name")


def format_table(headers: Sequence[str], rows: Sequence[Sequence[str]], footer: Sequence[str] | None = None) -> str:
    """Columns of text under headers; columns that hold numbers only are aligned to the right.

    Cells are escaped, line ends included, and long ones are cut.
    """
    rows = [[shortened(printable(cell), LONGEST_CELL) for cell in row] for row in rows]
    body = [*rows, footer] if footer else rows
    widths = [max(len(row[column]) for row in [headers, *body]) for column in range(len(headers))]
    numeric = [all(set(row[column]) <= set(NUMBER) for row in body) for column in range(len(headers))]

    def line(row: Sequence[str]) -> str:
        cells = zip(row, widths, numeric, strict=True)
        return "  ".join(c.rjust(w) if n else c.ljust(w) for c, w, n in cells).rstrip()

    rule = "  ".join("-" * width for width in widths)
    lines = [line(headers), rule, *map(line, rows)]
    return "\n".join([*lines, rule, line(footer)] if footer else lines) + "\n"


def quantity(value: float, unit: str) -> str:
    """A number with a decimal prefix: 8.18 GFLOP."""
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def duration(seconds: float) -> str:
    """A time in ms to three digits, or in s from one second on."""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    decimals = 1 if seconds >= 0.01 else 2 if seconds >= 0.001 else 3
    return f"{seconds * 1e3:.{decimals}f} ms"
