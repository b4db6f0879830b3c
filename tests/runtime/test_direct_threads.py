"""Direct calls beside others: several threads, closing and other weights meanwhile, forks, signals."""

from __future__ import annotations

import os
import textwrap
import threading
import time

import numpy as np
import pytest

from netc.compiler.errors import NetcError
from netc.runtime import callers

from .chain import STEPS, W, check_single, draw, run_script
from .direct_calls import amid, directly, is_free, needs_layout, started
from .test_callers import SECONDS, threads, until
from .test_interruptions import FORK, needs_fork

pytestmark = needs_layout


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("cores", [1, 3])
def test_many_threads(count: int, cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "available_cores", lambda: cores)

    def work(seed: int) -> None:
        for i in range(200):
            x = draw(100 * seed + i)
            check_single(x, p(x))

    with started(count) as p:
        with threads(*(lambda seed=seed: work(seed) for seed in range(6))):
            pass
        assert len(p._callers.sessions) <= cores + (count > 1)
        assert is_free(p)


@pytest.mark.parametrize("count", [1, 2])
def test_a_call_beside_a_direct_one_has_a_session_of_its_own(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "available_cores", lambda: 2)
    inside, go = threading.Event(), threading.Event()

    def wait() -> None:
        inside.set()
        assert go.wait(SECONDS)

    with started(count) as p, amid(p, wait):
        with threads(lambda: check_single(draw(), p(draw()))):
            try:
                assert inside.wait(SECONDS)
                assert p._session.doors.running
                assert directly(p, draw(1)) is NotImplemented
                check_single(draw(1), p(draw(1)))
                assert [s.threads for s in p._callers.sessions] == [count, 1]
            finally:
                go.set()
        assert is_free(p)
        assert p._session.doors.crowd == (callers.PATIENCE if count > 1 else 0)
        for _ in range(2 * callers.PATIENCE):
            check_single(draw(), p(draw()))
        check_single(draw(), directly(p, draw()))


def test_who_waits_for_a_direct_call_is_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "available_cores", lambda: 1)
    inside, go = threading.Event(), threading.Event()

    def wait() -> None:
        inside.set()
        assert go.wait(SECONDS)

    with started() as p, amid(p, wait):

        def others() -> None:
            assert inside.wait(SECONDS)
            check_single(draw(1), p(draw(1)))

        with threads(lambda: check_single(draw(), p(draw())), others, others):
            until(lambda: len(p._callers.queue) == 2)
            time.sleep(0.01)
            assert len(p._callers.queue) == 2
            go.set()
        assert is_free(p)
        assert len(p._callers.sessions) == 1


def test_other_weights_wait_for_direct_calls() -> None:
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            y = p(x)
            assert any(np.array_equal(y, x + STEPS * (W + more)) for more in range(3))

    x = draw()
    with started() as p, threads(work, work):
        try:
            for i in range(200):
                p.repack({"w": W + i % 3})
                np.testing.assert_array_equal(p(x), x + STEPS * (W + i % 3))
        finally:
            stop.set()


def test_closing_waits_for_a_direct_call() -> None:
    inside, go = threading.Event(), threading.Event()

    def wait() -> None:
        inside.set()
        assert go.wait(SECONDS)

    def close() -> None:
        assert inside.wait(SECONDS)
        p.close()
        assert go.is_set()

    p = started(2)
    with amid(p, wait), threads(lambda: check_single(draw(), p(draw())), close):
        assert inside.wait(SECONDS)
        time.sleep(0.02)
        go.set()
    with pytest.raises(NetcError, match="program single is closed"):
        p(draw())


@needs_fork
@pytest.mark.parametrize("count", [1, 2])
def test_children_forked_amid_a_direct_call_answer(count: int) -> None:
    body = f"""
    def child():
        assert p._direct(draw(1)) is NotImplemented
        check_single(draw(1), p(draw(1)))
        check_single(draw(1), p._direct(draw(1)))
        p.close()
        return 0
    p = single_program({count})
    with busy(lambda: check_single(draw(), p(draw()))):
        print([exit_code(child) for _ in range(12)])
    """
    assert run_script(FORK + textwrap.dedent(body)) == f"{[0] * 12}\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no signals to send on this system")
@pytest.mark.parametrize("count", [1, 2])
def test_signal_handlers_may_call(count: int) -> None:
    body = f"""
    p, handled = single_program({count}), []
    def handler(*_):
        x = draw(len(handled))
        check_single(x, p(x))
        check_single(x, p(x.T.copy().T))
        handled.append(x)
    check_single(draw(), p(draw()))
    signal.signal(signal.SIGALRM, handler)
    inputs = [draw(seed) for seed in range(300)]
    for i, x in enumerate(inputs):
        signal.setitimer(signal.ITIMER_REAL, i * 2e-7 + 1e-6)
        y = [p(x) for _ in range(10)]
        for each in y:
            check_single(x, each)
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(len(handled) > 50)
    """
    assert run_script(body) == "True\n"


def test_the_interpreter_exits_amid_calls() -> None:
    body = """
    p = single_program(2)
    check_single(draw(), p(draw()))
    def work():
        while True:
            p(x)
    x = draw()
    for _ in range(2):
        threading.Thread(target=work, daemon=True).start()
    time.sleep(0.05)
    print("done", flush=True)
    """
    for _ in range(3):
        assert run_script(body) == "done\n"
