"""The command line: finds the command, turns every failure into one message on stderr and an exit code.

0: done. 1: a bug in netc. 2: an error that the user can cure. 130: interrupted. 141: nobody reads the output.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import keyword
import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, cast

import click

from .collector import without_collections
from .compiler.errors import EXIT_CODE, InternalError, NetcError, Note, near_miss
from .output import echo
from .runtime.parallel.launcher import launcher, rank_of_process

_INTERRUPTED = 130
_FIRST_RANK_SECONDS = 5.0

COMMANDS = {
    "run": "Run a net on pictures and print what it says.",
    "compile": "Compile a net and say what was done, stage by stage.",
    "build": "Write a net as a library for C, which needs neither Python nor netc.",
    "targets": "List what `netc build --target` can build for, what each can do, and what runs it on this machine.",
    "bench": "Measure how fast a net runs.",
    "tune": "Search the schedules of a net by measurement.",
    "train": "Train MODEL by the recipe in its file; flags override it. With --resume the recipe is that of the run.",
    "eval": "Measure how well a net does on a data set.",
    "plot": "Draw the curves of training runs.",
    "grad": "Write the gradients of a loss as a graph.",
    "quantize": "Turn a float network into a TFLite file of 8-bit integers, or with lighter weights.",
    "opt": "Run a pipeline of passes over a graph in text form.",
    "check": "Find the errors in a .net file, what netc can't run of a .tflite or .onnx file, "
    "or damage of a .netc file.",
    "show": "List a net's layers: shapes, parameters, multiply-accumulates.",
    "import": "Write a network as a .net file that can be read and edited.",
}
"""Each with the first paragraph of its own help, so that the list of all imports none of them. A command lives in
netc.commands.NAME (NAME_ where that is a word of Python), in a function NAME_command, and is imported only when it is
called."""
SHARED = ("train", "eval", "quantize")
"""Those whose work several ranks share."""


class _OutputClosedError(Exception):
    """Stands for BrokenPipeError where click would catch that and end with exit code 1."""


@contextlib.contextmanager
def _past_click() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise _OutputClosedError from None


class _Text(click.types.StringParamType):
    """Paths, names and the like, which aren't empty unless that is their default."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "" and param is not None and param.default != "":
            named = param.human_readable_name if isinstance(param, click.Argument) else "/".join(param.opts)
            raise NetcError(f"{named} is empty")
        return super().convert(value, param, ctx)


class _Commands(click.Group):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with _past_click():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        with _past_click():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        room = formatter.width - 6 - max(map(len, COMMANDS))
        rows = [(name, click.Command(name, help=text).get_short_help_str(room)) for name, text in COMMANDS.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            cure = near_miss(name, COMMANDS)
            ctx.fail(f"there is no command {name!r}" + (f"; {cure}" if cure else ""))
        if name not in SHARED and (who := launcher()) is not None:
            problem = f"netc {name} is work for one process, but {who} has started several"
            raise click.ClickException(f"{problem}; {', '.join(SHARED)} share work out")
        with without_collections(lasting=True):
            module = importlib.import_module(f"netc.commands.{name}{'_' * keyword.iskeyword(name)}")
        command: click.Command = getattr(module, f"{name}_command")
        for parameter in command.params:
            if type(parameter.type) is click.types.StringParamType:
                parameter.type = _TEXT
        return command


_TEXT = _Text()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="netc")
def cli() -> None:
    """Compile neural networks from text to device code, and run them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line on `arguments` (default: those of the process) and return the exit code."""
    _prepare_streams()
    warnings.showwarning = _show_warning
    if rank_of_process():
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (as long as the process)
    code = 0
    try:
        code = _run(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = 141
        _drop_output()
    except OSError as error:  # a full disk
        code = code or _fail(f"error: {error.strerror or error}")
        _drop_output()
    if code:
        _end_all_ranks(code, "it says why" if code <= EXIT_CODE else None)
    return code


def _run(arguments: Sequence[str] | None) -> int:
    """Run a command; every failure but that of the output becomes a message and an exit code."""
    try:
        code = cli.main(arguments, prog_name="netc", standalone_mode=False)
    except (KeyboardInterrupt, click.Abort):
        return _INTERRUPTED
    except _OutputClosedError:
        raise BrokenPipeError from None
    except BrokenPipeError:
        raise
    except click.ClickException as error:
        return _fail_alike(_shown(error))
    except NetcError as error:
        from .frontend.diagnostics import render
        from .runtime.parallel.world import RankFailedError

        return (_fail_alike if isinstance(error, RankFailedError) else _fail)(render(error))
    except MemoryError:
        return _fail("error: not enough memory")
    except RecursionError:
        return _fail("error: this is nested too deeply")
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _fail(f"error: {place}{error.strerror or error}")
    except Exception as error:
        _speak_up()
        if os.environ.get("NETC_TRACEBACK"):
            raise
        kind = "" if isinstance(error, InternalError) else f"{type(error).__name__}: "
        hint = "this is a bug in netc; NETC_TRACEBACK=1 shows where"
        echo(f"internal error: {kind}{error}\n  hint: {hint}", err=True)
        return 1
    return code if isinstance(code, int) else 0


def _speak_up() -> None:
    """Let a rank that is silent write to stderr."""
    if rank_of_process():
        sys.stderr = sys.__stderr__


def _shown(error: click.ClickException) -> str:
    """What click says about wrong arguments: usage and message."""
    text = io.StringIO()
    error.show(text)
    return text.getvalue()


def _drop_output() -> None:
    """What is still to be written can't be: it goes nowhere when the process ends."""
    with open(os.devnull, "wb") as nowhere:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(nowhere.fileno(), stream.fileno())


def _prepare_streams() -> None:
    """Characters that a stream can't show are escaped; what goes to a stream that the caller closed is dropped."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (as long as the process)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
            is_own = stream is getattr(sys, f"__{name}__")
            if is_own and isinstance(stream.buffer, io.RawIOBase):
                setattr(sys, name, _whole_writes(stream))
                setattr(sys, f"__{name}__", getattr(sys, name))


def _whole_writes(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    """The same for a stream without a buffer (PYTHONUNBUFFERED), which would drop what a pipe doesn't take at once."""
    encoding, errors = stream.encoding, stream.errors
    buffer = io.BufferedWriter(cast(io.RawIOBase, stream.detach()))
    return io.TextIOWrapper(buffer, encoding, errors, line_buffering=True, write_through=True)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    echo(f"{'note' if isinstance(message, Note) else 'warning'}: {message}", err=True)


def _fail_alike(message: str) -> int:
    """As `_fail`, of what all ranks find wrong; one that is alone with it lets the first say it."""
    if not rank_of_process():
        return _fail(message)
    _end_all_ranks(EXIT_CODE, message.strip())
    return EXIT_CODE


def _end_all_ranks(code: int, problem: str | None) -> None:
    """End the other ranks, too, if a launcher has started some; a problem is told to those that wait for this one."""
    if launcher() is not None:
        from .runtime.parallel.world import end_all_ranks

        end_all_ranks(code, problem)


def _fail(message: str) -> int:
    """Say what is wrong; what all ranks find wrong is said by the first, which ends the others."""
    if rank := rank_of_process():
        _speak_up()
        time.sleep(_FIRST_RANK_SECONDS)
        message = f"rank {rank}: {message}"
    echo(message.rstrip("\n"), err=True)
    return EXIT_CODE
