"""`netc train` under a real launcher: two ranks, then one, give the same file of weights."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

NET = """\
net tiny(image: f32[N, 8, 8, 1]) {
  return image |> conv@conv(4, 3, bias = false) |> batch_norm@bn |> relu |> flatten |> dense@fc(3)
}
train tiny {
  data = "data.npz"
  optimizer = sgd(lr = 0.1, momentum = 0.9)
  batch = 64
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
    np.savez(tmp_path / "data.npz", **data)  # type: ignore[arg-type]
    (tmp_path / "tiny.net").write_text(NET)
    return tmp_path


def train(home: Path, ranks: int, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "netc", "train", *options]
    launched = [str(LAUNCHER), "-n", str(ranks), *command] if ranks > 1 else command
    return subprocess.run(launched, cwd=home, capture_output=True, text=True, timeout=120, env=os.environ)


def test_ranks_give_the_weights_of_one_process(home: Path) -> None:
    alone = train(home, 1, "tiny.net", "--run-dir", "one")
    assert alone.returncode == 0, alone.stderr
    together = train(home, 2, "tiny.net", "--run-dir", "two")
    assert together.returncode == 0, together.stderr
    assert together.stdout.count("epoch 2/2") == 1, "rank 0 alone prints"
    for name in ("best.safetensors", "last.safetensors"):
        assert (home / "one" / name).read_bytes() == (home / "two" / name).read_bytes()


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


def test_more_ranks_than_shards_are_refused_once(home: Path) -> None:
    refused = train(home, 2, "tiny.net", "--shards", "1")
    assert refused.returncode == 2
    assert refused.stderr.count("2 ranks share a batch of 64 in 1 shards") == 1
    assert "--shards 2" in refused.stderr
    assert "Traceback" not in refused.stderr
