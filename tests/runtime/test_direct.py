"""Calls that machine code carries out in place of Python's steps: when it does, and that nobody sees a difference."""

from __future__ import annotations

import ctypes
import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.errors import NetcError
from netc.compiler.image import PYTHON_CALL
from netc.runtime import callers, direct, program
from netc.runtime.program import Program

from .chain import STEPS, W, check_single, draw, run_script, single_program
from .test_callers import SECONDS, threads, until
from .test_interruptions import FORK, needs_fork

pytestmark = pytest.mark.skipif(not direct.is_known_here(), reason="this Python's objects are laid out otherwise")


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


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_usual_call_is_direct(count: int) -> None:
    with started(count) as p:
        for seed in range(40):
            x = draw(seed)
            check_single(x, directly(p, x))
            check_single(x, p(x))
        assert is_free(p)


def test_references_are_counted() -> None:
    with started() as p:
        x, kept = draw(), [sys.getrefcount(NotImplemented), sys.getrefcount(None), sys.getrefcount(True)]
        before = sys.getrefcount(x)
        for _ in range(1000):
            y = p(x)
            directly(p, x.T)
        assert sys.getrefcount(x) == before
        assert sys.getrefcount(y) == 2
        after = [sys.getrefcount(NotImplemented), sys.getrefcount(None), sys.getrefcount(True)]
        assert np.abs(np.subtract(after, kept)).max() < 100


def test_outputs_are_fresh() -> None:
    with started() as p:
        first = p(draw())
        second = p(draw(1))
        check_single(draw(), first)
        check_single(draw(1), second)
        assert first.flags.owndata
        assert first.flags.writeable


class Sub(np.ndarray[Any, Any]):
    """An array of another class."""


def unaligned() -> Any:
    memory = np.zeros(draw().nbytes + 1, np.uint8)[1:].view(np.float32).reshape(64, 8)
    memory[...] = draw()
    return memory


UNUSUAL: Mapping[str, Callable[[], Any]] = MappingProxyType(
    {
        "another class": lambda: draw().view(Sub),
        "columns first": lambda: np.asfortranarray(draw()),
        "rows backwards": lambda: draw()[::-1].copy()[::-1],
        "every other": lambda: np.repeat(draw(), 2, axis=1)[:, ::2],
        "unaligned": unaligned,
        "a dtype of its own": lambda: draw().view(np.dtype(np.float32, copy=True)),
    }
)


@pytest.mark.parametrize("kind", UNUSUAL)
def test_unusual_inputs_go_another_way(kind: str) -> None:
    x = UNUSUAL[kind]()
    np.testing.assert_array_equal(x, draw())
    with started() as p:
        assert directly(p, x) is NotImplemented
        check_single(draw(), p(x))
        check_single(draw(), p(x=draw()))
        assert is_free(p)
        check_single(draw(), directly(p, draw()))


def test_arrays_that_only_can_be_read_are_usual() -> None:
    with started() as p:
        x = draw()
        x.flags.writeable = False
        held = memoryview(x)
        check_single(x, directly(p, x))
        held.release()


def resized() -> Any:
    x = np.zeros((65, 8), np.float32)
    x.resize((64, 9), refcheck=False)
    return x


WRONG: Mapping[str, Callable[[], list[Any]]] = MappingProxyType(
    {
        "bytes swapped": lambda: [draw().astype(">f4")],
        "integers": lambda: [draw().view(np.int32)],
        "doubles": lambda: [draw().astype(np.float64)],
        "more rows": lambda: [np.zeros((65, 8), np.float32)],
        "another order": lambda: [np.zeros((8, 64), np.float32)],
        "another rank": lambda: [draw().reshape(1, 64, 8)],
        "no axes": lambda: [np.float32(1)],
        "resized": lambda: [resized()],
        "empty": lambda: [np.zeros((0, 8), np.float32)],
        "a list": lambda: [draw().tolist()],
        "memory": lambda: [memoryview(draw())],
        "None": lambda: [None],
        "a class": lambda: [np.ndarray],
        "nothing": list,
        "too much": lambda: [draw(), draw()],
    }
)


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_inputs_are_refused(kind: str) -> None:
    with started() as p:
        assert directly(p, *WRONG[kind]()) is NotImplemented
        with pytest.raises(NetcError, match=r"input `x` takes|takes 1 input|lacks its input"):
            p(*WRONG[kind]())
        assert is_free(p)
        check_single(draw(), directly(p, draw()))


def test_several_inputs_and_sizes() -> None:
    text = """
    graph @g(%x: f32[], %n: i32[3,1,2], %b: i1[2]) -> (i32[3,1,2]) {
      %0 = cast(%x) {dtype = "i32"} : i32[]
      %1 = add(%n, %0) : i32[3,1,2]
      %2 = cast(%b) {dtype = "i32"} : i32[2]
      %3 = add(%1, %2) : i32[3,1,2]
      return %3
    }
    """
    x, n, b = np.float32(7), np.arange(6, dtype=np.int32).reshape(3, 1, 2), np.array([True, False])
    with netc.compile(netc.parse_graph(text), threads=1) as p:
        inputs = np.array(x), n, b
        wanted = n + 7 + b.astype(np.int32)
        np.testing.assert_array_equal(p(*inputs), wanted)
        np.testing.assert_array_equal(directly(p, *inputs), wanted)
        assert directly(p, x, n, b) is NotImplemented
        assert directly(p, *inputs[::-1]) is NotImplemented
        assert directly(p, inputs[0], n, b[::-1]) is NotImplemented
        np.testing.assert_array_equal(p(inputs[0], n, b[::-1]), n + 7 + b[::-1].astype(np.int32))


def test_no_inputs() -> None:
    text = "graph @g() -> (f32[2]) { %0 = constant {value = dense<[1.0,2.0]>} : f32[2] return %0 }"
    with netc.compile(netc.parse_graph(text), threads=1) as p:
        for _ in range(2):
            np.testing.assert_array_equal(p(), [1, 2])
        np.testing.assert_array_equal(directly(p), [1, 2])
        assert directly(p, draw()) is NotImplemented


def test_profiles_are_taken_another_way() -> None:
    with started() as p:
        times = p.profile(draw())
        assert len(times) == STEPS
        assert directly(p, draw()) is NotImplemented  # the context still says where the stamps would go
        check_single(draw(), p(draw()))
        check_single(draw(), directly(p, draw()))


def test_closed_programs_say_so() -> None:
    p = started(2)
    p.close()
    assert directly(p, draw()) is NotImplemented
    with pytest.raises(NetcError, match="program single is closed"):
        p(draw())


def test_what_fails_leaves_the_session_free() -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    for part in ("empty", "wake"):
        with started() as p:
            plain = getattr(facts(p), part)
            setattr(facts(p), part, fail)
            with amid(p, lambda p=p: p._callers.inside.add(0)), pytest.raises(MemoryError):
                p(draw())
            setattr(facts(p), part, plain)
            p._callers.inside.discard(0)
            assert is_free(p)
            check_single(draw(), directly(p, draw()))
    with started() as p:
        for part in ("acquire", "release"):
            setattr(p._session.doors, part, fail)
            with pytest.raises(MemoryError):
                p(draw())


def test_programs_are_collected_at_once() -> None:
    p = started(2)
    gone, arena = weakref.ref(p), weakref.ref(p._session.arena)
    gc.collect()
    gc.disable()
    try:
        del p
        assert gone() is None
        assert arena() is None
    finally:
        gc.enable()


def test_the_function_outlives_its_program() -> None:
    p = started()
    function = p._direct
    assert function is not None
    del p
    gc.collect()
    assert function(draw()) is NotImplemented


# ---- several threads ------------------------------------------------------------------------------------------------


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


# ---- where it can't be used -----------------------------------------------------------------------------------------


def test_elsewhere_python_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "is_known_here", lambda: False)
    with single_program() as p:
        assert p._direct is None
        for seed in range(3):
            check_single(draw(seed), p(draw(seed)))


def test_other_layouts_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert direct.is_known_here.__wrapped__()
    monkeypatch.setattr(direct, "_HEADER", 32)
    assert not direct.is_known_here.__wrapped__()
    monkeypatch.undo()

    class Moved(ctypes.Structure):
        _fields_ = tuple((name, kind) for name, kind in direct._ArrayObject._fields_ if name != "base")

    monkeypatch.setattr(direct, "_ArrayObject", Moved)
    assert not direct.is_known_here.__wrapped__()


def test_saved_programs_bring_it_along(tmp_path: Path) -> None:
    graph = netc.parse_graph("graph @g(%x: f32[4]) -> (f32[4]) { %0 = relu(%x) : f32[4] return %0 }")
    file = tmp_path / "relu.netc"
    netc.compile(graph, threads=1).save(file)
    script = f"""
    import sys, numpy, netc
    p = netc.load_program({str(file)!r})
    x = numpy.array([1, -1, 2, -2], numpy.float32)
    print(p(x), None if p._direct is None else p._direct(x), "llvmlite" in sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    assert done.stdout == "[1. 0. 2. 0.] [1. 0. 2. 0.] False\n"


def test_older_saved_programs_lack_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "ENTRIES", tuple(name for name in program.ENTRIES if name != PYTHON_CALL))
    with single_program() as p:
        assert p._direct is None
        for seed in range(3):
            check_single(draw(seed), p(draw(seed)))
