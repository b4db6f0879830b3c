"""Random operators and small networks: meaning, loops and machine code agree, on all machines that run here.

    python benchmarks/random_trials.py [--count 20000] [--seed 0] [--processes N] [--layers]

Trials come in batches with seeds of their own, counted from `--seed`; a batch ends with its first fault, which is
printed in its smallest form. `--seed S --count 1` repeats the batch of seed S. Ends with 1 if there was a fault.

With `--layers` networks have layers of up to a hundred channels, in floats of each precision and in integers: the same
bits on any number of threads and in turns of any size, in memory beside pages that nothing may touch.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from pathlib import Path

from common import parser, setting, table

sys.path.append(str(Path(__file__).resolve().parents[1]))

from netc.compiler.graph.registry import operators
from tests.random_networks import EXCLUDED
from tests.random_networks.campaign import Record, explore
from tests.random_networks.layered import draw_layered

BATCH = 100
"""Trials in a batch."""


def main() -> None:
    """Run the trials and print what they found."""
    arguments = options()
    total, seed = Record(), arguments.seed
    with multiprocessing.Pool(arguments.processes, maxtasksperchild=20) as pool:
        while total.trials < arguments.count:
            batches = max(-(-(arguments.count - total.trials) // BATCH), 1)
            for record in pool.imap_unordered(layers if arguments.layers else batch, range(seed, seed + batches)):
                total.merge(record)
                for fault in record.faults:
                    print(f"{fault}\n", flush=True)
            seed += batches
    print(summary(total))
    sys.exit(bool(total.faults))


def options() -> argparse.Namespace:
    """The options of the command line."""
    p = parser(__doc__)
    p.add_argument("--count", type=int, default=20_000, help="trials at least")
    p.add_argument("--seed", type=int, default=0, help="of the first batch")
    p.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--layers", action="store_true", help="larger networks, of layers as people build them")
    return p.parse_args()


def batch(seed: int) -> Record:
    """The trials of one seed."""
    return explore(seed, BATCH)


def layers(seed: int) -> Record:
    """The trials of one seed, of networks of layers."""
    return explore(seed, BATCH, draw_layered)


def summary(total: Record) -> str:
    """What was drawn, as tables."""
    values = [(name, attribute, len(found)) for (name, attribute), found in sorted(total.attributes.items())]
    rows = []
    for name, count in total.operators.most_common():
        drawn = (f"{attribute} {number}" for operator, attribute, number in values if operator == name)
        rows.append((name, f"{count:,}", ", ".join(drawn)))
    never = sorted(set(operators()) - set(total.operators) - set(EXCLUDED))
    return "\n".join(
        [
            setting("hypothesis"),
            table(("operator", "drawn", "values of its attributes"), rows),
            f"never drawn: {', '.join(never) or 'none'}",
            f"{total.trials:,} trials ({', '.join(f'{k} {n:,}' for k, n in total.kinds.items())}), "
            f"{len(total.faults)} faults",
        ]
    )


if __name__ == "__main__":
    main()
