"""Calls that machine code carries out in place of Python's steps: when it does, and that nobody sees a difference."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
import textwrap
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.errors import NetcError
from netc.compiler.image import PYTHON_CALL
from netc.runtime import direct, program

from .chain import STEPS, check_single, draw, single_program
from .direct_calls import amid, directly, facts, is_free, needs_layout, started

pytestmark = needs_layout


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


def test_one_value_that_is_returned_twice() -> None:
    """It has one name, and two outputs all the same: the function for a single one would leave the other out."""
    text = "graph @g(%x: f32[3]) -> (f32[3], f32[3]) { %y = relu(%x) : f32[3] return %y, %y }"
    x, wanted = np.float32([-1, 0, 2]), [[0, 0, 2], [0, 0, 2]]
    with netc.compile(netc.parse_graph(text), threads=1) as program:
        assert str(program) == "<Program g(x: f32[3]) -> f32[3], f32[3], threads=1>"
        for _ in range(3):
            results = program(x)
            assert isinstance(results, tuple)
            np.testing.assert_array_equal(results, wanted)


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
