"""A rank that waits for others which never start is ended, in the middle of MPI's code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from netc.runtime.parallel import meeting


def command(seconds: float, process: int) -> list[str]:
    return [sys.executable, "-I", "-S", meeting.__file__, str(seconds), "3", str(process)]


def test_a_rank_whose_others_never_come_is_ended_with_a_message() -> None:
    with (
        subprocess.Popen(["sleep", "60"]) as rank,
        subprocess.Popen(command(0.1, rank.pid), stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watcher,
    ):
        assert rank.wait(30) == -signal.SIGKILL
        assert watcher.stderr is not None
        assert watcher.stderr.read().startswith("error: rank 3 has waited for other ranks to start for 0.1 s\n  hint: ")


def test_a_rank_that_has_met_the_others_is_left_alone() -> None:
    ended = subprocess.run(command(60, os.getpid()), input="", capture_output=True, text=True, timeout=30)
    assert ended.returncode == 0
    assert not ended.stderr
