"""Calls of one program from several threads: they run side by side, in sessions on one set of weights.

The first session has all threads of the program. Where calls overlap, others on one thread each are made, up to one for
each core; calls beyond that wait in the order in which they came. Whoever waits first takes what becomes free; the
others sleep. A program with a state has the first session only: its calls take turns.

What threads share are deques and a set, whose single operations are atomic, and a lock for each session, which is held
for a call. Whoever frees a session then looks for waiting calls, and whoever begins to wait then looks for a free
session; so at least one of the two sees the other.

The usual call of a program that nobody else calls meanwhile passes this by (`direct.py`): all that shows of it is the
lock of the first session.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import get_ident

from ..compiler.errors import NetcError
from .forks import renew_after_fork
from .host import available_cores
from .session import Addresses, Session

PATIENCE = 64
"""For how many calls that meet no other a program goes on as if others came."""


class _Turn:
    """A call that waits."""

    def __init__(self, thread: int) -> None:
        self.thread = thread
        self.signal = threading.Lock()
        self.signal.acquire()

    def wake(self) -> None:
        """Let it look again; told twice before it looks, it looks once."""
        with suppress(RuntimeError):
            self.signal.release()


class Callers:
    """The sessions of a program, and the calls that run in them or wait for one."""

    def __init__(self, first: Session) -> None:
        self.first = first
        self.sessions = [first]
        """All of them; it only grows."""
        self.queue: deque[_Turn] = deque()
        self.inside: set[int] = set()
        """Threads that are in a call, or wait for one, but for calls that come directly."""
        self.pauses: deque[int] = deque()
        """Threads that want all sessions: no call begins."""
        self.unopened = deque([None])
        self.permits: deque[None] = deque()
        """One for each session that may still be made; filled when the first calls overlap."""
        renew_after_fork(self)

    def run(self, addresses: Addresses, profile: int | None) -> None:
        """Run on inputs and outputs that lie there, at once or when it is this call's turn."""
        thread = get_ident()
        inside = self.inside
        is_nested = thread in inside
        session = None
        try:
            inside.add(thread)
            session = self._nested() if is_nested else self._enter(thread)
            session.run(addresses, profile)
        finally:
            if session is not None:
                session.lock.release()
            elif not is_nested:
                self._release_all()  # an exception came between taking a session and knowing it
            if not is_nested:
                inside.discard(thread)
            if self.queue:
                self.wake()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """All sessions at once: calls under way in other threads end first, later ones wait."""
        held: list[Session] = []
        thread = get_ident()
        is_nested = thread in self.inside
        self.pauses.append(thread)
        try:
            self.inside.add(thread)  # so that a call amid this one, by a signal handler, doesn't wait for it
            while (busy := self._take_all(held)) is not None:
                with busy.lock:
                    pass
            yield
        finally:
            while held:
                held.pop().lock.release()
            if not is_nested:
                self.inside.discard(thread)
            self.pauses.remove(thread)
            self.wake()

    def close(self) -> None:
        """`stop`, unless that would pull the threads from under a call of this thread."""
        thread = get_ident()
        if any(session.caller == thread for session in self.sessions):
            raise NetcError(f"program {self.first.name} can't be closed amid a call")
        with self.exclusive():
            self.stop()

    def stop(self) -> None:
        """End all worker threads for good; the first session is left to say so, as no others are made."""
        self.unopened.clear()
        self.permits.clear()
        for session in self.sessions:
            session.stop()

    def renew(self) -> None:
        """Forget, in a forked child, the calls of threads that it doesn't have."""
        thread = get_ident()
        self.queue = deque(turn for turn in self.queue if turn.thread == thread)
        self.inside &= {thread}  # the very set, which calls that come directly look at
        self.pauses = deque(t for t in self.pauses if t == thread)

    def _nested(self) -> Session:
        """A session for a call amid one of the same thread, which mustn't wait for its turn."""
        for session in self.sessions:
            if session.lock.acquire(False):
                return session
        self.first.lock.acquire()
        return self.first

    def _enter(self, thread: int) -> Session:
        """A session, its lock taken."""
        if not self.queue and not self.pauses:
            session = self._free()
            if session is not None and not self.pauses:
                return session
            if session is not None:
                session.lock.release()
        return self._wait(_Turn(thread))

    def _wait(self, turn: _Turn) -> Session:
        session = None
        self.queue.append(turn)
        try:
            while True:
                if self.queue[0] is turn and not self.pauses:
                    session = self._free()
                    if session is not None and not self.pauses:
                        return session
                    if session is not None:
                        session.lock.release()
                turn.signal.acquire()
        finally:
            self.queue.remove(turn)
            if self.queue and (self.permits or any(s is not session and not s.caller for s in self.sessions)):
                self.wake()

    def _free(self) -> Session | None:
        """A session that no call has, its lock taken."""
        first, doors = self.first, self.first.doors
        is_wide = first.threads > 1 and not first.has_memory
        if is_wide:
            doors.crowd = PATIENCE if len(self.inside) > 1 else max(0, doors.crowd - 1)
        if not is_wide or not doors.crowd:
            if first.lock.acquire(False):
                return first
            if is_wide:
                doors.crowd = PATIENCE  # a call that came directly has it
        if first.has_memory:
            return None
        for session in self.sessions[1:]:
            if session.lock.acquire(False):
                return session
        made = self._made()
        if made is None and len(self.sessions) == 1 and first.lock.acquire(False):
            return first  # closed, or a fork or an exception came amid the making of another
        return made

    def _made(self) -> Session | None:
        """A new session, its lock taken; None if there are as many as cores."""
        with suppress(IndexError):
            self.unopened.pop()
            self.permits.extend([None] * (available_cores() - (self.first.threads == 1)))
        try:
            self.permits.pop()
        except IndexError:
            return None
        try:
            session = self.first.another()
        except BaseException:
            self.permits.append(None)
            raise
        session.lock.acquire()
        self.sessions.append(session)
        return session

    def _take_all(self, held: list[Session]) -> Session | None:
        """Take all sessions, or none and give one that a call has."""
        for session in self.sessions:
            if not session.lock.acquire(False):
                while held:
                    held.pop().lock.release()
                return session
            held.append(session)
        return None

    def _release_all(self) -> None:
        for session in self.sessions:
            with suppress(RuntimeError):
                session.lock.release()

    def wake(self) -> None:
        """Let the call that waits first look for a session."""
        with suppress(IndexError):
            self.queue[0].wake()
