"""`netc opt`: any pipeline of passes over textual IR."""

from __future__ import annotations

import sys
from dataclasses import fields

import click

from ..compiler import passes
from ..compiler.backends import known_passes, parse_pipeline
from ..compiler.errors import NetcError
from ..compiler.graph.ir import Graph
from ..compiler.graph.parser import parse_graph
from ..compiler.reading import read_text, reading
from ..frontend.diagnostics import SourceError
from ..options import output_option
from ..output import write_result
from ..passlog import PassLog, pass_options

MAX_GRAPH = 1 << 30
"""Largest text of a graph, in bytes: it may hold weights."""


def _list_of_passes() -> str:
    """What `--help` says at its end: every pass and the names of its options."""
    lines = ["\b\nPasses:"]
    for name, kind in known_passes().items():
        options = ",".join(field.name.replace("_", "-") for field in fields(kind))
        lines.append(f"  {name}{{{options}}}" if options else f"  {name}")
        lines.append(f"      {(kind.__doc__ or '').strip().splitlines()[0]}")
    return "\n".join(lines)


@click.command("opt", epilog=_list_of_passes())
@click.argument("pipeline")
@click.argument("file", default="-")
@output_option
@pass_options
def opt_command(
    pipeline: str, file: str, output: str | None, print_after: tuple[str, ...], print_changed: bool, time_passes: bool
) -> None:
    """Run a pipeline of passes over a graph in text form.

    PIPELINE names passes, such as "fold-batch-norm,cse,fuse{limit=8}"; FILE holds the graph (default: stdin).
    """
    log = PassLog(print_after, print_changed, time_passes)
    parsed = parse_pipeline(pipeline)
    graph = passes.run(_read_graph(file), parsed, observers=log.observers)
    write_result(str(graph), output)
    log.report()


def _read_graph(file: str) -> Graph:
    name = "<stdin>" if file == "-" else file
    if file == "-":
        with reading(name, "graph"):
            text = sys.stdin.read()
    else:
        text = read_text(file, "graph", MAX_GRAPH)
    try:
        return parse_graph(text, name)
    except NetcError as error:
        raise SourceError(error.diagnostics, {name: text}) from None
