"""Compare training with PyTorch's: the losses of 100 steps from the same initial weights, on the same batches.

In float64 nothing but mistakes could differ: the benchmark fails if a loss of the first 20 steps does by more than the
limit. In float32 training is chaotic: rounding carries single activations across the corner of a ReLU, and Adam makes
whole steps of gradients next to zero. So the table says for several draws of weights and batches how far the losses of
the first 20 steps are from float64, and in how many draws they stay within 1e-3: netc's, PyTorch's own, and, from each
other, those of the two; in the end how far these are apart over all steps of the first draw. PyTorch's modules come
from a Python file as for `against_pytorch.py`. Needs torch in the environment that holds netc.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from common import beside_data, in_float64, load_module, parser, setting, table
from numpy.typing import NDArray
from safetensors.torch import save_file

import netc
from netc.compiler.graph.ir import Graph
from netc.runtime.data.registry import open_source
from netc.runtime.data.source import ArraySource
from netc.runtime.training.augment import NO_AUGMENTATION
from netc.runtime.training.batches import ArrayMaker, Batch, BatchStream
from netc.runtime.training.samples import preparation_for
from netc.runtime.weights import read_weights

DATA = {"mlp_mnist": "mnist", "cnn_mnist": "mnist", "cnn_cifar": "cifar10"}
OPTIMIZERS: dict[str, Callable[[torch.nn.Module], torch.optim.Optimizer]] = {
    "sgd(lr=0.01, momentum=0.9)": lambda module: torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9),
    "adam(lr=0.001)": lambda module: torch.optim.Adam(module.parameters(), lr=0.001),
    "adam(lr=0.0001)": lambda module: torch.optim.Adam(module.parameters(), lr=0.0001),
}
"""netc's optimisers and PyTorch's."""
EARLY = 20


CLOSE = 1e-3
"""What is aimed at in float32."""


@dataclass(frozen=True, slots=True)
class Curves:
    """Losses of one draw; those in float64 are the early ones only."""

    double: list[float]
    single: list[float]
    torch_double: list[float]
    torch_single: list[float]


def main() -> int:
    """Compare all curves; 1 if one of them differs too much."""
    options = _options()
    torch.set_num_threads(options.threads)
    reference = load_module(options.reference or beside_data("bench", "reference_nets.py"))
    rows, sound = [], True
    for name in options.nets:
        for optimizer in OPTIMIZERS:
            draws = [_curves(reference, name, optimizer, draw, options) for draw in range(options.draws)]
            exact = max(_difference(c.double, c.torch_double) for c in draws)
            sound &= exact <= options.limit
            rows.append([name, f"`{optimizer}`", f"{exact:.1e}", *_row(draws)])
            print(*rows[-1], file=sys.stderr)
    print(setting("torch"), end="\n\n")
    kinds = ("netc float32", "PyTorch float32", "one from the other")
    print(table(["net", "optimiser", "float64", *kinds, f"{options.steps} steps", "PyTorch's loss"], rows))
    print(f"\n{'All' if sound else 'NOT all'} within {options.limit:.0e} in float64.")
    return int(not sound)


def _row(draws: Sequence[Curves]) -> list[str]:
    """What the table says about float32."""
    pairs = (
        [(c.single, c.torch_double) for c in draws],
        [(c.torch_single, c.torch_double) for c in draws],
        [(c.single[:EARLY], c.torch_single) for c in draws],
    )
    cells = []
    for pair in pairs:
        found = [_difference(*curves) for curves in pair]
        cells.append(f"{max(found):.1e} ({sum(d <= CLOSE for d in found)} of {len(found)})")
    first = draws[0]
    ends = f"{first.torch_single[0]:.4f} to {first.torch_single[-1]:.4f}"
    return [*cells, f"{_difference(first.single, first.torch_single):.1e}", ends]


def _options() -> argparse.Namespace:
    p = parser(__doc__)
    p.add_argument("--reference", type=Path, help="file of PyTorch's modules; default: beside the data")
    p.add_argument("--nets", nargs="+", default=["cnn_mnist", "cnn_cifar"], choices=list(DATA), metavar="NET")
    p.add_argument("--batch", type=int, default=128)
    p.add_argument("--steps", type=int, default=100)
    p.add_argument("--draws", type=int, default=3, help="how often weights and batches are drawn")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--limit", type=float, default=1e-9, help="largest difference of an early loss in float64")
    return p.parse_args()


def _batches(name: str, batch: int, steps: int, seed: int) -> list[Batch]:
    """The first batches of a training run, as the net takes them."""
    source = open_source(DATA[name])
    assert isinstance(source, ArraySource)
    preparation = preparation_for(netc.load(name, batch=batch), source, NO_AUGMENTATION)
    stream = BatchStream(len(source), batch, ArrayMaker(source, preparation), seed, source.name)
    return list(islice(stream.batches(0, 0, 1), steps))


def _difference(found: Sequence[float], expected: Sequence[float]) -> float:
    """The largest relative difference, as far as both go."""
    return max(abs(a / b - 1) for a, b in zip(found, expected, strict=False))


def _curves(reference: ModuleType, name: str, optimizer: str, draw: int, options: argparse.Namespace) -> Curves:
    """The losses of netc and PyTorch; all steps in the first draw, the early ones in others."""
    batches = _batches(name, options.batch, options.steps if draw == 0 else EARLY, draw)
    torch.manual_seed(draw)
    module = reference.build(name)[0].train()
    graph = netc.load(name, batch=options.batch)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.safetensors"
        save_file({key: value.contiguous() for key, value in module.state_dict().items()}, file)
        weights = {key: np.array(value) for key, value in read_weights(file, graph).items()}
    exact = [replace(batch, images=batch.images.astype(np.float64)) for batch in batches[:EARLY]]
    wide = {key: value.astype(np.float64) for key, value in weights.items()}
    return Curves(
        _train(in_float64(graph), wide, optimizer, exact, options.threads),
        _train(graph, weights, optimizer, batches, options.threads),
        _train_torch(copy.deepcopy(module).double(), optimizer, exact),
        _train_torch(module, optimizer, batches),
    )


def _train(
    graph: Graph, weights: Mapping[str, NDArray[Any]], optimizer: str, batches: Sequence[Batch], threads: int
) -> list[float]:
    with netc.compile_training(graph, weights=weights, threads=threads, optimizer=optimizer) as trainer:
        return [trainer.step(batch.images, batch.labels) for batch in batches]


def _train_torch(module: torch.nn.Module, name: str, batches: Sequence[Batch]) -> list[float]:
    optimizer = OPTIMIZERS[name](module)
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
