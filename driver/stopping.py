"""How training stops when it is asked to: SIGINT and SIGTERM, to one process or to any rank of a job.

Rank 0 stops after the present step and saves; it hears of signals to other ranks by the watch.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from .runtime.parallel.watch import Watch
from .runtime.parallel.world import World

SAME_SIGNAL_SECONDS = 2.0
"""Signals to several ranks are one if they come within this time."""


@contextmanager
def noting_sigterm(watch: Watch, world: World) -> Iterator[list[int]]:
    """While work is prepared: SIGTERM to any rank is noted in a list on rank 0, which ends the job once it can.

    Rank 0 then ends all of them, with the exit code that it means; ranks that are killed amid their work leave that to
    chance. A second signal ends this process at once.
    """
    asked = list[int]()

    def note(number: int) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        if world.rank:
            watch.ask_to_stop(number)

    watch.asked_to_stop = asked.append
    with _handled(note, signal.SIGTERM):
        yield asked


@contextmanager
def stopping_after_a_step(asked: list[int], watch: Watch, world: World, tell: Callable[[str], None]) -> Iterator[None]:
    """While rank 0 trains: the first signal is noted in `asked`, and people are told; the next one stops at once."""
    first = 0.0

    def note(number: int) -> None:
        nonlocal first
        if not asked:
            first = time.monotonic()
            asked.append(number)

    def ask(number: int) -> None:
        if not asked:
            note(number)
            tell("stopping after this step; once more stops at once, without saving")
        elif world.size == 1 or time.monotonic() - first > SAME_SIGNAL_SECONDS:
            raise KeyboardInterrupt

    watch.asked_to_stop = note
    with _handled(ask, signal.SIGINT, signal.SIGTERM):
        yield


@contextmanager
def passing_on_signals(watch: Watch) -> Iterator[None]:
    """On a rank but the first: rank 0 is told when this one is asked to stop."""
    with _handled(watch.ask_to_stop, signal.SIGINT, signal.SIGTERM):
        yield


@contextmanager
def _handled(handler: Callable[[int], object], *numbers: int) -> Iterator[None]:
    """Signals of these numbers go to a handler."""

    def handle(number: int, frame: FrameType | None) -> None:
        handler(number)

    previous = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)
