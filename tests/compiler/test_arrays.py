"""Copies of large arrays: memory that is read once is given back meanwhile."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest

from netc.compiler.arrays import ALIGNMENT, Scratch, aligned_bytes, move

SIZES = (1, 63, 4096, (1 << 21) - 1, 1 << 21, (1 << 22) + 5)


@pytest.mark.parametrize("size", SIZES)
def test_memory_is_aligned_and_zero(size: int) -> None:
    memory = aligned_bytes(size)
    assert memory.shape == (size,)
    assert memory.ctypes.data % ALIGNMENT == 0
    assert not memory.any()
    memory[:] = 7
    assert not aligned_bytes(size).any()


def test_memory_that_there_is_not_is_an_error() -> None:
    with pytest.raises(MemoryError):
        aligned_bytes(1 << 62)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux says how its pages are")
def test_large_memory_lies_in_huge_pages() -> None:
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not setting.exists() or "[never]" in setting.read_text(encoding="ascii"):
        pytest.skip("this system has no huge pages")
    memory = aligned_bytes(1 << 26)
    memory[:] = 1
    found, inside = 0, False
    for line in Path("/proc/self/smaps").read_text(encoding="ascii").splitlines():
        name, *words = line.split()
        if not name.endswith(":"):
            first, last = (int(number, 16) for number in name.split("-"))
            inside = first <= memory.ctypes.data < last
        elif name == "AnonHugePages:" and inside:
            found = int(words[0]) * 1024
    if not found:
        pytest.skip("this system gave none")
    assert found >= memory.size // 2


ROWS, COLUMNS = 4096, 8192
BYTES = ROWS * COLUMNS * 4


def filled() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """128 MiB of which each row differs from the others."""
    scratch = Scratch.of((ROWS, COLUMNS), np.dtype(np.float32))
    scratch[...] = np.arange(ROWS, dtype=np.float32)[:, None]
    scratch[:, 7] = 0.5
    return scratch


def resident() -> int:
    """Bytes of this process that are in memory."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * 4096


@pytest.mark.skipif(sys.platform != "linux", reason="memory is given back on Linux")
def test_memory_that_was_copied_is_given_back() -> None:
    scratch = filled()
    panels = scratch.T.reshape(COLUMNS, 64, 64).transpose(1, 0, 2)
    goal = np.empty(panels.shape, np.float32)
    before = resident()
    move(panels, goal)
    assert resident() - before < BYTES // 4  # the goal's pages were touched, the others let go
    assert (goal.transpose(0, 2, 1).reshape(ROWS, COLUMNS)[:, 0] == np.arange(ROWS)).all()
    assert (goal.transpose(0, 2, 1).reshape(ROWS, COLUMNS)[:, 7] == 0.5).all()


def test_other_memory_stays_as_it_is() -> None:
    source = np.arange(1 << 23, dtype=np.float32).reshape(2048, -1)
    goal = np.empty(source.T.shape, np.float32)
    move(source.T, goal)
    assert (goal == source.T).all()
    assert (source.reshape(-1) == np.arange(1 << 23, dtype=np.float32)).all()


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
@pytest.mark.parametrize(
    "part", [np.s_[:], np.s_[3:-2], np.s_[:, 1:, 2:-1], np.s_[::2, ::3], np.s_[:, ::-1], np.s_[:0]]
)
def test_any_view_is_copied(order: tuple[int, ...], part: slice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netc.compiler.arrays._PART", 4096)
    rng = np.random.default_rng(1)
    values = rng.standard_normal((30, 40, 50)).astype(np.float32)
    scratch = Scratch.of(values.shape, values.dtype)
    scratch[...] = values
    goal = np.empty(values[part].transpose(order).shape, np.float32)
    move(scratch[part].transpose(order), goal)
    np.testing.assert_array_equal(goal, values[part].transpose(order))


def test_a_view_that_meets_bytes_twice_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netc.compiler.arrays._PART", 4096)
    scratch = Scratch.of((8192,), np.dtype(np.float32))
    scratch[...] = np.arange(8192)
    windows = np.lib.stride_tricks.sliding_window_view(scratch, 64)
    goal = np.empty(windows.shape, np.float32)
    move(windows, goal)
    np.testing.assert_array_equal(goal, np.lib.stride_tricks.sliding_window_view(np.arange(8192.0), 64))
