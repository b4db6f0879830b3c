"""`netc check`: the diagnostics of a `.net` file, for people or for tools."""

from __future__ import annotations

import click

from ..compiler.errors import NetcError
from ..frontend import check
from ..frontend.diagnostics import to_json
from ..options import json_option


@click.command("check")
@click.argument("file")
@json_option
def check_command(file: str, as_json: bool) -> int:
    """Find the errors in a .net file.

    The exit code is 2 if there are any.
    """
    diagnostics = check(file)
    if as_json:
        click.echo(to_json(diagnostics))
        return 2 if diagnostics else 0
    if diagnostics:
        raise NetcError(diagnostics)
    click.echo(f"{file}: no errors")
    return 0
