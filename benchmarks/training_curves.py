"""Compare training with PyTorch's: the losses of 100 steps from the same initial weights, on the same batches.

Prints the largest relative difference of a loss, over the first 20 steps and over all, and fails if one among the first
20 exceeds the limit. Later ones drift apart in any two engines: rounding grows from step to step. PyTorch's modules
come from a Python file as for `against_pytorch.py`. Needs torch in the environment that holds netc.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from common import beside_data, load_module, parser, setting, table
from safetensors.torch import save_file

import netc
from netc.runtime.training.augment import NO_AUGMENTATION
from netc.runtime.training.batches import ArrayMaker, Batch, BatchStream
from netc.runtime.training.opening import open_source
from netc.runtime.training.samples import preparation_for
from netc.runtime.training.sources import ArraySource

DATA = {"mlp_mnist": "mnist", "cnn_mnist": "mnist", "cnn_cifar": "cifar10"}
OPTIMIZERS: dict[str, Callable[[torch.nn.Module], torch.optim.Optimizer]] = {
    "sgd(lr=0.01, momentum=0.9)": lambda module: torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9),
    "adam(lr=0.001)": lambda module: torch.optim.Adam(module.parameters(), lr=0.001),
}
"""netc's optimisers and PyTorch's."""
EARLY = 20


def main() -> int:
    """Compare all curves; 1 if one of them differs too much."""
    options = _options()
    torch.set_num_threads(options.threads)
    reference = load_module(options.reference or beside_data("bench", "reference_nets.py"))
    rows, sound = [], True
    for name in options.nets:
        batches = _batches(name, options.batch, options.steps)
        for optimizer in OPTIMIZERS:
            ours, theirs = _curves(reference, name, optimizer, batches, options.threads)
            difference = np.abs(np.array(ours) / np.array(theirs) - 1)
            early = float(difference[:EARLY].max())
            sound &= early <= options.limit
            ends = f"{theirs[0]:.4f} to {theirs[-1]:.4f}"
            rows.append([name, f"`{optimizer}`", ends, f"{early:.1e}", f"{float(difference.max()):.1e}"])
            print(*rows[-1], file=sys.stderr)
    print(setting("torch"), end="\n\n")
    print(table(["net", "optimiser", "PyTorch's loss", f"first {EARLY} steps", f"all {options.steps}"], rows))
    print(f"\n{'All' if sound else 'NOT all'} within {options.limit:.0e} over the first {EARLY} steps.")
    return int(not sound)


def _options() -> argparse.Namespace:
    p = parser(__doc__)
    p.add_argument("--reference", type=Path, help="file of PyTorch's modules; default: beside the data")
    p.add_argument("--nets", nargs="+", default=["cnn_mnist", "cnn_cifar"], choices=list(DATA), metavar="NET")
    p.add_argument("--batch", type=int, default=128)
    p.add_argument("--steps", type=int, default=100)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--limit", type=float, default=1e-3, help="largest relative difference of an early loss")
    return p.parse_args()


def _batches(name: str, batch: int, steps: int) -> list[Batch]:
    """The first batches of a training run, as the net takes them."""
    source = open_source(DATA[name])
    assert isinstance(source, ArraySource)
    preparation = preparation_for(netc.load(name, batch=batch), source, NO_AUGMENTATION)
    stream = BatchStream(len(source), batch, ArrayMaker(source, preparation), 0, source.name)
    return list(islice(stream.batches(0, 0, 1), steps))


def _curves(
    reference: ModuleType, name: str, optimizer: str, batches: Sequence[Batch], threads: int
) -> tuple[list[float], list[float]]:
    """The losses of netc and of PyTorch."""
    torch.manual_seed(0)
    module = reference.build(name)[0].train()
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / f"{name}.safetensors"
        save_file({key: value.contiguous() for key, value in module.state_dict().items()}, weights)
        theirs = _train_torch(module, OPTIMIZERS[optimizer](module), batches)
        size = len(batches[0].labels)
        with netc.compile_training(
            name, weights=weights, batch=size, threads=threads, loss="softmax_cross_entropy", optimizer=optimizer
        ) as trainer:
            ours = [trainer.step(batch.images, batch.labels) for batch in batches]
    return ours, theirs


def _train_torch(module: torch.nn.Module, optimizer: torch.optim.Optimizer, batches: Sequence[Batch]) -> list[float]:
    losses = []
    for batch in batches:
        optimizer.zero_grad(set_to_none=True)
        scores = module(torch.from_numpy(batch.images.transpose(0, 3, 1, 2).copy()))
        loss = torch.nn.functional.cross_entropy(scores, torch.from_numpy(batch.labels.astype(np.int64)))
        loss.backward()
        optimizer.step()
        losses.append(float(loss.item()))
    return losses


if __name__ == "__main__":
    sys.exit(main())
