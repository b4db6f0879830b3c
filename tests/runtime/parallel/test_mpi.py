"""Commands under a real launcher: several ranks give what one process gives, and fail together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from netc import load
from netc.runtime.weights import initial_weights, write_weights
from tests.surroundings import descendants

NET = """\
net tiny(image: f32[N, 8, 8, 1]) {
  return image |> conv@conv(4, 3, bias = false) |> batch_norm@bn |> relu |> flatten |> dense@fc(3)
}
train tiny {
  data = "data.npz"
  optimizer = sgd(lr = 0.1, momentum = 0.9)
  batch = 64
  shards = 2
  epochs = 2
}
"""
LAUNCHER = Path(sys.prefix) / "bin" / "mpiexec"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    pytest.importorskip("mpi4py", reason="mpi4py is not installed (netc[mpi])")
    if not LAUNCHER.exists():
        pytest.skip(f"{LAUNCHER} is not there (netc[mpi] brings MPICH's)")
    rng = np.random.default_rng(0)
    data = {
        f"{kind}_{split}": array
        for split in ("train", "test")
        for kind, array in (
            ("x", rng.standard_normal((200, 8, 8, 1)).astype(np.float32)),
            ("y", rng.integers(0, 3, 200)),
        )
    }
    np.savez(tmp_path / "data.npz", **data)
    (tmp_path / "tiny.net").write_text(NET)
    return tmp_path


def launched(ranks: int, *arguments: str) -> list[str]:
    command = [sys.executable, "-m", "netc", *arguments]
    return [str(LAUNCHER), "-n", str(ranks), *command] if ranks > 1 else command


def netc(home: Path, ranks: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = launched(ranks, *arguments)
    return subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=120, env=os.environ)


def train(home: Path, ranks: int, *options: str) -> subprocess.CompletedProcess[str]:
    return netc(home, ranks, "train", *options)


def weights(home: Path) -> Path:
    """Weights of the net that nothing has trained."""
    path = home / "weights.safetensors"
    graph = load(home / "tiny.net")
    write_weights(path, graph, initial_weights(graph))
    return path


def test_ranks_give_the_weights_of_one_process(home: Path) -> None:
    alone = train(home, 1, "tiny.net", "--run-dir", "one")
    assert alone.returncode == 0, alone.stderr
    together = train(home, 2, "tiny.net", "--run-dir", "two")
    assert together.returncode == 0, together.stderr
    assert together.stdout.count("epoch 2/2") == 1, "rank 0 alone prints"
    for name in ("best.safetensors", "last.safetensors"):
        assert (home / "one" / name).read_bytes() == (home / "two" / name).read_bytes()


def test_ranks_share_accumulated_batches_and_add_buckets_meanwhile(home: Path) -> None:
    (home / "wide.net").write_text(NET.replace("conv@conv(4, 3", "conv@wide(64, 3) |> conv@conv(64, 3"))
    options = ("--batch", "4", "--accumulate", "4", "--shards", "1", "--bucket", "0.01", "--net", "tiny")
    for ranks in (1, 2, 3):
        done = train(home, ranks, "wide.net", "--run-dir", str(ranks), *options)
        assert done.returncode == 0, done.stderr
        assert "12 steps of 16" in done.stdout
    for ranks in (2, 3):
        assert (home / "1" / "last.safetensors").read_bytes() == (home / str(ranks) / "last.safetensors").read_bytes()


def test_a_run_of_two_ranks_goes_on_with_one(home: Path) -> None:
    options = ("--save-every", "1")
    assert (
        train(home, 2, "tiny.net", "--epochs", "1", "--schedule", "constant", "--run-dir", "a", *options).returncode
        == 0
    )
    resumed = train(home, 1, "--resume", "a", "--epochs", "2")
    assert resumed.returncode == 0, resumed.stderr
    assert train(home, 1, "tiny.net", "--schedule", "constant", "--epochs", "2", "--run-dir", "b").returncode == 0
    assert (home / "a" / "last.safetensors").read_bytes() == (home / "b" / "last.safetensors").read_bytes()


def test_evaluation_and_calibration_are_shared_out(home: Path) -> None:
    given = ("tiny.net", "--weights", str(weights(home)))
    one, two = (netc(home, ranks, "eval", *given, "--data", "data.npz", "--json") for ranks in (1, 2))
    assert one.returncode == two.returncode == 0, two.stderr
    assert one.stdout == two.stdout
    for ranks in (1, 2):
        files = ("--ranges", f"{ranks}.json", "-o", f"{ranks}.tflite")
        done = netc(home, ranks, "quantize", *given, "--calibrate", "data.npz", "--method", "moving-average", *files)
        assert done.returncode == 0, done.stderr
    for kind in ("json", "tflite"):
        assert (home / f"1.{kind}").read_bytes() == (home / f"2.{kind}").read_bytes()


def test_ranks_beyond_the_shards_are_told_of_and_change_no_bit(home: Path) -> None:
    for ranks in (1, 2):
        done = train(home, ranks, "tiny.net", "--shards", "1", "--run-dir", str(ranks))
        assert done.returncode == 0, done.stderr
    said = "1 of 2 ranks get no work: a batch of 64 has 1 shard; with --shards 2, which makes other weights, all have"
    assert said in done.stdout + done.stderr
    assert (home / "1" / "last.safetensors").read_bytes() == (home / "2" / "last.safetensors").read_bytes()


def test_a_rank_with_other_options_is_named(home: Path) -> None:
    command = f"exec {sys.executable} -m netc train tiny.net --seed $PMI_RANK"
    refused = subprocess.run(
        [str(LAUNCHER), "-n", "2", "sh", "-c", command], cwd=home, capture_output=True, text=True, timeout=120
    )
    assert refused.returncode == 2
    assert refused.stderr == (
        "rank 1: error: this rank was started with seed = 1, but rank 0 with 0\n"
        "  hint: give all ranks the same command and the same data\n"
    )


def test_a_rank_with_other_data_of_the_same_size_is_named(home: Path) -> None:
    for rank in "01":
        (home / rank).mkdir()
        (home / rank / "tiny.net").write_text(NET)
        with np.load(home / "data.npz") as arrays:
            data = dict(arrays)
        data["x_train"][0] += int(rank)
        np.savez(home / rank / "data.npz", **data)
    command = f"cd $PMI_RANK; exec {sys.executable} -m netc train tiny.net"
    refused = subprocess.run(
        [str(LAUNCHER), "-n", "2", "sh", "-c", command], cwd=home, capture_output=True, text=True, timeout=120
    )
    assert refused.returncode == 2
    assert refused.stderr.startswith("rank 1: error: this rank was started with training data of hash = ")
    assert not (home / "0" / "runs").exists()


def test_a_rank_with_code_for_another_processor_is_named(home: Path) -> None:
    refused = of_two(home, ["train", "tiny.net", "--cpu", "x86-64"], ["train", "tiny.net", "--cpu", "x86-64-v2"])
    assert refused.returncode == 2
    assert refused.stderr.startswith("rank 1: error: this rank was started with processor = x86-64-v2 ")
    assert "hint: `--cpu` names one whose code runs on all" in refused.stderr


def test_a_rank_that_ends_before_it_meets_the_others_is_named(home: Path) -> None:
    for other in (["train", "tiny.net", "--bogus"], ["train", "missing.net"]):
        refused = of_two(home, ["train", "tiny.net"], other)
        assert refused.returncode == 2
        assert refused.stderr.count("rank 1") == 1
        assert other[-1] in refused.stderr


def test_a_rank_that_evaluates_other_weights_is_named(home: Path) -> None:
    first = weights(home)
    second = first.with_name("other.safetensors")
    graph = load(home / "tiny.net")
    write_weights(second, graph, initial_weights(graph, 1))
    for command in (["eval", "tiny.net", "--data"], ["quantize", "tiny.net", "-o", "tiny.tflite", "--calibrate"]):
        one, other = ([*command, "data.npz", "--weights", str(path)] for path in (first, second))
        refused = of_two(home, one, other)
        assert refused.returncode == 2
        assert refused.stderr.startswith("rank 1: error: this rank was started with weights of hash = ")


def test_an_error_of_rank_0_amid_training_ends_all_with_its_code(home: Path) -> None:
    failed = train(home, 2, "tiny.net", "--optimizer", "sgd(lr=1e30)")
    assert failed.returncode == 2
    assert failed.stderr.count("error: ") == 1
    assert "Abort" not in failed.stderr


def of_two(home: Path, first: list[str], second: list[str]) -> subprocess.CompletedProcess[str]:
    """A job whose two ranks are given different arguments."""
    command = [*launched(1, *first), ":", "-n", "1", *launched(1, *second)]
    job = [str(LAUNCHER), "-n", "1", *command]
    return subprocess.run(job, cwd=home, capture_output=True, text=True, timeout=120)


def test_commands_for_one_process_say_so(home: Path) -> None:
    refused = netc(home, 2, "show", "tiny.net")
    assert refused.returncode == 2
    assert refused.stderr.count("netc show is work for one process, but mpiexec of MPICH has started several") == 1
    assert refused.stderr.count("\n") == 1


def test_a_rank_that_is_killed_is_named_and_the_run_goes_on_to_the_same_bits(home: Path) -> None:
    options = ("tiny.net", "--epochs", "60", "--save-every", "4")
    job = subprocess.Popen(
        launched(2, "train", *options, "--run-dir", "killed"), cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    while not list((home / "killed").glob("checkpoints/step-*.safetensors")):
        assert job.poll() is None
        time.sleep(0.01)
    os.kill(process_of(job.pid, 1), signal.SIGKILL)
    start = time.monotonic()
    _, errors = job.communicate(timeout=60)
    assert time.monotonic() - start < 30
    assert job.returncode != 0
    assert b"error: rank 1 (process " in errors
    assert b"the last checkpoint is killed/checkpoints/step-" in errors
    assert b"go on with: netc train --resume killed" in errors
    assert "rank 1" in (home / "killed" / "failure.txt").read_text()
    resumed = train(home, 1, "--resume", "killed")
    assert resumed.returncode == 0, resumed.stderr
    assert train(home, 1, *options, "--run-dir", "whole").returncode == 0
    assert (home / "killed" / "last.safetensors").read_bytes() == (home / "whole" / "last.safetensors").read_bytes()


def test_sigterm_to_a_rank_saves_and_asks_to_be_queued_again(home: Path) -> None:
    job = subprocess.Popen(
        launched(2, "train", "tiny.net", "--epochs", "3000", "--run-dir", "stopped"), cwd=home, stdout=subprocess.PIPE
    )
    assert job.stdout is not None
    while not job.stdout.readline().startswith(b"epoch"):
        pass
    os.kill(process_of(job.pid, 1), signal.SIGTERM)
    said, _ = job.communicate(timeout=60)
    assert job.returncode == 99
    assert b"stopped and saved; go on with: netc train --resume stopped" in said


def process_of(launcher: int, rank: int) -> int:
    """The process of a rank, a descendant of the launcher."""
    for process in descendants(launcher):
        variables = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
        if f"PMI_RANK={rank}".encode() in variables:
            return process
    raise AssertionError(f"rank {rank} has no process")
