"""Kills a rank of a training job again and again: each time the job must end with a message that names the rank.

A small net trains on several ranks. After each kill (SIGKILL; every third time, or as `--stop-every` says, the rank is
stopped, SIGSTOP, as if its machine were gone) the run goes on from its checkpoint, on 2 ranks and 4 by turns. In the
end its weights must be those of a run that nothing disturbed, bit for bit.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import parser, setting, table

sys.path.append(str(Path(__file__).resolve().parents[1]))
from tests.surroundings import descendants

NET = """\
net tiny(image: f32[N, 8, 8, 1]) {
  return image |> conv@conv(4, 3, bias = false) |> batch_norm@bn |> relu |> flatten |> dropout(0.3) |> dense@fc(3)
}
train tiny {
  data = "data.npz"
  optimizer = sgd(lr = 0.05, momentum = 0.9)
  batch = 64
  shards = 4
}
"""
LIMIT_SECONDS = 30.0
LAUNCHER = Path(sys.prefix) / "bin" / "mpiexec"


def options() -> argparse.Namespace:
    each = parser(__doc__)
    each.add_argument("--kills", type=int, default=10)
    each.add_argument("--epochs", type=int, default=60)
    each.add_argument("--seed", type=int, default=0, help="of ranks and times")
    each.add_argument("--stop-every", type=int, default=3, help="which ranks are stopped, not killed; 0: none")
    return each.parse_args()


def main() -> int:
    asked = options()
    chance = random.Random(asked.seed)
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        write_data(home)
        train = ("train", "tiny.net", "--epochs", str(asked.epochs), "--save-every", "10")
        subprocess.run(netc(*train, "--run-dir", "whole"), cwd=home, check=True, stdout=subprocess.DEVNULL)
        arguments: tuple[str, ...] = (*train, "--run-dir", "killed")
        for number in range(asked.kills):
            ranks = (4, 2)[number % 2]
            stopped = asked.stop_every > 0 and number % asked.stop_every == asked.stop_every - 1
            rows.append(kill(home, arguments, ranks, chance, stopped))
            if (home / "killed" / "run.json").exists():
                arguments = ("train", "--resume", "killed")
        subprocess.run(netc(*arguments), cwd=home, check=True, stdout=subprocess.DEVNULL)
        same = all(
            (home / "whole" / file).read_bytes() == (home / "killed" / file).read_bytes()
            for file in ("last.safetensors", "best.safetensors")
        )
    print(f"{setting()}\n")
    print(table(["ranks", "killed", "by", "ended after", "exit code", "said"], rows))
    print(f"\nWeights as without failures, bit for bit: {'yes' if same else 'NO'}")
    named = all(f"rank {row[1]} " in row[5] for row in rows)
    in_time = all(float(row[3].split()[0]) <= LIMIT_SECONDS for row in rows)
    return 0 if same and named and in_time else 1


def kill(home: Path, arguments: tuple[str, ...], ranks: int, chance: random.Random, stopped: bool) -> list[str]:
    """Start or resume, end a rank after a while, and see what becomes of the job."""
    job = subprocess.Popen(
        netc(*arguments, ranks=ranks), cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert job.stdout is not None
    for line in job.stdout:
        if line.startswith("epoch"):
            break
    time.sleep(chance.uniform(0, 2))
    victim = chance.randrange(ranks)
    number = signal.SIGSTOP if stopped else signal.SIGKILL
    os.kill(process_of(job.pid, victim), number)
    start = time.monotonic()
    _, errors = job.communicate(timeout=120)
    seconds = time.monotonic() - start
    said = re.search(r"error: (rank .*)", errors)
    text = said[1] if said else "nothing"
    print(f"rank {victim} of {ranks}: {text}", file=sys.stderr)
    return [str(ranks), str(victim), number.name, f"{seconds:.1f} s", str(job.returncode), text]


def process_of(launcher: int, rank: int) -> int:
    """The process of a rank, a descendant of the launcher."""
    for process in descendants(launcher):
        try:
            variables = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
            command = Path(f"/proc/{process}/cmdline").read_bytes()
        except OSError:
            continue
        if f"PMI_RANK={rank}".encode() in variables and b"netc\0train" in command:
            return process
    raise SystemExit(f"rank {rank} has no process")


def netc(*arguments: str, ranks: int = 1) -> list[str]:
    """The command line of a job."""
    command = [sys.executable, "-m", "netc", *arguments]
    return [str(LAUNCHER), "-n", str(ranks), *command] if ranks > 1 else command


def write_data(home: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        f"{kind}_{split}": array
        for split in ("train", "test")
        for kind, array in (
            ("x", rng.standard_normal((2000, 8, 8, 1)).astype(np.float32)),
            ("y", rng.integers(0, 3, 2000)),
        )
    }
    np.savez(home / "data.npz", **arrays)  # type: ignore[arg-type]
    (home / "tiny.net").write_text(NET)


if __name__ == "__main__":
    sys.exit(main())
