"""Quantization-aware training: a table of top-1 before, after naive quantization, and after `netc train --qat`.

Nets are shipped ones with their trained weights, and `uneven` ones that naive quantization breaks (see uneven.py). Runs
are kept in --runs; the recipe is that of `netc train --qat`, with a higher learning rate for the uneven ones, unless
--epochs and --optimizer say otherwise. Fails if a net ends more than a point below its floats.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import beside_data, parser, setting, table
from numpy.typing import NDArray
from uneven import NEIGHBOURS, uneven

import netc
from netc.runtime.data.images import Preprocess
from netc.runtime.data.registry import open_source
from netc.runtime.data.source import ArraySource
from netc.runtime.training.run import read_records
from netc.runtime.weights import read_weights, write_weights

Weights = Mapping[str, NDArray[Any]]

DATASETS = {"mlp_mnist": "mnist", "cnn_mnist": "mnist", "cnn_cifar": "cifar10"}
BATCH = 100
ALLOWED = 0.01
"""What a net may lose."""
RECOVERY = "adam(lr=0.001)"
"""The optimizer for uneven nets."""


def main() -> int:
    """Print the table; 1 if a net isn't recovered."""
    options = _options()
    rows, recovered = [], True
    for name in options.nets:
        graph = netc.load(name)
        weights = read_weights((options.weights or beside_data("weights")) / f"{name}.safetensors", graph)
        for title, given in ((name, weights), (f"{name}-uneven", uneven(weights, NEIGHBOURS[name]))):
            naive = naive_accuracy(name, given)
            file = options.runs / f"{title}.safetensors"
            options.runs.mkdir(parents=True, exist_ok=True)
            write_weights(file, graph, given)
            result = trained(name, file, options.runs / title, options)
            recovered &= result["float"] - result["int8"] <= ALLOWED
            rows.append([title, *(f"{x:.2%}" for x in (result["float"], naive, result["fake"], result["int8"]))])
    print(setting(), end="\n\n")
    print(table(["net", "float", "min-max int8", "fake-quantized, trained", "int8, trained"], rows))
    return int(not recovered)


def trained(name: str, weights: Path, run: Path, options: argparse.Namespace) -> Mapping[str, float]:
    """Accuracies of a quantization-aware run, by the form of the network; goes on with a run that was interrupted."""
    recipe: Sequence[object] = ("--qat", "--qat-ranges", options.qat_ranges, "--weights", weights, "--run-dir", run)
    optimizer = options.optimizer or (RECOVERY if run.name.endswith("uneven") else None)
    given = {"--epochs": options.epochs, "--optimizer": optimizer, "--threads": options.threads}
    recipe = [name, *recipe, *(part for flag, value in given.items() if value is not None for part in (flag, value))]
    command = [sys.executable, "-m", "netc", "train", *(("--resume", run) if run.exists() else recipe)]
    subprocess.run([str(part) for part in command], check=True, stdout=sys.stderr)
    *_, last = read_records(run)
    return {form: float(last[form]) for form in ("float", "fake", "int8")}


def naive_accuracy(name: str, weights: Weights) -> float:
    """Share of right answers of the integer network whose ranges cover all that was seen of a few training pictures."""
    graph = netc.load(name, batch=BATCH)
    preprocess, source = Preprocess.of(graph), open_source(DATASETS[name], "train")
    if not isinstance(source, ArraySource):
        raise SystemExit(f"{DATASETS[name]} has no training pictures in memory")
    samples = np.stack([preprocess(picture) for picture in source.values[:BATCH]])
    edges: dict[str, Any] = {"inputs": "f32", "outputs": "f32"}
    integers = netc.quantize(graph, calibration=samples, weights=weights, method="minmax", **edges)
    pictures, labels = zip(*open_source(DATASETS[name], "test"), strict=True)
    right = 0
    with netc.compile(integers) as program:
        for i in range(0, len(labels), BATCH):
            x = np.stack([preprocess(picture) for picture in pictures[i : i + BATCH]])
            right += int((np.asarray(program(x)).argmax(axis=1) == labels[i : i + BATCH]).sum())
    return right / len(labels)


def _options() -> argparse.Namespace:
    p = parser(__doc__)
    p.add_argument("--weights", type=Path, help="folder of weights; default: beside the data")
    p.add_argument("--nets", nargs="+", default=["mlp_mnist", "cnn_mnist"], choices=sorted(DATASETS), metavar="NET")
    p.add_argument("--runs", type=Path, default=Path("runs/qat"), help="folder of the runs (runs/qat)")
    p.add_argument("--qat-ranges", default="moving", choices=("moving", "learned"))
    p.add_argument("--epochs", type=int)
    p.add_argument("--optimizer")
    p.add_argument("--threads", type=int)
    return p.parse_args()


if __name__ == "__main__":
    sys.exit(main())
