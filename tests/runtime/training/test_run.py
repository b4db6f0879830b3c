"""Run folders: what they record, and the states that a killed process may leave them in."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from netc.compiler.errors import NetcError
from netc.runtime.training.run import Run, new_run_path, read_records
from tests.surroundings import files_of_at_most


def test_a_run_describes_itself(tmp_path: Path) -> None:
    with Run.create(tmp_path / "runs" / "a", {"net": "tiny", "batch": 4}) as run:
        assert run.recipe == {"net": "tiny", "batch": 4}
    written = json.loads((tmp_path / "runs" / "a" / "run.json").read_text())
    assert written["command"] == sys.argv
    assert written["versions"]["numpy"] == np.__version__
    with Run.open(tmp_path / "runs" / "a") as again:
        assert again.description == written
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["a"]


def test_records_come_back_and_can_be_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with Run.create(path, {}) as run:
        run.log({"kind": "step", "loss": 0.1})
        position = run.log_position()
        run.log({"kind": "step", "loss": 0.2})
        assert [r["loss"] for r in run.records()] == [0.1, 0.2]
    with Run.open(path) as run:
        run.rewind_log(position)
        run.log({"kind": "step", "loss": 0.3})
    assert [r["loss"] for r in read_records(path)] == [0.1, 0.3]


def test_a_full_disk_names_the_file_and_the_run_can_go_on(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with pytest.raises(NetcError, match=r"can't write .*run: File too large"), files_of_at_most(100):
        Run.create(path, {"net": "n" * 200})
    assert list(tmp_path.iterdir()) == []
    with (
        pytest.raises(NetcError, match=r"can't write .*metrics\.jsonl: File too large"),
        Run.create(path, {"net": "net"}) as run,
        files_of_at_most(1000),
    ):
        run.log({"kind": "k" * 2000})
    Run.open(path).close()


def test_a_line_that_was_cut_off_does_not_count(tmp_path: Path) -> None:
    with Run.create(tmp_path / "a", {}) as run:
        run.log({"kind": "step"})
    with (tmp_path / "a" / "metrics.jsonl").open("a") as stream:
        stream.write('{"kind": "st')
    assert list(read_records(tmp_path / "a")) == [{"kind": "step"}]


def test_damaged_metrics_are_named(tmp_path: Path) -> None:
    Run.create(tmp_path / "a", {}).close()
    (tmp_path / "a" / "metrics.jsonl").write_text("{}\nnothing\n{}\n")
    with pytest.raises(NetcError, match=r"metrics\.jsonl is damaged at line 2"):
        list(read_records(tmp_path / "a"))


def test_a_run_belongs_to_one_process_at_a_time(tmp_path: Path) -> None:
    with Run.create(tmp_path / "a", {}), pytest.raises(NetcError, match="in use by another process"):
        Run.open(tmp_path / "a")
    Run.open(tmp_path / "a").close()


def test_an_existing_run_is_not_overwritten(tmp_path: Path) -> None:
    Run.create(tmp_path / "a", {}).close()
    with pytest.raises(NetcError, match="--resume"):
        Run.create(tmp_path / "a", {})
    (tmp_path / "b").mkdir()
    Run.create(tmp_path / "b", {}).close()
    (tmp_path / "c").write_text("a file")
    with pytest.raises(NetcError, match="choose another"):
        Run.create(tmp_path / "c", {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"is not a run: it has no run\.json"),
        ("{", "damaged"),
        ("{}", "damaged"),
        ("[]", "damaged"),
        ('{"format": 99, "recipe": {}}', "another version"),
    ],
)
def test_what_is_no_run(tmp_path: Path, text: str | None, message: str) -> None:
    (tmp_path / "a").mkdir()
    if text is not None:
        (tmp_path / "a" / "run.json").write_text(text)
    with pytest.raises(NetcError, match=message):
        Run.open(tmp_path / "a")


def test_metrics_that_are_a_pipe_are_not_waited_for(tmp_path: Path) -> None:
    Run.create(tmp_path / "a", {}).close()
    (tmp_path / "a" / "metrics.jsonl").unlink()
    os.mkfifo(tmp_path / "a" / "metrics.jsonl")
    with pytest.raises(NetcError, match=r"metrics\.jsonl is a pipe or a device"):
        Run.open(tmp_path / "a")


def test_a_missing_run_may_be_misspelt(tmp_path: Path) -> None:
    Run.create(tmp_path / "tiny-20260101-000000", {}).close()
    with pytest.raises(NetcError, match="did you mean tiny-20260101-000000"):
        Run.open(tmp_path / "tiny-20260101-00000")
    with pytest.raises(NetcError, match="there is no run"):
        Run.open(tmp_path / "nowhere" / "tiny")


def test_new_runs_get_new_folders(tmp_path: Path) -> None:
    paths = []
    for _ in range(3):
        paths.append(new_run_path("net", tmp_path))
        paths[-1].mkdir()
    assert len(set(paths)) == 3
    assert all(p.name.startswith("net-2") for p in paths)
