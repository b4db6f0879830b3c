"""Measure how the time to compile grows with depth: residual nets of 50 to 1,000 convolutions, with an empty cache.

    python benchmarks/depth.py [LAYERS ...]

The nets are `resnet20` with more units in each stage. Each compilation is a fresh process; its seconds are CPU time, of
all threads, of each stage from text to object, and of loading the object and packing initial weights.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from common import parser, setting, table

from netc.pipeline import PROGRAM, Compilation, Request, build, load_program

UNITS = 6
"""Convolutions for each unit more in all three stages."""


class Timed(Compilation):
    """A compilation that notes the CPU time of its stages."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[list[str]]:
        """Time a stage."""
        start = time.process_time()
        with super().stage(name) as result:
            yield result
        self.seconds[name] = time.process_time() - start


class TimedRequest(Request):
    """What is to be compiled."""

    def begin(self) -> Timed:
        """Before the first stage."""
        return Timed(self)


def main() -> None:
    """Measure each depth in a process of its own, and print all as a table."""
    options = _options()
    if options.one:
        print(json.dumps(measured(options.layers[0])))
        return
    found = [_apart(layers) for layers in options.layers]
    stages = list(found[0]["seconds"])
    print(setting(), end="\n\n")
    headers = ["convolutions", "operations", *stages, "all", "per convolution", "memory"]
    print(table(headers, [_row(f) for f in found]))


def _options() -> argparse.Namespace:
    p = parser(__doc__)
    p.add_argument("layers", nargs="*", type=int, default=[50, 100, 200, 500, 1000], metavar="LAYERS")
    p.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    return p.parse_args()


def _apart(layers: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, __file__, "--one", str(layers)]
        environment = {**os.environ, "NETC_CACHE_DIR": cache}
        result = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout
    found: dict[str, Any] = json.loads(result)
    print(found, file=sys.stderr, flush=True)
    return found


def measured(layers: int) -> dict[str, Any]:
    """Compile the net whose number of convolutions comes closest."""
    units = max(1, round((layers - 3) / UNITS))
    c = build(TimedRequest("resnet20", settings={"depths": [units] * 3}, threads=2), PROGRAM)
    assert isinstance(c, Timed)
    with c.stage("load"), load_program(c):
        pass
    operations = c.network.operations
    return {
        "convolutions": sum(op.name == "conv2d" for op in operations),
        "operations": len(operations),
        "seconds": c.seconds,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _row(found: dict[str, Any]) -> list[str]:
    convolutions, seconds = found["convolutions"], found["seconds"].values()
    whole = sum(seconds)
    times = [f"{s:.2f} s" for s in (*seconds, whole)]
    each = f"{1e3 * whole / convolutions:.1f} ms"
    return [f"{convolutions:,}", f"{found['operations']:,}", *times, each, f"{found['memory']:.0f} MiB"]


if __name__ == "__main__":
    main()
