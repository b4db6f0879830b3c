"""The command line: finds the command, turns every failure into one message on stderr and an exit code.

0: done. 1: a bug in netc. 2: an error that the user can cure. 130: interrupted. 141: nobody reads the output.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
import warnings
from collections.abc import Sequence

import click

from .compiler.errors import InternalError, NetcError, near_miss
from .frontend.diagnostics import render

COMMANDS = ("run", "compile", "bench", "train", "eval", "plot", "grad", "quantize", "opt", "check", "show")
"""Each lives in netc.commands.NAME, in a function NAME_command, and is imported only when it is called."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            cure = near_miss(name, COMMANDS)
            ctx.fail(f"there is no command {name!r}" + (f"; {cure}" if cure else ""))
        command: click.Command = getattr(importlib.import_module(f"netc.commands.{name}"), f"{name}_command")
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="netc")
def cli() -> None:
    """Compile neural networks from text to device code, and run them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line on `arguments` (default: those of the process) and return the exit code."""
    _prepare_streams()
    warnings.showwarning = _show_warning
    try:
        code = cli.main(arguments, prog_name="netc", standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, click.Abort):
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except click.ClickException as error:
        error.show()
        return 2
    except NetcError as error:
        return _fail(render(error))
    except MemoryError:
        return _fail("error: not enough memory")
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _fail(f"error: {place}{error.strerror or error}")
    except Exception as error:
        if os.environ.get("NETC_TRACEBACK"):
            raise
        kind = "" if isinstance(error, InternalError) else f"{type(error).__name__}: "
        hint = "this is a bug in netc; NETC_TRACEBACK=1 shows where"
        click.echo(f"internal error: {kind}{error}\n  hint: {hint}", err=True)
        return 1
    return code if isinstance(code, int) else 0


def _prepare_streams() -> None:
    """Characters that a stream can't show are escaped; what goes to a stream that the caller closed is dropped."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (as long as the process)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    click.echo(f"warning: {message}", err=True)


def _fail(message: str) -> int:
    click.echo(message.rstrip("\n"), err=True)
    return 2
