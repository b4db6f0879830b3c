"""Compare netc's outputs with PyTorch's: each net at batch 1 and 8, on 1 and 2 threads.

Prints the largest difference relative to the range of PyTorch's output and fails if one exceeds the limit. PyTorch's
modules come from a Python file with `build(name)`, which returns a module (NCHW) and the shape (H, W, C) of its input;
weights go from one to the other as safetensors. Needs torch in the environment that holds netc.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from common import NETS, beside_data, load_module, parser, setting, table
from numpy.typing import NDArray
from safetensors.torch import save_file

import netc


def main() -> int:
    """Compare all nets; 1 if one of them differs too much."""
    options = _options()
    reference = load_module(options.reference or beside_data("bench", "reference_nets.py"))
    columns = [(batch, threads) for batch in options.batches for threads in options.threads]
    rows, worst = [], 0.0
    for name in options.nets:
        errors = list(_errors(reference, name, columns))
        worst = max(worst, *errors)
        rows.append([name, *(f"{error:.1e}" for error in errors)])
        print(*rows[-1], file=sys.stderr)
    print(setting("torch"), end="\n\n")
    print(table(["net", *(f"batch {batch}, threads {threads}" for batch, threads in columns)], rows))
    print(f"\nLargest difference: {worst:.1e} of PyTorch's range; the limit is {options.limit:.0e}.")
    return int(not worst <= options.limit)


def _options() -> argparse.Namespace:
    p = parser(__doc__)
    p.add_argument("--reference", type=Path, help="file of PyTorch's modules; default: beside the data")
    p.add_argument("--nets", nargs="+", default=NETS, choices=NETS, metavar="NET")
    p.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    p.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    p.add_argument("--limit", type=float, default=1e-4, help="largest difference, relative to the range")
    return p.parse_args()


def _errors(reference: ModuleType, name: str, columns: Sequence[tuple[int, int]]) -> Iterator[float]:
    """The relative difference for each (batch, threads)."""
    module, shape = reference.build(name)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / f"{name}.safetensors"
        save_file({key: value.contiguous() for key, value in module.state_dict().items()}, weights)
        for batch, threads in columns:
            x = np.random.default_rng(batch).standard_normal((batch, *shape), np.float32)
            expected = _run_torch(module, x)
            with netc.compile(name, weights=weights, batch=batch, threads=threads) as program:
                found = np.asarray(program(x)).reshape(expected.shape)
            yield float(np.abs(found - expected).max() / np.ptp(expected))


def _run_torch(module: torch.nn.Module, x: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.no_grad():
        result: NDArray[np.float32] = module(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
    return result


if __name__ == "__main__":
    sys.exit(main())
