"""Calls of one program from several threads: side by side, in order, and what comes between."""

from __future__ import annotations

import os
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from netc.compiler.errors import NetcError
from netc.runtime import callers
from netc.runtime.session import Session

from .chain import STEPS, W, check, draw, program, run_script
from .test_interruptions import FORK, needs_fork

CORES = 3
SECONDS = 30
"""Until something hangs."""


@pytest.fixture(autouse=True)
def _cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "available_cores", lambda: CORES)


def amid(monkeypatch: pytest.MonkeyPatch, action: Callable[[Session], object]) -> None:
    """Do something in each call, where its session is taken."""
    plain = Session._run

    def run(session: Session, arrays: Sequence[Any], profile: int | None) -> None:
        action(session)
        plain(session, arrays, profile)

    monkeypatch.setattr(Session, "_run", run)


@contextmanager
def threads(*works: Callable[[], object]) -> Iterator[None]:
    """Each in a thread of its own, which have ended afterwards; the first exception is raised."""
    with ThreadPoolExecutor(len(works)) as pool:
        futures = [pool.submit(work) for work in works]
        yield
        for future in futures:
            future.result(SECONDS)


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.mark.parametrize("count", [1, 2])
def test_as_many_calls_as_cores_run_side_by_side(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(CORES, timeout=SECONDS)
    amid(monkeypatch, lambda _: together.wait())
    with program(count) as p:
        with threads(*(lambda seed=seed: check(draw(seed), p(draw(seed))) for seed in range(CORES))):
            pass
        sessions = p._callers.sessions
        assert len(sessions) == CORES
        assert [s.threads for s in sessions] == [count, 1, 1]
        assert len({s.weights.ctypes.data for s in sessions}) == 1
        assert len({s.arena.ctypes.data for s in sessions}) == CORES


@pytest.mark.parametrize("count", [1, 2])
def test_more_callers_than_cores(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    inside: list[int] = []
    amid(monkeypatch, lambda _: inside.append(sum(bool(s.caller) for s in p._callers.sessions)))

    def work(seed: int) -> None:
        for i in range(40):
            x = draw(100 * seed + i)
            check(x, p(x))

    with program(count) as p:
        with threads(*(lambda seed=seed: work(seed) for seed in range(8))):
            pass
        assert len(inside) == 320
        assert max(inside) <= CORES + (count > 1)
        assert len(p._callers.sessions) <= CORES + (count > 1)
        assert not p._callers.queue
        assert not p._callers.inside


def test_one_caller_needs_one_session() -> None:
    with program(2) as p:
        for seed in range(5):
            check(draw(seed), p(draw(seed)))
        assert len(p._callers.sessions) == 1


def test_calls_wait_in_the_order_in_which_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "available_cores", lambda: 1)
    go = threading.Event()
    order: list[int] = []
    amid(monkeypatch, lambda s: s.caller == first[0] and go.wait(SECONDS))
    first: list[int] = []

    def work(number: int) -> None:
        if not number:
            first.append(threading.get_ident())
        p(draw())
        order.append(number)

    with program() as p, ThreadPoolExecutor(6) as pool:
        futures = []
        for number in range(6):
            futures.append(pool.submit(work, number))
            until(lambda number=number: len(p._callers.inside) == number + 1 and len(p._callers.queue) == number)
        go.set()
        for future in futures:
            future.result(SECONDS)
    assert order[1:] == sorted(order[1:])


def test_other_weights_between_calls() -> None:
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            y, _ = p(x)
            assert any(np.array_equal(y, x + STEPS * (W + more)) for more in range(3))

    x = draw()
    with program() as p, threads(work, work, work, work):
        try:
            for i in range(30):
                p.repack({"w": W + i % 3})
                np.testing.assert_array_equal(p(x)[0], x + STEPS * (W + i % 3))
        finally:
            stop.set()


def test_closing_amid_calls_of_other_threads() -> None:
    def call_on() -> None:
        while True:
            check(draw(), p(draw()))

    def work() -> None:
        with pytest.raises(NetcError, match="program chain is closed"):
            call_on()

    p = program(2)
    with threads(*[work] * 5):
        until(lambda: len(p._callers.sessions) > 1)
        p.close()


def test_a_closed_program_says_so_though_others_are_expected() -> None:
    """It waited for a session beside the first, of which no more are made."""
    p = program(2)
    p(draw())
    p._callers.inside.add(0)  # a call of another thread
    p.close()

    def work() -> None:
        with pytest.raises(NetcError, match="program chain is closed"):
            p(draw())

    with threads(work):
        pass


def test_a_session_lost_in_the_making_is_waited_for_by_nobody() -> None:
    """A child, forked while another thread made the only session that may be made, waited for it."""
    with program(2) as p:
        p(draw())
        p._callers.unopened.clear()  # and no permits: one was taken
        p._session.doors.crowd = callers.PATIENCE
        with threads(*[lambda: check(draw(), p(draw()))] * 3):
            pass
        assert p._callers.sessions == [p._session]


def test_a_call_that_fails_leaves_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(session: Session) -> None:
        if failing:
            raise MemoryError

    failing = [True]
    amid(monkeypatch, fail)
    with program() as p:
        for _ in range(CORES + 1):
            with pytest.raises(MemoryError):
                p(draw())
        enter = p._callers._enter

        def interrupted(thread: int) -> Session:
            enter(thread)
            raise KeyboardInterrupt

        monkeypatch.setattr(p._callers, "_enter", interrupted)
        with pytest.raises(KeyboardInterrupt):
            p(draw())
        monkeypatch.undo()
        failing.clear()
        monkeypatch.setattr(callers, "available_cores", lambda: 1)
        with threads(lambda: check(draw(), p(draw()))):
            pass
        assert not p._callers.inside


def test_calls_amid_what_holds_all_sessions() -> None:
    with program() as p, p._callers.exclusive():
        check(draw(), p(draw()))  # as by a signal handler


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no signals to send on this system")
def test_signal_handlers_may_call_while_their_thread_waits() -> None:
    body = """
    from netc.runtime import callers
    callers.available_cores = lambda: 1
    p, handled = program(), []
    plain = p._session.run_function
    def slow(address):
        time.sleep(0.2)
        plain(address)
    p._session.run_function = slow
    def handler(*_):
        check(draw(7), p(draw(7)))
        handled.append(7)
    signal.signal(signal.SIGALRM, handler)
    others = [threading.Thread(target=lambda: check(draw(), p(draw()))) for _ in range(2)]
    for other in others:
        other.start()
    time.sleep(0.05)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    check(draw(1), p(draw(1)))
    for other in others:
        other.join()
    print(handled)
    """
    assert run_script(body) == "[7]\n"


@needs_fork
def test_children_forked_amid_calls_of_several_threads_answer() -> None:
    body = """
    from netc.runtime import callers
    callers.available_cores = lambda: 3
    def child():
        with busy(lambda: check(draw(2), p(draw(2)))):
            check(draw(1), p(draw(1)))
        p.close()
        return 0
    p = program(2)
    call = lambda: check(draw(), p(draw()))
    with busy(call), busy(call), busy(call), busy(call):
        print([exit_code(child) for _ in range(6)])
    """
    assert run_script(FORK + textwrap.dedent(body)) == f"{[0] * 6}\n"
