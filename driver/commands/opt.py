"""`netc opt`: any pipeline of passes over textual IR."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ..compiler import passes
from ..compiler.errors import NetcError
from ..compiler.graph.ir import Graph
from ..compiler.graph.parser import parse_graph
from ..options import output_option
from ..output import write_result
from ..passlog import PassLog, pass_options


@click.command("opt")
@click.argument("pipeline")
@click.argument("file", default="-")
@output_option
@pass_options
def opt_command(
    pipeline: str, file: str, output: str | None, print_after: tuple[str, ...], print_changed: bool, time_passes: bool
) -> None:
    """Run a PIPELINE of passes, such as "fold-batch-norm,cse,fuse", over a graph in FILE (default: stdin)."""
    log = PassLog(print_after, print_changed, time_passes)
    parsed = passes.parse_pipeline(pipeline)
    graph = passes.run(_read_graph(file), parsed, observers=log.observers)
    write_result(str(graph), output)
    log.report()


def _read_graph(file: str) -> Graph:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise NetcError(f"{file} is not UTF-8 text") from None
    except OSError as error:
        raise NetcError(f"can't read {file}: {error.strerror or error}") from None
    return parse_graph(text, "<stdin>" if file == "-" else file)
