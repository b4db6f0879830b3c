"""What `netc train --plan` predicts for a slow network, beside what a training step is measured to take there.

Each rank lies in a network namespace of Linux with a host name of its own, as if on a machine of its own, and they
speak TCP over links whose speed `tc` limits. This needs root, `ip` and `tc`. With `--held-back` ranks lie on this
machine alone, and each message is held back until a network would have passed it; no processor works meanwhile.

The prediction is made as `--plan` does, from a shard on one thread, from the speed of links, and from the latency that
the same job measures between two ranks; what it measures of their speed is shown, too. Ranks beyond the cores share
these, which the prediction is told: a shard, an update and an addition take ranks / cores times as long.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import parser, setting, table
from data_parallel import LAUNCHER, timed_steps
from numpy.typing import NDArray

import netc
from netc.plan import measure, parse_network
from netc.recipe import resolve_recipe
from netc.runtime.parallel.model import Measured, Network, Prediction, predict
from netc.runtime.parallel.world import World, this_world
from netc.training import TrainingRequest, load_sharded_trainer
from netc.training_setup import Setup

CORES = len(os.sched_getaffinity(0))
BUCKETS = (25.0, 1.0)
"""In MB."""
HELD_LATENCY = 200.0
"""Microseconds that a message takes which is held back."""
BRIDGE, PREFIX, ADDRESSES = "netc-links", "netc-r", "10.77.0."
HOSTS = Path("/etc/netns")
"""What `ip netns exec` shows in place of files of /etc."""


def options() -> argparse.Namespace:
    each = parser(__doc__)
    each.add_argument("--net", default="cnn_cifar")
    each.add_argument("--samples", type=int, default=32, help="of a shard")
    each.add_argument("--ranks", type=int, nargs="*", default=[2, 4], help="powers of two")
    each.add_argument("--network", default="800Mbit", help="speed of each link")
    each.add_argument("--steps", type=int, default=30)
    each.add_argument("--held-back", action="store_true")
    each.add_argument("--role", nargs="*", help=argparse.SUPPRESS)
    return each.parse_args()


def main() -> int:
    asked = options()
    if asked.role:
        role, *arguments = asked.role
        {"alone": measure_alone, "ranks": measure_ranks}[role](asked, *arguments)
        return 0
    print(setting("mpi4py", "mpich") + "\n")
    rows = list[list[str]]()
    for bucket in BUCKETS:
        alone = json.loads(output([sys.executable, *own(asked), "--role", "alone", str(bucket)]))
        for ranks in asked.ranks:
            rows.append([str(ranks), *compared(asked, ranks, bucket, alone)])
    how = "messages are held back" if asked.held_back else "network namespaces"
    print(f"{asked.net}, shards of {asked.samples}, {asked.network}, {how}, {CORES} cores\n")
    heads = ["ranks", "buckets", "latency, ms", "MB/s: measured", "step, ms: predicted", "measured", "ratio"]
    print(table([*heads, "exposed, ms: predicted", "measured", "ratio"], rows) + "\n", flush=True)
    return 0


def own(asked: argparse.Namespace) -> list[str]:
    """The command line of this script, with what it was asked."""
    given = ["--net", asked.net, "--samples", str(asked.samples), "--network", asked.network]
    return [__file__, *given, "--steps", str(asked.steps), *["--held-back"] * asked.held_back]


def output(command: Sequence[str]) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


# ---- predicted and measured -----------------------------------------------------------------------------------------


def compared(asked: argparse.Namespace, ranks: int, bucket: float, alone: dict[str, Any]) -> list[str]:
    """A row: what links do, and what is predicted and measured with them."""
    command = [*own(asked), "--role", "ranks", str(bucket)]
    if asked.held_back:
        found = json.loads(output([str(LAUNCHER), "-n", str(ranks), sys.executable, *command]))
    else:
        with linked(ranks, asked.network) as hosts:
            found = json.loads(output(on_hosts(hosts, command)))
    network = parse_network(asked.network, found["latency"] * 1e6)
    predicted = predicted_step(ranks, asked.samples, alone, network)
    figures = [str(len(alone["buckets"])), f"{network.latency * 1e3:.2f}", f"{found['bandwidth'] / 1e6:.1f}"]
    for name, seconds in (("step", predicted.seconds), ("exposed", predicted.exposed)):
        figures += [f"{seconds * 1e3:.0f}", f"{found[name] * 1e3:.0f}", f"{found[name] / seconds:.2f}"]
    return figures


def predicted_step(ranks: int, samples: int, alone: dict[str, Any], network: Network) -> Prediction:
    """What the model says of ranks that share the cores."""
    crowd = max(1.0, ranks / CORES)
    shard, update, sum_ = (crowd * alone[name] for name in ("shard", "update", "sum"))
    buckets = tuple((share, passed) for share, passed in alone["buckets"])
    return predict(ranks, Measured(samples, shard, update, sum_, alone["bytes"], buckets), network)


def measure_alone(asked: argparse.Namespace, bucket: str) -> None:
    """Print what `--plan` measures."""
    setup = Setup(asked.net, None, {}, None, {}, None, (), 1, None, None, float(bucket))
    shards = {"batch": 2 * asked.samples, "shards": 2, "accumulate": 1, "data": "none"}
    found = measure(setup, resolve_recipe(None, shards), 10_000)
    times = {"shard": found.shard_seconds, "update": found.update_seconds, "sum": found.sum_seconds}
    print(json.dumps({**times, "bytes": found.exchanged_bytes, "buckets": found.buckets}))


def measure_ranks(asked: argparse.Namespace, bucket: str) -> None:
    """Print a step's seconds, those in which nothing but the exchange goes on, and what links do.

    Of the tenth of the steps that were shortest, which others disturbed least.
    """
    world: Any = this_world()
    if asked.held_back:
        world = SlowWorld(world, parse_network(asked.network, HELD_LATENCY))
    network = measured_network(world)
    request = TrainingRequest(
        asked.net,
        batch=asked.samples,
        shards=world.size,
        threads=1,
        bucket=int(float(bucket) * 1e6),
        factors=False,  # as the model
    )
    size = asked.samples * world.size
    graph = netc.load(asked.net, batch=size)
    with load_sharded_trainer(request, graph, world) as trainer:
        times = sorted(timed_steps(trainer, graph, size, world, asked.steps + 2)[2:])
    best = times[: max(1, len(times) // 10)]
    step, exposed = (sum(each[column] for each in best) / len(best) for column in (0, 1))
    if world.rank == 0:
        links = {"latency": network.latency, "bandwidth": network.bandwidth}
        print(json.dumps({**links, "step": step, "exposed": exposed}))


def measured_network(world: World, size: int = 8_000_000, rounds: int = 8) -> Network:
    """What a message between two ranks takes, while all pairs exchange one; both directions at once."""
    mine, theirs = np.zeros(size, np.uint8), np.zeros(size, np.uint8)

    def shortest(count: int) -> float:
        found = list[float]()
        for _ in range(rounds):
            world.gather(world.broadcast(None))
            start = time.perf_counter()
            world.exchange(mine[:count], theirs[:count], world.rank ^ 1)
            found.append(time.perf_counter() - start)
        return min(found)

    latency = shortest(4)
    return Network(latency, size / max(shortest(size) - latency, 1e-9))


class SlowWorld:
    """A world whose messages take as long as a network's."""

    def __init__(self, world: World, network: Network) -> None:
        self._world, self._network = world, network

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world, name)

    def exchange(self, mine: NDArray[Any], theirs: NDArray[Any], partner: int) -> None:
        """As the world's, but not sooner than the network would be ready: both directions at once."""
        end = time.perf_counter() + self._network.latency + max(mine.nbytes, theirs.nbytes) / self._network.bandwidth
        self._world.exchange(mine, theirs, partner)
        time.sleep(max(0.0, end - time.perf_counter()))


# ---- machines that are none -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Host:
    """A network namespace."""

    name: str
    address: str


@contextmanager
def linked(count: int, speed: str) -> Iterator[list[Host]]:
    """Network namespaces whose links with a bridge pass no more than `speed` in each direction."""
    hosts = [Host(f"{PREFIX}{number}", f"{ADDRESSES}{number + 1}") for number in range(count)]
    ip("link", "add", BRIDGE, "type", "bridge")
    try:
        ip("link", "set", BRIDGE, "up")
        for host in hosts:
            _link(host, speed, hosts)
        yield hosts
    finally:
        for host in hosts:
            # With the namespace alone the cable would go some time later, and the next one has the same name.
            subprocess.run(["ip", "link", "del", f"{host.name}-link"], check=False)
            subprocess.run(["ip", "netns", "del", host.name], check=False)
            (HOSTS / host.name / "hosts").unlink(missing_ok=True)
        ip("link", "del", BRIDGE)


def _link(host: Host, speed: str, hosts: Sequence[Host]) -> None:
    folder, cable = HOSTS / host.name, f"{host.name}-link"
    folder.mkdir(parents=True, exist_ok=True)
    known = [f"{other.address} {other.name}" for other in hosts]
    (folder / "hosts").write_text("\n".join(["127.0.0.1 localhost", *known, ""]))
    ip("netns", "add", host.name)
    ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", host.name)
    ip("link", "set", cable, "master", BRIDGE, "up")
    ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", "eth0")
    for device in ("lo", "eth0"):
        ip("-n", host.name, "link", "set", device, "up")
    rate = f"{parse_network(speed, 0).bandwidth * 8 / 1e6:.0f}mbit"
    limit = ["root", "tbf", "rate", rate, "burst", "256kb", "latency", "100ms"]
    subprocess.run(["tc", "-n", host.name, "qdisc", "add", "dev", "eth0", *limit], check=True)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def on_hosts(hosts: Sequence[Host], command: Sequence[str]) -> list[str]:
    """Python with a rank on each host. MPICH's launcher calls `ssh HOST COMMAND`, or a script in its place."""
    shell = Path(__file__).with_name("in_namespace.sh")
    names = ",".join(host.name for host in hosts)
    launcher = [str(LAUNCHER), "-launcher", "ssh", "-launcher-exec", str(shell), "-hosts", names, "-ppn", "1"]
    by_tcp = ["-genv", "UCX_TLS", "tcp,self", "-genv", "FI_PROVIDER", "tcp"]  # not by the memory that hosts share here
    ranks = ["-n", str(len(hosts)), *by_tcp, sys.executable, *command]
    return [str(shell), hosts[0].name, *launcher, *ranks]


if __name__ == "__main__":
    sys.exit(main())
