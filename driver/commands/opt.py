"""`netc opt`: any pipeline of passes over textual IR."""

from __future__ import annotations

import sys
from dataclasses import fields

import click

from ..compiler import passes
from ..compiler.backends import known_passes, parse_pipeline
from ..compiler.graph.ir import Graph
from ..compiler.reading import reading
from ..frontend.graph_text import graph_of_text, load_graph
from ..options import output_option
from ..output import write_result
from ..passlog import PassLog, pass_options


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
    if file != "-":
        return load_graph(file)
    with reading("<stdin>", "graph"):
        text = sys.stdin.read()
    return graph_of_text(text, "<stdin>")
