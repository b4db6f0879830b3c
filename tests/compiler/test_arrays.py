"""Copies of large arrays: pages of a file that are read once are let go meanwhile."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netc.compiler.arrays import ALIGNMENT, Scratch, aligned_bytes, move

Numbers = np.ndarray[Any, np.dtype[np.float32]]
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


def in_file(path: Path, values: Numbers) -> Numbers:
    """The numbers in a file, behind others, as `Scratch` has them."""
    path.write_bytes(bytes(8200) + values.tobytes())
    with path.open("rb") as file:
        return Scratch.of(file, 8200, values.shape, values.dtype)


def filled(path: Path) -> Numbers:
    """128 MiB of which each row differs from the others."""
    values = np.empty((ROWS, COLUMNS), np.float32)
    values[...] = np.arange(ROWS, dtype=np.float32)[:, None]
    values[:, 7] = 0.5
    return in_file(path, values)


def resident() -> int:
    """Bytes of this process that are in memory."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * 4096


@pytest.mark.skipif(sys.platform != "linux", reason="memory is given back on Linux")
def test_pages_that_were_copied_are_let_go(tmp_path: Path) -> None:
    scratch = filled(tmp_path / "numbers")
    assert scratch.max() == ROWS - 1  # all are in memory
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
def test_any_view_is_copied(
    order: tuple[int, ...], part: slice, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("netc.compiler.arrays._PART", 4096)
    rng = np.random.default_rng(1)
    values = rng.standard_normal((30, 40, 50)).astype(np.float32)
    scratch = in_file(tmp_path / "numbers", values)
    goal = np.empty(values[part].transpose(order).shape, np.float32)
    move(scratch[part].transpose(order), goal)
    np.testing.assert_array_equal(goal, values[part].transpose(order))


def test_a_view_that_meets_bytes_twice_is_copied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("netc.compiler.arrays._PART", 4096)
    scratch = in_file(tmp_path / "numbers", np.arange(8192, dtype=np.float32))
    windows = np.lib.stride_tricks.sliding_window_view(scratch, 64)
    goal = np.empty(windows.shape, np.float32)
    move(windows, goal)
    np.testing.assert_array_equal(goal, np.lib.stride_tricks.sliding_window_view(np.arange(8192.0), 64))


def test_a_file_that_is_too_short_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    path.write_bytes(bytes(100))
    with path.open("rb") as file, pytest.raises((OSError, ValueError)):
        Scratch.of(file, 64, (10,), np.dtype(np.float32))
