"""Measure how long compiling takes, with an empty cache and with a full one, and how long `import netc` takes.

Each measurement is a fresh process and spans `import netc`, reading the text, all stages, reading the weights from a
file and packing them, up to a program that can be called. The shortest of several counts.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import parser, setting, table

import netc
from netc.runtime.weights import initial_weights, write_weights

COMPILE = """\
import sys, time
start = time.perf_counter()
import netc
program = netc.compile(sys.argv[1], weights=sys.argv[2], threads=2)
print(time.perf_counter() - start)
"""


def main() -> int:
    """Measure, and print what was found."""
    options = _options()
    rows: list[list[str]] = []
    cold_times: dict[str, float] = {}
    for net in options.nets:
        cold, warm = _measure(net, options.repeats)
        cold_times[net] = cold
        rows.append([net, f"{cold:.2f} s", f"{warm:.2f} s"])
        print(*rows[-1], file=sys.stderr)
    print(setting(), end="\n\n")
    print(table(["net", "empty cache", "full cache"], rows))
    if {"resnet50", "resnet152"} <= cold_times.keys():
        print(f"\nresnet152 takes {cold_times['resnet152'] / cold_times['resnet50']:.2f} times resnet50's time.")
    bare = min(_run("pass") for _ in range(10))
    imported = min(_run("import netc") for _ in range(10))
    print(
        f"\n`import netc` takes {1e3 * (imported - bare):.0f} ms beyond the {1e3 * bare:.0f} ms of Python's own start."
    )
    return 0


def _options() -> argparse.Namespace:
    p = parser(__doc__)
    p.add_argument("--nets", nargs="+", default=["cnn_mnist", "mobilenet_v2", "vgg19", "resnet50", "resnet152"])
    p.add_argument("--repeats", type=int, default=3)
    return p.parse_args()


def _measure(net: str, repeats: int) -> tuple[float, float]:
    """Seconds with an empty cache and with a full one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        graph = netc.load(net)
        weights = folder / "weights.safetensors"
        write_weights(weights, graph, initial_weights(graph))
        cold = [_compile(net, weights, folder / str(i)) for i in range(repeats)]
        warm = [_compile(net, weights, folder / "0") for _ in range(repeats)]
    return min(cold), min(warm)


def _compile(net: str, weights: Path, cache: Path) -> float:
    """Seconds from `import netc` to a program that can be called, as a fresh process measures them."""
    command = [sys.executable, "-c", COMPILE, net, str(weights)]
    environment = {**os.environ, "NETC_CACHE_DIR": str(cache)}
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout)


def _run(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
