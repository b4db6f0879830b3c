"""What the help of commands says about data, asked of the registry when it is shown."""

from __future__ import annotations

import click

from .runtime.data.kinds import SourceKind
from .runtime.data.registry import picture_kinds, source_kinds


class DataCommand(click.Command):
    """A command that takes data: its help lists what there is, for --calibrate also pictures without labels."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list behind the options."""
        with formatter.section("Data (NAME)"):
            formatter.write_dl([(kind.spelling, f"{kind.summary}.") for kind in source_kinds()])
        if any(parameter.name == "samples" for parameter in self.params):
            with formatter.section("Pictures without labels (PATH)"):
                formatter.write_dl([(kind.spelling, f"{kind.summary}.") for kind in picture_kinds()])
        super().format_epilog(ctx, formatter)


def data_table() -> str:
    """A table in Markdown of what --data takes; docs/command-line.md shows it."""
    rows = [
        (f"`{kind.spelling}`", kind.summary, ", ".join(kind.splits), _sample(kind), _classes(kind))
        for kind in source_kinds()
    ]
    lines = [("data", "what it is", "splits", "a sample", "classes"), ("---",) * 5, *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _sample(kind: SourceKind) -> str:
    return str(kind.sample) if kind.sample is not None else "as the data say"


def _classes(kind: SourceKind) -> str:
    if kind.count is None:
        return "as the data say"
    return f"{kind.count:,}" + (f": {', '.join(kind.names)}" if kind.names else "")
