"""Work that goes on beside a computation: pieces of it, one after the other, on one thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue


class Background:
    """A thread that does what it is given, in order; it begins with the first piece, and ends with the process."""

    def __init__(self) -> None:
        self._given: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._ended: SimpleQueue[BaseException | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._pending = 0

    def begin(self, work: Callable[[], None]) -> None:
        """Let work be done behind what was given before."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="netc-exchange", daemon=True)
            self._thread.start()
        self._pending += 1
        self._given.put(work)

    def wait(self) -> None:
        """Return when all is done; raises what a piece of it has raised."""
        while self._pending:
            error = self._ended.get()
            self._pending -= 1
            if error is not None:
                raise error

    def close(self) -> None:
        """End the thread when it has done what it was given."""
        if self._thread is not None:
            self._given.put(None)
            self._thread = None

    def _run(self) -> None:
        while (work := self._given.get()) is not None:
            try:
                work()
            except BaseException as error:
                self._ended.put(error)
            else:
                self._ended.put(None)
