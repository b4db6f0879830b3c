"""`--print-after`, `--print-changed`, `--time-passes`: a look between passes, written to stderr."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import click

from .compiler import passes
from .compiler.errors import NetcError, near_miss
from .compiler.passes import PASSES, Observer, Timing
from .options import combine, gathered
from .output import duration, echo, format_table
from .pipeline import StageReport


class PassLog:
    """What the three options ask for, as observers of a pass manager."""

    def __init__(
        self, print_after: Collection[str] = (), print_changed: bool = False, time_passes: bool = False
    ) -> None:
        for name in print_after:
            if name != "all" and name not in PASSES:
                raise NetcError(f"--print-after: there is no pass `{name}`", hint=near_miss(name, PASSES))
        self._timings: list[Timing] = []
        self._time = time_passes
        self.observers: list[Observer] = [passes.record_timings(self._timings)]
        if print_after:
            self.observers.append(passes.print_after(_write, print_after))
        if print_changed:
            self.observers.append(passes.print_changed(_write))

    def report(self, stages: Sequence[StageReport] = ()) -> None:
        """Write the times of the passes, and of the stages that they are one of, if they were asked for."""
        if self._time and stages:
            echo(stage_table(stages), nl=False, err=True)
        if self._time:
            rows = [(t.name, duration(t.seconds), str(t.operations)) for t in self._timings]
            total = duration(sum(t.seconds for t in self._timings))
            echo(format_table(("pass", "time", "operations left"), rows, ("total", total, "")), nl=False, err=True)


pass_options = combine(
    click.option("--print-after", multiple=True, metavar="PASS", help="Print the graph after this pass, or `all`."),
    click.option("--print-changed", is_flag=True, help="Print the graph after each pass that changed it."),
    click.option("--time-passes", is_flag=True, help="Say how long each pass took."),
    gathered(log=PassLog),
)
"""The command gets a `log`, a `PassLog`."""


def stage_table(stages: Sequence[StageReport]) -> str:
    """How long each stage took, and what came out of it."""
    rows = [(s.name, duration(s.seconds), s.result) for s in stages]
    return format_table(("stage", "time", "result"), rows, ("total", duration(sum(s.seconds for s in stages)), ""))


def _write(text: str) -> None:
    echo(text.rstrip("\n"), err=True)
