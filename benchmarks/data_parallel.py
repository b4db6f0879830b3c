"""Training on several ranks: the same bits for any number of them, what the exchange costs, and what sharing gains.

Three parts, of which `--part` chooses one.

bits: nets are trained for three epochs on part of their data, by different numbers of ranks and threads, with half
batches that are accumulated, and stopped and resumed on another number of ranks. All must give the same weights.

sums: netc's sum over ranks, in the order of a tree, beside MPI's own all-reduce, which promises no order, and beside
the model behind `netc train --plan`, given the latency and bandwidth between ranks that the same job measures.

steps: a training step on 2 ranks with 1 thread each beside 1 rank with 2 threads, on the same two cores, by turns, in
as many shards as `netc train` chooses, and in one for each rank.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import parser, setting, table
from numpy.typing import NDArray
from safetensors.numpy import load_file

import netc
from netc.compiler.graph.ir import Graph
from netc.recipe import resolve_recipe
from netc.runtime.parallel.model import Measured, Network, exchange_seconds
from netc.runtime.parallel.trainer import ShardedTrainer
from netc.runtime.parallel.tree import Tree
from netc.runtime.parallel.world import World, this_world
from netc.training import TrainingRequest, load_sharded_trainer

NETS = {"mlp_mnist": "mnist", "cnn_cifar": "cifar10", "resnet20": "cifar10"}
BATCH, EPOCHS = 128, 3
FLOATS = 25_000_000
"""100 MB."""
MOST_TREE = 1.3
"""How much longer the sum in a tree may take."""
LEAST_SHARE = 0.95
"""What 2 ranks must reach of the speed of 2 threads."""
STEPS = (("resnet20", 128, 4, 16), ("resnet20", 128, 2, 16), ("resnet50", 16, 2, 3))
"""Nets with the samples and the shards of a batch, and how many steps are timed."""
LAUNCHER = Path(sys.prefix) / "bin" / "mpiexec"


def options() -> argparse.Namespace:
    each = parser(__doc__)
    each.add_argument("--part", choices=["bits", "sums", "steps"], action="append")
    each.add_argument("--nets", nargs="*", default=[*NETS], help="of the part bits")
    each.add_argument(
        "--samples", type=int, default=2560, help="of the part bits: a multiple of 128; a quarter for tests"
    )
    each.add_argument("--cases", nargs="*", help="of the part bits, as they are called in the table: 'RANKS x THREADS'")
    each.add_argument("--rounds", type=int, default=3, help="of the parts sums and steps")
    each.add_argument("--role", nargs="*", help=argparse.SUPPRESS)
    return each.parse_args()


def main() -> int:
    asked = options()
    if asked.role:
        role, *arguments = asked.role
        measures: dict[str, Callable[..., None]] = {"sums": measure_sums, "steps": measure_steps}
        measures[role](*arguments)
        return 0
    print(setting("mpi4py", "mpich") + "\n")
    parts = {
        "bits": lambda: bits(asked.nets, asked.samples, asked.cases),
        "sums": lambda: sums(asked.rounds),
        "steps": lambda: steps(asked.rounds),
    }
    return max(parts[name]() for name in asked.part or parts)


def launched(ranks: int, *command: str) -> list[str]:
    """A Python command on several ranks."""
    return [*([str(LAUNCHER), "-n", str(ranks)] if ranks > 1 else []), sys.executable, *command]


# ---- the same bits --------------------------------------------------------------------------------------------------


def bits(nets: Sequence[str], samples: int, chosen: Sequence[str]) -> int:
    rows, sound = list[list[str]](), True
    for net in nets:
        print(net, file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as name:
            home = Path(name)
            write_part(home, NETS[net], samples)
            found = {case: train() for case, train in cases(home, net).items() if not chosen or case in chosen}
            expected = found.get("1 x 1") or trained(home, net, 1, 1)
            rows += [[net, case, digest[:16], "yes" if digest == expected else "NO"] for case, digest in found.items()]
            sound &= set(found.values()) == {expected}
    print(table(["net", "ranks x threads", "hash of the weights", "same"], rows) + "\n", flush=True)
    return 0 if sound else 1


def cases(home: Path, net: str) -> dict[str, Callable[[], str]]:
    """What gives a hash of weights, by name: ranks and threads, and what else is done to the run."""
    half = ("--batch", str(BATCH // 2), "--shards", str(shards_of(net) // 2), "--accumulate", "2")
    whole = [(1, 1), (1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (8, 1)]
    accumulated = [(1, 1), (1, 2), (2, 1), (4, 1)]
    each = {f"{r} x {t}": partial(trained, home, net, r, t) for r, t in whole}
    each |= {f"{r} x {t}, accumulated": partial(trained, home, net, r, t, *half) for r, t in accumulated}
    each |= {f"{r} x 1, killed, then {n} x 1": partial(resumed, home, net, r, n) for r, n in ((4, 2), (1, 4))}
    return {**each, "2 x 1, accumulated, killed, then 1 x 1": partial(resumed, home, net, 2, 1, *half)}


def write_part(home: Path, data: str, samples: int) -> None:
    from netc.runtime.data.registry import open_source

    arrays = dict[str, NDArray[Any]]()
    for split, count in (("train", samples), ("test", samples // 4)):
        source: Any = open_source(data, split).first(count)
        arrays |= {f"x_{split}": source.values, f"y_{split}": source.labels}
    np.savez(home / "part.npz", **arrays)  # type: ignore[arg-type]


def command(net: str, threads: int, run: str, *more: str) -> tuple[str, ...]:
    given = ("--data", "part.npz", "--epochs", str(EPOCHS), "--threads", str(threads), "--seed", "1", "--run-dir", run)
    batch = () if "--batch" in more else ("--batch", str(BATCH), "--accumulate", "1")
    return ("-m", "netc", "train", net, *given, *batch, *more)


def shards_of(net: str) -> int:
    """How many shards `netc train` makes of a batch."""
    return resolve_recipe(None, {"batch": BATCH, "data": "none"}, netc.load(net)).shards


def trained(home: Path, net: str, ranks: int, threads: int, *more: str) -> str:
    """The hash of the weights after a whole run."""
    run = f"{ranks}-{threads}-{len(more)}"
    subprocess.run(launched(ranks, *command(net, threads, run, *more)), cwd=home, check=True, stdout=subprocess.DEVNULL)
    return digest_of(home / run)


def resumed(home: Path, net: str, ranks: int, later: int, *more: str) -> str:
    """The hash of the weights of a run whose launcher is killed after an epoch, and which goes on on `later` ranks."""
    run = f"killed-{ranks}-{later}"
    job = subprocess.Popen(launched(ranks, *command(net, 1, run, *more)), cwd=home, stdout=subprocess.PIPE, text=True)
    assert job.stdout is not None
    for line in job.stdout:
        if line.startswith("epoch 1/"):
            break
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    time.sleep(5)  # the ranks end when their launcher is gone
    again = launched(later, "-m", "netc", "train", "--resume", run, "--threads", "1")
    subprocess.run(again, cwd=home, check=True, stdout=subprocess.DEVNULL)
    return digest_of(home / run)


def digest_of(run: Path) -> str:
    """Of all that is trained: running statistics move once a batch, so they differ where batches do."""
    tensors = load_file(run / "last.safetensors")
    digest = hashlib.sha256()
    for name in sorted(tensors):
        if "running_" not in name:
            digest.update(name.encode() + tensors[name].tobytes())
    return digest.hexdigest()


# ---- sums -----------------------------------------------------------------------------------------------------------


def sums(rounds: int) -> int:
    rows, sound = list[list[str]](), True
    for ranks in (2, 4):
        done = subprocess.run(
            launched(ranks, __file__, "--role", "sums", str(rounds)), check=True, capture_output=True, text=True
        )
        tree, mpi, model = json.loads(done.stdout)
        rows.append([str(ranks), *(f"{t * 1e3:.0f}" for t in (tree, mpi)), f"{tree / mpi:.2f}", f"{model * 1e3:.0f}"])
        sound &= tree / mpi <= MOST_TREE
    print(table(["ranks", "tree, ms", "MPI_Allreduce, ms", "ratio", "tree by the model, ms"], rows) + "\n", flush=True)
    return 0 if sound else 1


def measure_sums(rounds: str) -> None:
    from mpi4py import MPI

    world = this_world()
    mine = np.random.default_rng(world.rank).standard_normal(FLOATS, np.float32)
    tree, result = Tree(world, world.size, FLOATS), np.empty_like(mine)
    times: list[tuple[float, float]] = []
    for _ in range(int(rounds) * 4):
        MPI.COMM_WORLD.Barrier()
        begun = time.perf_counter()
        tree.total(lambda shard, out, announce: np.copyto(out, mine))
        middle = time.perf_counter()
        MPI.COMM_WORLD.Barrier()
        start = time.perf_counter()
        np.copyto(result, mine)
        MPI.COMM_WORLD.Allreduce(MPI.IN_PLACE, result)
        times.append((middle - begun, time.perf_counter() - start))
    model = modelled(world, mine, result)
    if world.rank == 0:
        print(json.dumps([min(t[0] for t in times), min(t[1] for t in times), model]))


def modelled(world: World, mine: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """What the model says of the sum, from messages between pairs of ranks and additions, of all ranks at once."""

    def shortest(work: Callable[[], object]) -> float:
        found = list[float]()
        for _ in range(10):
            world.gather(world.broadcast(None))
            start = time.perf_counter()
            work()
            found.append(time.perf_counter() - start)
        return min(found)

    half, partner = FLOATS // 2, world.rank ^ 1
    latency = shortest(lambda: world.exchange(mine[:1], other[:1], partner))
    message = shortest(lambda: world.exchange(mine[:half], other[:half], partner))
    added = shortest(lambda: np.add(mine, other, out=other))
    network = Network(latency, half * 4 / message)
    return exchange_seconds(world.size, Measured(1, 0.0, 0.0, added, FLOATS * 4), network)


# ---- steps ----------------------------------------------------------------------------------------------------------


def steps(rounds: int) -> int:
    rows, sound = list[list[str]](), True
    for net, batch, shards, count in STEPS:
        shared, alone = list[list[float]](), list[list[float]]()
        for _ in range(rounds):
            for ranks, found in ((2, shared), (1, alone)):
                role = ("--role", "steps", net, str(batch), str(shards), str(2 // ranks), str(count))
                done = subprocess.run(launched(ranks, __file__, *role), check=True, capture_output=True, text=True)
                found.append(json.loads(done.stdout))
        wall = [min(each[0] for each in found) for found in (shared, alone)]
        exchange = min(each[1] for each in shared)
        share = wall[1] / wall[0]
        rows.append(
            [
                f"{net} b{batch}, {shards} shards",
                *(f"{t * 1e3:.0f}" for t in (*wall, exchange)),
                f"{share:.0%}",
                f"{exchange / wall[0]:.1%}",
            ]
        )
        sound &= share >= LEAST_SHARE
    heads = [
        "net",
        "2 ranks x 1 thread, ms",
        "1 rank x 2 threads, ms",
        "exchange, ms",
        "efficiency",
        "exchange's share",
    ]
    print(table(heads, rows) + "\n", flush=True)
    return 0 if sound else 1


def measure_steps(net: str, batch: str, shards: str, threads: str, count: str) -> None:
    """Print the seconds of a step, and of its exchange, both the shortest."""
    world, size = this_world(), int(batch)
    os.sched_setaffinity(0, range(2))
    request = TrainingRequest(net, batch=size // int(shards), shards=int(shards), threads=int(threads))
    graph = netc.load(net, batch=size)
    with load_sharded_trainer(request, graph, world) as trainer:
        times = timed_steps(trainer, graph, size, world, int(count) + 1)[1:]
    if world.rank == 0:
        print(json.dumps([min(each[column] for each in times) for column in (0, 1)]))


def timed_steps(
    trainer: ShardedTrainer, graph: Graph, size: int, world: World, count: int
) -> list[tuple[float, float]]:
    """The seconds of steps, and on rank 0 of the exchange that the rank waits for which waits for none."""
    rng, shape = np.random.default_rng(0), graph.inputs[0].type.shape
    x = rng.standard_normal(shape, np.float32)[trainer.rows]
    labels = rng.integers(0, 10, size).astype(np.int32)[trainer.rows]
    marks: list[float] = []
    trainer.note = lambda step, phase: marks.append(time.perf_counter())
    times = list[tuple[float, float]]()
    for _ in range(count):
        world.gather(world.broadcast(None))
        start = time.perf_counter()
        marks.clear()
        ShardedTrainer.step(trainer, x, labels)  # without orders to the others
        seconds = time.perf_counter() - start
        times.append((seconds, min(world.gather(marks[2] - marks[1]), default=0.0)))
    return times


if __name__ == "__main__":
    sys.exit(main())
