"""Checkpoints: exact, complete or absent, and checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netc.compiler.errors import NetcError
from netc.runtime.training.checkpoint import CheckpointFolder, read_checkpoint
from netc.runtime.training.files import replace_file
from tests.surroundings import files_of_at_most

STATE: dict[str, Any] = {
    "weight": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "running.mean": np.float32([np.nan, np.inf, -0.0]),
    "steps": np.array(7, np.int64),
    "counter": np.array([2**63], np.uint64),
    "half": np.float16([0.5]),
    "flag": np.array([True]),
    "empty": np.zeros((0, 3), np.float64),
}


def test_everything_comes_back(tmp_path: Path) -> None:
    progress = {"loss": 0.1 + 0.2, "best": None, "epoch": 3}
    path = CheckpointFolder(tmp_path / "checkpoints").write(12, STATE, progress)
    found = read_checkpoint(path)
    assert found.progress == progress
    assert set(found.state) == set(STATE)
    for name, array in STATE.items():
        assert found.state[name].dtype == array.dtype
        np.testing.assert_array_equal(found.state[name], array)


def test_the_newest_few_are_kept(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=2)
    for step in (5, 90, 1000):
        folder.write(step, STATE, {"step": step})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000000090.safetensors", "step-000001000.safetensors"]
    newest, problems = folder.latest()
    assert newest is not None
    assert (newest.progress, problems) == ({"step": 1000}, ())


@pytest.mark.parametrize("kind", ["bit", "short", "empty", "progress"])
def test_a_damaged_one_gives_way_to_the_one_before(tmp_path: Path, kind: str) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.write(1, STATE, {"step": 1})
    path = folder.write(2, STATE, {"step": 2})
    data = bytearray(path.read_bytes())
    data[-1] ^= kind == "bit"
    replaced = bytes(data).replace(b'\\"step\\": 2', b'\\"step\\": 9') if kind == "progress" else bytes(data)
    path.write_bytes({"short": replaced[:-5], "empty": b""}.get(kind, replaced))
    found, problems = folder.latest()
    assert found is not None
    assert found.progress == {"step": 1}
    assert len(problems) == 1
    assert path.name in problems[0]


def test_all_damaged_stops(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.write(1, STATE, {}).write_bytes(b"x")
    with pytest.raises(NetcError, match="all checkpoints are damaged"):
        folder.latest()


def test_none_is_none(tmp_path: Path) -> None:
    assert CheckpointFolder(tmp_path / "nothing").latest() == (None, ())


def test_a_full_disk_is_told_in_the_system_s_words(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    state = {"w": np.zeros(10_000, np.float32)}
    with pytest.raises(NetcError) as caught, files_of_at_most(1000):
        folder.write(1, state, {})
    assert str(caught.value) == f"error: can't write {tmp_path}/step-000000001.safetensors: File too large"
    assert not folder
    folder.write(1, state, {})
    assert folder


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail(part: Path) -> None:
        part.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(NetcError, match="No space left on device"):
        replace_file(path, fail)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"
