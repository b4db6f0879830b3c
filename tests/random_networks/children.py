"""Work in child processes, which may crash or hang."""

from __future__ import annotations

import os
import pickle
import signal
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from .checks import WrongError

LONGEST = 60
"""Seconds of processor time after which a child counts as hanging; one that waits has ten times as long."""


class DiedError(Exception):
    """A child process ended before it gave a result."""


def isolated(check: Callable[[], object]) -> str:
    """What is wrong by a check that runs in a child process; empty if nothing is."""
    try:
        return str(in_child(lambda: _problem(check)))
    except DiedError as error:
        return str(error)


def in_child(function: Callable[[], Any]) -> Any:
    """What a function gives that runs in a child process; `DiedError` if that crashes or hangs."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _answer(function, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        raise DiedError("hangs" if name in ("SIGALRM", "SIGPROF") else f"dies of {name}")
    if not answer:
        raise DiedError(f"ends with {os.waitstatus_to_exitcode(status)}")
    return pickle.loads(answer)


def _answer(function: Callable[[], Any], pipe: int) -> NoReturn:
    try:
        signal.setitimer(signal.ITIMER_PROF, LONGEST)
        signal.alarm(10 * LONGEST)
        with os.fdopen(pipe, "wb") as out:
            pickle.dump(function(), out)
    finally:
        os._exit(0)


def _problem(check: Callable[[], object]) -> str:
    try:
        check()
    except WrongError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}\n{trace()}"
    return ""


def trace() -> str:
    """Where the exception being handled comes from: the innermost calls."""
    return "".join(traceback.format_exc().splitlines(keepends=True)[-12:])
