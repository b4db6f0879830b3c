"""Programs that are called by machine code in place of Python's steps, for the tests of such calls."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from netc.runtime import direct
from netc.runtime.program import Program

from .chain import check_single, draw, single_program
from .test_callers import SECONDS

needs_layout = pytest.mark.skipif(not direct.is_known_here(), reason="this Python's objects are laid out otherwise")


def directly(p: Program, *inputs: Any) -> Any:
    """What the function of a program gives; NotImplemented if it leaves the call to others."""
    assert p._direct is not None
    return p._direct(*inputs)


def started(count: int = 1) -> Program:
    """A program whose session has started: from then on it can be called directly."""
    p = single_program(count)
    assert directly(p, draw()) is NotImplemented
    check_single(draw(), p(draw()))
    return p


def facts(p: Program) -> Any:
    """What the function of a program knows."""
    return direct._Facts.from_buffer(getattr(p._direct, "__self__", None))


@contextmanager
def amid(p: Program, action: Callable[[], object]) -> Iterator[None]:
    """Meanwhile do something in each direct call, in place of a run of its own."""
    plain, address = p._session.run_function, facts(p).run

    def run(context: int) -> None:
        action()
        plain(context)

    instead = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(run)
    facts(p).run = ctypes.cast(instead, ctypes.c_void_p).value
    yield
    facts(p).run = address


def is_free(p: Program) -> bool:
    """Whether nothing is left of calls: another thread can take the session."""
    lock = p._session.lock
    with ThreadPoolExecutor(1) as pool:
        taken = pool.submit(lambda: lock.acquire(False) and not lock.release()).result(SECONDS)
    return taken and not p._callers.inside and not p._callers.queue and not p._session.doors.running
