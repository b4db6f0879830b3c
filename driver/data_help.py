"""What the help of commands says about data, asked of the registry when it is shown."""

from __future__ import annotations

import click

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
