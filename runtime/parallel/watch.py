"""What a rank does for the watcher of its job (`watcher`): it says where it is, and ends when it is told to."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from . import watcher
from .watcher import DONE, END, ENDING, STOP, TICK_SECONDS
from .world import World

PATIENCE_SECONDS = 600.0
"""How long ranks wait for one that still lives, unless something else is said."""
_ENDED = 1
_CONNECT_SECONDS = 30.0
_PLACE_SECONDS = 0.1
"""How old a place that the watcher knows may be before a new one is sent."""


class Watch:
    """The connection of this rank with the watcher; for a process that is alone, nothing. A context manager.

    All ranks make one at the same time. Where the watcher can't be reached, work goes on without it: the launcher then
    is the only one to notice a rank that dies.
    """

    def __init__(self, world: World, patience: float = PATIENCE_SECONDS) -> None:
        self.asked_to_stop: Callable[[int], None] = lambda number: None
        """Called, in another thread, when another rank was told to stop by a signal; on rank 0 only."""
        self.reached = True
        """Whether all ranks have reached the watcher; known on rank 0 only."""
        self.bucket: Callable[[], tuple[int, int]] = lambda: (1, 1)
        """Which part of the gradients this rank adds, or is to add, and how many there are."""
        self._place: tuple[int | None, str, float] = None, "", time.monotonic()
        self._sent = 0.0
        self._facts: dict[str, Any] = {"patience": patience} if world.rank == 0 else {}
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None
        self._process: subprocess.Popen[str] | None = None
        if world.size > 1:
            self._begin(world)

    def _begin(self, world: World) -> None:
        host = socket.gethostname()
        hosts = world.gather(host)
        listens_at = "127.0.0.1" if set(hosts) == {host} else ""
        address = world.broadcast(None if world.rank else self._start(world.size, listens_at))
        reached = False
        if address is not None:
            where, port, secret = address
            with suppress(OSError):
                at = ("127.0.0.1" if where == host else where, port)
                self._connection = socket.create_connection(at, timeout=_CONNECT_SECONDS)
                self._connection.settimeout(TICK_SECONDS)
                self._send({"secret": secret, "rank": world.rank, "host": host, "process": os.getpid()})
                threading.Thread(target=self._attend, name="netc-watch", daemon=True).start()
                reached = True
        self.reached = all(world.gather(reached))
        if world.rank == 0:
            self._facts["met"] = True

    def at(self, step: int | None, phase: str) -> None:
        """Note where this rank is: the number of the step, and what it does there (compute, exchange)."""
        now = time.monotonic()
        self._place = step, phase, now
        if self._connection is not None and now - self._sent > _PLACE_SECONDS:
            self._send_place()

    def know(self, **facts: str) -> None:
        """Tell facts for messages: `checkpoint`, the newest, `resume`, the command; `report` is a file for messages."""
        self._facts |= facts
        if self._connection is not None:
            self._send_place()

    def ask_to_stop(self, number: int) -> None:
        """Tell rank 0 that a signal has told this rank to stop."""
        self._send({"word": STOP, "signal": number})

    def ending(self) -> None:
        """The job ends, and this rank says why: the watcher shall be quiet."""
        self._send({"word": ENDING})

    def _start(self, ranks: int, host: str) -> tuple[str, int, str] | None:
        """Start the watcher on this machine; returns where it listens, and its secret."""
        secret = secrets.token_hex(16)
        with suppress(OSError, ValueError):
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", watcher.__file__, str(ranks), host, str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
                text=True,
            )
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            with self._process.stdin as told, self._process.stdout as answer:
                told.write(f"{secret}\n")
                told.flush()
                return socket.gethostname(), int(answer.readline()), secret
        return None

    # ---- the connection ---------------------------------------------------------------------------------------------

    def _send(self, said: dict[str, Any]) -> None:
        if self._connection is not None:
            with suppress(OSError), self._lock:
                self._connection.sendall(json.dumps(said).encode() + b"\n")

    def _send_place(self) -> None:
        step, phase, since = self._place
        self._sent = time.monotonic()
        place = {"step": step, "phase": phase, "seconds": time.monotonic() - since, "bucket": self.bucket()}
        self._send({"place": place, "facts": self._facts})

    def _attend(self) -> None:
        """Send places and obey, until the connection ends."""
        connection = self._connection
        while connection is not None:
            self._send_place()
            try:
                said = connection.recv(256)
            except TimeoutError:
                continue
            except OSError:
                return
            if not said:
                return
            for word, *rest in map(str.split, said.decode().splitlines()):
                if word == END:
                    os._exit(_ENDED)
                elif word == STOP:
                    self.asked_to_stop(int(rest[0]))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._send({"word": DONE})
        else:
            self.ending()
