"""How threads share out the rounds of a run (`runtime.ll`): by its functions, called by hand."""

from __future__ import annotations

import ctypes
import threading

import pytest

from netc.compiler.backends.cpu.codegen import machine
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.backends.cpu.codegen.jit import load_object
from netc.compiler.backends.cpu.codegen.machine import object_code
from netc.compiler.backends.cpu.codegen.program import runtime_text
from netc.runtime.session import Context

NONE = -1
SEQUENCE = "define void @netc.sequence(ptr %ctx, i64 %tid, i64 %nthreads) { ret void }\n"
I64, POINTER = ctypes.c_int64, ctypes.c_void_p


class Rounds:
    """A context for three threads that run nothing; the caller takes their parts."""

    count = 3

    def __init__(self) -> None:
        target = host_target()
        text = runtime_text(target, "test").replace("define internal", "define dso_local")
        code = object_code(machine.with_helpers(machine.header(target) + SEQUENCE + text, target), target)
        self.loaded = load_object(code, target, ("netc.take", "netc.meet"))
        self.memory = (ctypes.c_uint64 * 128)()
        self.workers = (ctypes.c_uint64 * (32 * self.count))()
        context = Context.from_buffer(self.memory)
        context.internal[0] = ctypes.addressof(self.workers)
        self._take = ctypes.CFUNCTYPE(I64, POINTER, I64, I64, I64)(self.loaded.addresses["netc.take"])
        self._meet = ctypes.CFUNCTYPE(None, POINTER, I64, I64)(self.loaded.addresses["netc.meet"])

    def take(self, thread: int, previous: int = NONE, count: int | None = None) -> int:
        """The next share of this thread."""
        return self._take(ctypes.addressof(self.memory), thread, count or self.count, previous)

    def meet(self, thread: int) -> None:
        """Wait for all."""
        self._meet(ctypes.addressof(self.memory), thread, self.count)


@pytest.fixture
def rounds() -> Rounds:
    return Rounds()


def test_who_comes_alone_does_all_shares_and_late_threads_find_none(rounds: Rounds) -> None:
    for _ in range(4):
        shares, share = [], rounds.take(1)
        while share != NONE:
            shares.append(share)
            share = rounds.take(1, share)
        assert shares == [1, 2, 0]
    assert [rounds.take(0) for _ in range(4)] == [NONE] * 4
    assert rounds.take(0) == 0  # the round after these
    assert [rounds.take(2) for _ in range(4)] == [NONE] * 4
    assert rounds.take(2) == 2


def test_each_share_is_done_once(rounds: Rounds) -> None:
    assert [rounds.take(thread) for thread in (0, 1)] == [0, 1]
    assert rounds.take(0, 0) == 2  # thread 2 hasn't come
    late = threading.Thread(target=lambda: results.append(rounds.take(2)))
    results: list[int] = []
    late.start()
    waiting = threading.Thread(target=lambda: results.append(rounds.take(1, 1)))
    waiting.start()
    late.join(0.2)
    assert late.is_alive(), "thread 2 went on before its share was done"
    assert waiting.is_alive(), "thread 1 went on before all shares were done"
    assert rounds.take(0, 2) == NONE
    late.join(10)
    waiting.join(10)
    assert results == [NONE, NONE]


def test_at_a_meeting_all_threads_come(rounds: Rounds) -> None:
    passed: list[int] = []

    def come(thread: int) -> None:
        rounds.meet(thread)
        passed.append(thread)

    threads = [threading.Thread(target=come, args=(thread,)) for thread in range(rounds.count)]
    for thread in threads[:-1]:
        thread.start()
    threads[0].join(0.2)
    assert passed == []
    threads[-1].start()
    for thread in threads:
        thread.join(10)
    assert sorted(passed) == [0, 1, 2]


def test_a_thread_without_others_has_one_share(rounds: Rounds) -> None:
    assert rounds.take(0, count=1) == 0
    assert rounds.take(0, 0, count=1) == NONE
    assert rounds.take(0, count=1) == 0
