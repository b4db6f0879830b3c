"""`netc opt`: any pipeline of passes over a graph."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import click

from ..compiler import passes
from ..compiler.errors import NetcError
from ..compiler.graph.ir import Graph
from ..compiler.reading import reading
from ..frontend import FORMATS, format_of
from ..frontend.graph_text import graph_of_text, load_graph
from ..loading import load
from ..options import output_option, reading_options
from ..output import check_results, write_result
from ..passlog import PassLog, pass_options


def _list_of_passes() -> str:
    """What `--help` says at its end: every pass and the names of its options."""
    from ..compiler.backends import known_passes  # schedules come along, which most pipelines don't need

    lines = ["\b\nPasses:"]
    for name, kind in known_passes().items():
        options = ",".join(field.name.replace("_", "-") for field in fields(kind))
        lines.append(f"  {name}{{{options}}}" if options else f"  {name}")
        lines.append(f"      {(kind.__doc__ or '').strip().splitlines()[0]}")
    return "\n".join(lines)


class _Command(click.Command):
    """Lists the passes in its help."""

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        self.epilog = _list_of_passes()
        super().format_epilog(context, formatter)


@click.command("opt", cls=_Command)
@click.argument("pipeline", type=click.UNPROCESSED)  # no passes are a pipeline, too
@click.argument("file", default="-")
@reading_options
@output_option
@pass_options
def opt_command(
    pipeline: str,
    file: str,
    log: PassLog,
    output: str | None,
    **choices: Any,
) -> None:
    """Run a pipeline of passes over a graph in text form.

    PIPELINE names passes, such as "fold-batch-norm,cse,fuse{limit=8}"; FILE holds the graph (default: stdin),
    or is a .tflite or .onnx file.
    """
    parsed = _parsed(pipeline)
    is_text = file == "-" or format_of(file) is FORMATS["graph"]  # which may be rewritten in its place
    check_results((output,), () if is_text else (file,))
    graph = passes.run(_read_graph(file, choices), parsed, observers=log.observers)
    write_result(str(graph), output)
    log.report()


def _parsed(pipeline: str) -> tuple[passes.Pass, ...]:
    """The passes of a pipeline; backends are asked where a name isn't one of `compiler.passes`."""
    try:
        return passes.parse_pipeline(pipeline)
    except NetcError:
        from ..compiler.backends import parse_pipeline

        return parse_pipeline(pipeline)


def _read_graph(file: str, choices: Mapping[str, Any]) -> Graph:
    if file != "-" and format_of(file) not in (FORMATS["net"], FORMATS["graph"]):
        return load(file, **choices)
    if choices["net"] is not None or choices["settings"] or choices["batch"] != 1:
        raise NetcError("a graph in text form is complete: --net, --set and --batch can't be given")
    if file != "-":
        return load_graph(file)
    with reading("<stdin>", "graph"):
        text = sys.stdin.read()
    return graph_of_text(text, "<stdin>")
