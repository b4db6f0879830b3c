"""What a search came to, for people."""

from __future__ import annotations

from ..compiler.lowering.group import Setting
from ..compiler.precision import F32
from ..output import duration, format_table
from .search import Row
from .tune import Tuning

SMALL = 0.005
"""Share of the whole time below which kernels whose schedule stays are summed up in one line."""


def report(t: Tuning) -> str:
    """A table of kernels, and what became of the whole network."""
    narrow = f", {t.precision}" if t.precision != F32 else ""
    threads = f"{t.threads} thread" + "s" * (t.threads > 1)
    total = sum(row.seconds for row in t.rows)
    shown = [row for row in t.rows if row.settings or row.seconds >= SMALL * total]
    rest = [row for row in t.rows if row not in shown]
    rows = [_line(row) for row in shown]
    if rest:
        spent = f"{sum(row.seconds for row in rest) * 1e3:.3f}"
        name, calls = f"{len(rest)} other" + "s" * (len(rest) > 1), str(sum(row.calls for row in rest))
        rows.append((name, calls, spent, spent, ""))
    rows += [(label, "", "", "", f"{name} ({ratio:.3f} of the whole)") for label, name, ratio in t.outcome.algorithms]
    best = sum(row.seconds * row.ratio for row in t.rows)
    footer = ("total", str(sum(row.calls for row in t.rows)), f"{total * 1e3:.3f}", f"{best * 1e3:.3f}", "")
    table = format_table(("kernel", "calls", "default ms", "best ms", "choice"), rows, footer)
    title = f"{t.network}{narrow}, batch {t.batch}, {threads}, {t.cpu}: {t.measured} settings measured"
    return f"{title}\n\n{table}\n{_whole(t)}\n{_progress(t)}"


def _line(row: Row) -> tuple[str, ...]:
    choice = ", ".join(f"{name} {_spelled(setting)}" for name, setting in row.settings.items())
    times = (f"{row.seconds * 1e3:.3f}", f"{row.seconds * row.ratio * 1e3:.3f}")
    return (row.label, str(row.calls), *times, choice)


def _spelled(setting: Setting) -> str:
    """Of a register tile rows, columns and channels."""
    if isinstance(setting, tuple):
        return "x".join(map(str, (*setting[:2], sum(setting[2:])) if len(setting) > 2 else setting))
    return str(setting)


def _whole(t: Tuning) -> str:
    o = t.outcome
    if o.is_present:
        return "whole network: what is faster is kept already"
    if o.verdict is None:
        return "whole network: no kernel has a faster schedule; nothing is kept"
    times = f"{duration(o.before)} before, {duration(o.after)} after (ratio {o.verdict.ratio:.3f})"
    if not o.kept:
        return f"whole network: {times}, which is no proof that it is faster; nothing is kept"
    if not len(o.best):
        return f"whole network: {times} with the shipped schedules; what was kept is dropped"
    kernels = len(o.best)
    return f"whole network: {times}; kept for {kernels} kernel{'s' * (kernels > 1)}"


def _progress(t: Tuning) -> str:
    return "" if t.outcome.is_complete else "the time ended before the search; run it again to go on\n"
