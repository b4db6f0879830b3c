"""The watcher of a job: which rank it names, and when it is silent."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from netc.runtime.parallel import watcher

SECRET = "secret"


class Job:
    """A watcher and the connections of ranks, whose processes are no processes."""

    def __init__(self, ranks: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", watcher.__file__, str(ranks), "127.0.0.1", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{SECRET}\n")
        self.process.stdin.flush()
        port = int(self.process.stdout.readline())
        self.ranks = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(ranks)]
        self.port = port
        for rank in range(ranks):
            self.say(rank, {"secret": SECRET, "rank": rank, "host": "nowhere", "process": 100 + rank})

    def say(self, rank: int, said: dict[str, Any]) -> None:
        self.ranks[rank].sendall(json.dumps(said).encode() + b"\n")

    def at(self, rank: int, step: int, phase: str = "", seconds: float = 0.0, **facts: Any) -> None:
        self.say(rank, {"place": {"step": step, "phase": phase, "seconds": seconds}, "facts": facts})

    def said(self) -> str:
        assert self.process.stderr is not None
        self.process.wait(20)
        return self.process.stderr.read()


@pytest.fixture
def job() -> Iterator[Job]:
    found = Job(2)
    yield found
    for connection in found.ranks:
        connection.close()
    with suppress(subprocess.TimeoutExpired):
        found.process.wait(10)
    found.process.kill()
    for stream in (found.process.stdin, found.process.stdout, found.process.stderr):
        assert stream is not None
        stream.close()


def test_a_rank_that_never_connects_is_named_unless_ranks_go_on_without_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found = watcher.Watcher(2, listener, SECRET, os.getpid())
        later = time.monotonic() + watcher.ABSENT_SECONDS + 1
        assert found._absent(time.monotonic()) is None
        found._known[0] = watcher.Rank(listener, 0)
        problem, rank = found._absent(later) or ("", None)
        assert problem == "rank 1 has begun nothing for 60 s, and the others wait for it"
        assert rank is not None
        assert rank.number == 1
        found._facts["met"] = True
        assert found._absent(later) is None


def test_the_watcher_of_a_rank_that_ends_before_it_connects_ends() -> None:
    script = (
        "import os, subprocess, sys\n"
        f"subprocess.Popen([sys.executable, '-I', '-S', {watcher.__file__!r}, '2', '127.0.0.1', str(os.getpid())])"
    )
    rank = [sys.executable, "-c", script]
    ended = subprocess.run(rank, input=f"{SECRET}\n", capture_output=True, text=True, timeout=20)
    assert ended.stdout.strip().isdigit()
    assert not ended.stderr


def test_a_rank_that_dies_is_named_and_the_others_are_told(job: Job) -> None:
    job.at(0, 7, "exchange", checkpoint="x/step-5", resume="netc train --resume x")
    job.at(1, 7, "compute")
    job.ranks[1].close()
    assert job.ranks[0].recv(10) == b"end\n"
    job.ranks[0].close()
    assert job.said() == (
        "error: rank 1 (process 101 on nowhere) died in step 7, computing gradients\n"
        "  hint: the last checkpoint is x/step-5; go on with: netc train --resume x\n"
    )


def test_a_rank_that_others_wait_for_is_named(job: Job) -> None:
    job.at(1, 8, "compute", 11.0)
    job.at(0, 8, "exchange", 11.0, patience=10.0)
    assert job.ranks[0].recv(10) == b"end\n"
    job.ranks[0].close()
    assert "ranks have waited for rank 1 (process 101 on nowhere) for 10 s in step 8" in job.said()


def test_a_rank_that_ends_the_job_says_why_itself(job: Job) -> None:
    job.say(1, {"word": "ending"})
    job.ranks[1].close()
    job.ranks[0].close()
    assert job.said() == ""


def test_rank_0_hears_of_signals_and_strangers_are_sent_away(job: Job) -> None:
    with socket.create_connection(("127.0.0.1", job.port), timeout=20) as stranger:
        stranger.sendall(b'{"secret": "wrong", "rank": 1, "host": "", "process": 1}\n')
        assert stranger.recv(10) == b""
    job.say(1, {"word": "stop", "signal": 15})
    assert job.ranks[0].recv(10) == b"stop 15\n"
    for rank in range(2):
        job.say(rank, {"word": "done"})
    assert job.said() == ""


def test_a_watcher_whose_starter_has_ended_ends_without_a_word() -> None:
    command = [sys.executable, "-I", "-S", watcher.__file__, "2", "127.0.0.1", str(os.getpid())]
    pipes = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipes, stdout=pipes, stderr=pipes, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0
