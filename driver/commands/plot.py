"""`netc plot`: curves of training runs as a picture."""

from __future__ import annotations

import importlib
from pathlib import Path

import click

from ..compiler.errors import NetcError
from ..output import echo, write_result
from ..runtime.training.run import read_description, read_records

_FORMATS = ("png", "svg", "pdf")


@click.command("plot")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("-o", "--output", metavar="FILE", help="A .png, .svg or .pdf file; default: curves.png in the run.")
def plot_command(runs: tuple[str, ...], output: str | None) -> None:
    """Draw the curves of training runs.

    Loss, accuracy, learning rate and throughput, those of several runs laid over each other.
    """
    if output is None and len(runs) > 1:
        raise NetcError("several runs need a file to be drawn to", hint="give -o FILE.png")
    target = output or str(Path(runs[0]) / "curves.png")
    kind = Path(target).suffix.lower().removeprefix(".")
    if kind not in _FORMATS:
        raise NetcError(f"can't draw {target}", hint="end its name in " + ", ".join(f".{f}" for f in _FORMATS))
    records = {}
    for run in runs:
        read_description(Path(run))
        records[Path(run).resolve().name] = list(read_records(Path(run)))
    try:
        curves = importlib.import_module("netc.curves")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "matplotlib":
            raise
        raise NetcError("drawing needs matplotlib, which is not installed", hint="pip install 'netc[plot]'") from None
    write_result(curves.draw(records, kind), target)
    echo(f"wrote {target}")
