"""The watcher of a job: a process that outlives the ranks and says which of them failed, and where.

It is started by rank 0 as a script (`watcher.py RANKS HOST PROCESS`), in a session of its own, so that a launcher that
ends all ranks doesn't end it. Its first line of stdin is a secret, its first line of stdout the port on which it
listens. Each rank keeps a connection and sends lines of JSON: first who it is, with the secret; then, twice a second,
its place (step, phase, since when), rank 0 also the newest checkpoint and how to go on; at last that it is done. A
connection that ends before that is a rank that died. A rank that is silent while others speak has been stopped, or its
machine is gone. Then the watcher says so on stderr and tells the other ranks to end; those of its own machine that
don't are killed.

Only the standard library is used: a process that waits shall be small, and start at once.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

SILENT_SECONDS = 20.0
"""A rank that is heard of twice a second is given up after so long."""
ABSENT_SECONDS = 60.0
"""A rank that has not connected by then, while rank 0 still waits for it, is given up."""
TICK_SECONDS = 0.5
END_SECONDS = 3.0
"""How long ranks have to end by themselves."""
DONE, ENDING, STOP, END = "done", "ending", "stop", "end"
"""What is said besides places: a rank has done its work; a rank ends the job itself, and says why; a rank was asked to
stop, which rank 0 is told; ranks are told to end."""


@dataclass
class Rank:
    """What is known of a rank."""

    connection: socket.socket
    number: int = -1
    host: str = ""
    process: int = 0
    place: dict[str, Any] = field(default_factory=dict[str, Any])
    heard: float = 0.0
    received: bytes = b""

    def __str__(self) -> str:
        return f"rank {self.number} (process {self.process} on {self.host})"


class Watcher:
    """Listens to ranks until all are done or one has failed."""

    def __init__(self, ranks: int, listener: socket.socket, secret: str, parent: int) -> None:
        """`parent` is the process of rank 0."""
        self._ranks = ranks
        self._secret = secret
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ, None)
        self._known: dict[int, Rank] = {}
        self._done: set[int] = set()
        self._facts: dict[str, Any] = {}
        self._blamed = False
        self._begun = time.monotonic()
        self._parent = parent

    def watch(self) -> None:
        """Return when there is nothing left to watch."""
        last = time.monotonic()
        while len(self._done) < self._ranks:
            events = self._selector.select(TICK_SECONDS)
            now = time.monotonic()
            if now - last > 5 * TICK_SECONDS:
                self._forgive(now)  # this process itself has stood still
            last = now
            if 0 not in self._known and os.getppid() != self._parent:
                return  # rank 0 has ended before anything began: that is the launcher's to say
            lost = [rank for key, _ in events if (rank := self._hear(key, now)) is not None]
            if lost and not self._blamed:
                self._blame(" and ".join(map(str, lost)) + " died", lost[0])
            elif not self._blamed and (late := self._late(now)) is not None:
                self._blame(f"{late} has not answered for {SILENT_SECONDS:.0f} s", late)
            elif not self._blamed and (stuck := self._absent(now) or self._stuck()) is not None:
                self._blame(*stuck)
            if self._blamed and not (set(self._known) - self._done):
                return

    def _forgive(self, now: float) -> None:
        for rank in self._known.values():
            rank.heard = now

    def _hear(self, key: selectors.SelectorKey, now: float) -> Rank | None:
        """Read what came; a rank whose connection has ended without a word is returned."""
        if key.data is None:
            connection, _ = self._listener.accept()
            connection.settimeout(5)
            self._selector.register(connection, selectors.EVENT_READ, Rank(connection, heard=now))
            return None
        rank: Rank = key.data
        try:
            data = rank.connection.recv(65536)
        except OSError:
            data = b""
        rank.heard = now
        *lines, rank.received = (rank.received + data).split(b"\n")
        for line in lines:
            self._understand(rank, json.loads(line))
        if data:
            return None
        self._selector.unregister(rank.connection)
        rank.connection.close()
        if rank.number < 0 or rank.number in self._done:
            return None
        self._done.add(rank.number)
        return rank

    def _understand(self, rank: Rank, said: dict[str, Any]) -> None:
        if rank.number < 0:
            if said.get("secret") != self._secret:
                rank.connection.shutdown(socket.SHUT_RDWR)  # a stranger
                return
            rank.number, rank.host, rank.process = said["rank"], said["host"], said["process"]
            self._known[rank.number] = rank
            return
        word = said.get("word")
        if word == DONE:
            self._done.add(rank.number)
        elif word == ENDING:
            self._blamed = True
        elif word == STOP and 0 in self._known:
            self._tell(self._known[0], f"{STOP} {said['signal']}")
        elif word is None:
            rank.place = said.get("place", {})
            self._facts.update(said.get("facts", {}))

    def _present(self) -> list[Rank]:
        return [rank for number, rank in self._known.items() if number not in self._done]

    def _late(self, now: float) -> Rank | None:
        """A rank that is silent while another speaks."""
        present = self._present()
        if not any(now - rank.heard < 4 * TICK_SECONDS for rank in present):
            return None
        return next((rank for rank in present if now - rank.heard > SILENT_SECONDS), None)

    def _absent(self, now: float) -> tuple[str, Rank] | None:
        """What is wrong if ranks wait for one that has not connected. One that can't connect is no longer waited for.

        Rank 0 alone says that they have met; if it is the one that is missing, it can't be told to end.
        """
        if self._facts.get("met") or now - self._begun < ABSENT_SECONDS:
            return None
        number = next((number for number in range(self._ranks) if number not in self._known), None)
        if number is None:
            return None
        if number == 0:
            _kill(self._parent)
        absent = Rank(self._listener, number)
        return f"rank {number} has begun nothing for {ABSENT_SECONDS:.0f} s, and the others wait for it", absent

    def _stuck(self) -> tuple[str, Rank] | None:
        """What is wrong if ranks have waited too long for another."""
        limit = self._facts.get("patience")
        present = self._present()
        waits = [r.place["seconds"] for r in present if r.place.get("phase") == "exchange"]
        if not limit or len(self._known) < self._ranks or max(waits, default=0.0) < limit:
            return None
        first = min(present, key=lambda r: (r.place.get("step", 0), r.place.get("phase") == "exchange"))
        longest = max(present, key=lambda r: r.place["seconds"] if r.place.get("phase") == "exchange" else 0.0)
        number, count = longest.place.get("bucket", (1, 1))
        bucket = f" with bucket {number} of {count}" if count > 1 else ""
        return f"ranks have waited for {first} for {limit:.0f} s{bucket}", first

    def _blame(self, problem: str, rank: Rank) -> None:
        """Say what is wrong and end the job."""
        self._blamed = True
        steps = [r.place["step"] for r in self._known.values() if r.place.get("step") is not None]
        own = rank.place.get("step")
        phases = {"exchange": ", in the exchange of gradients", "compute": ", computing gradients"}
        where = phases.get(rank.place.get("phase", ""), "") if own == max(steps, default=None) else ""
        place = f" in step {max(steps)}{where}" if steps else ""
        checkpoint, command = self._facts.get("checkpoint"), self._facts.get("resume")
        saved = f"the last checkpoint is {checkpoint}; " if checkpoint else ""
        hint = f"\n  hint: {saved}go on with: {command}" if command else ""
        text = f"error: {problem}{place}{hint}\n"
        self._write(text)
        for other in self._present():
            self._tell(other, END)
        end = time.monotonic() + END_SECONDS
        while any(other is not rank for other in self._present()) and time.monotonic() < end:
            for key, _ in self._selector.select(TICK_SECONDS):
                self._hear(key, time.monotonic())
        for other in self._present():
            if other.host == socket.gethostname():
                _kill(other.process)
        self._done |= set(range(self._ranks))

    def _write(self, text: str) -> None:
        """To stderr, and to the file that rank 0 has named: a launcher may close the former too early."""
        with suppress(OSError):
            sys.stderr.write(text)
            sys.stderr.flush()
        if path := self._facts.get("report"):
            with suppress(OSError), open(path, "w", encoding="utf-8") as file:
                file.write(text)

    @staticmethod
    def _tell(rank: Rank, word: str) -> None:
        with suppress(OSError):
            rank.connection.sendall(f"{word}\n".encode())


def _kill(process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def main(ranks: int, host: str, parent: int) -> None:
    """Watch; `host` is the address to listen on, `parent` the process of rank 0."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # these are for the ranks, and say so there
    secret = sys.stdin.readline().strip()
    with socket.create_server((host, 0), backlog=max(ranks, 128)) as listener:
        try:
            os.write(1, f"{listener.getsockname()[1]}\n".encode())
        except BrokenPipeError:
            return  # who started this has ended
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1):
            os.dup2(nowhere, descriptor)
        Watcher(ranks, listener, secret, parent).watch()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
