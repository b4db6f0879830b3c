"""What quantization to 8 bits costs, and what gets accuracy back: a table of top-1 for each net.

Nets are the shipped ones with their trained weights, and `uneven` ones that naive quantization breaks (see uneven.py).
Small nets are calibrated on training pictures and judged on test pictures; mobilenet_v2_tf is calibrated on every tenth
of the samples and judged on the others.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from common import beside_data, parser, setting, table
from uneven import NEIGHBOURS, uneven

import netc
from netc.calibration import Calibrated
from netc.compiler.graph.ir import Array, Graph
from netc.compiler.quantization.adaround import AdaRound
from netc.runtime.data.images import Pixels, Preprocess
from netc.runtime.data.layout import as_input
from netc.runtime.data.registry import open_source
from netc.runtime.data.source import ArraySource
from netc.runtime.weights import read_weights

DATASETS = {"cnn_mnist": "mnist", "mlp_mnist": "mnist", "cnn_cifar": "cifar10", "mobilenet_v2_tf": "imagenet-samples"}
EVERY = 10
"""Of the ImageNet samples every tenth is calibrated on."""

Pictures = Sequence[tuple[Pixels, int]]


@dataclass(frozen=True)
class Variant:
    """One way to quantize: a column of the table."""

    title: str
    method: str = "mse"
    equalized: bool = False
    bias_correction: bool = False
    adaround: bool = False


VARIANTS = (
    Variant("min-max", method="minmax"),
    Variant("mse"),
    Variant("+ equalize", equalized=True),
    Variant("+ bias correction", bias_correction=True),
    Variant("+ adaround", adaround=True),
    Variant("+ all three", equalized=True, bias_correction=True, adaround=True),
)


@dataclass(frozen=True)
class Subject:
    """A net with trained weights, what it is calibrated on, and what it is judged on."""

    name: str
    graph: Graph
    weights: Mapping[str, Array]
    samples: Sequence[Array]
    tests: Pictures

    def top1(self, graph: Graph) -> float:
        """Share of right answers of this net in some form."""
        preprocess, offset = Preprocess.of(self.graph), self.graph.outputs[0].type.shape[1] % 10
        with netc.compile(graph, weights=self.weights if graph.parameters else None) as program:
            inputs = (as_input(preprocess(picture)[np.newaxis], graph.inputs[0].type) for picture, _ in self.tests)
            right = [np.argmax(program(x)) == label + offset for x, (_, label) in zip(inputs, self.tests, strict=True)]
        return float(np.mean(right))

    def quantized(self, variant: Variant, per_channel: bool, settings: AdaRound) -> Graph:
        """The integer form of this net."""
        options: dict[str, Any] = {"weights": self.weights, "equalized": variant.equalized}
        calibrated: Calibrated = netc.calibrate(self.graph, self.samples, **options)
        return netc.quantize(
            self.graph,
            calibration=calibrated,
            method=variant.method,
            per_channel=per_channel,
            bias_correction=variant.bias_correction,
            adaround=settings if variant.adaround else False,
        )


def main() -> None:
    """Print the table."""
    options = _options()
    rows = []
    for name in options.nets:
        for subject in _subjects(name, options):
            row = [subject.name, f"{len(subject.tests):,}", f"{subject.top1(subject.graph):.2%}"]
            for variant in VARIANTS:
                start = time.perf_counter()
                graph = subject.quantized(variant, not options.per_tensor, AdaRound(steps=options.steps))
                seconds = time.perf_counter() - start
                row.append(f"{subject.top1(graph):.2%}")
                print(subject.name, variant.title, row[-1], f"{seconds:.0f} s", file=sys.stderr, flush=True)
            rows.append(row)
    print(setting(), end="\n\n")
    print(f"{options.samples} samples to calibrate with; {options.steps} steps of adaptive rounding for each layer.\n")
    print(table(["net", "test pictures", "float", *(v.title for v in VARIANTS)], rows))


def _options() -> argparse.Namespace:
    p = parser(__doc__)
    p.add_argument("--weights", type=Path, help="folder of weights; default: beside the data")
    p.add_argument("--nets", nargs="+", default=["cnn_mnist", "cnn_cifar"], choices=sorted(DATASETS), metavar="NET")
    p.add_argument("--samples", type=int, default=100, help="pictures to calibrate with")
    p.add_argument("--limit", type=int, help="judge on the first so many test pictures only")
    p.add_argument("--steps", type=int, default=AdaRound().steps, help="of adaptive rounding, for each layer")
    p.add_argument("--per-tensor", action="store_true", help="one scale for each weight, not one for each filter")
    return p.parse_args()


def _subjects(name: str, options: argparse.Namespace) -> list[Subject]:
    """A net as it is, and the one made uneven where there is such."""
    graph = netc.load(name)
    folder: Path = options.weights or beside_data("weights")
    weights = read_weights(folder / f"{name}.safetensors", graph)
    pictures, tests = _pictures(DATASETS[name], options.samples)
    preprocess = Preprocess.of(graph)
    samples = [preprocess(picture)[np.newaxis] for picture in pictures]
    subjects = [Subject(name, graph, weights, samples, tests[: options.limit])]
    if name in NEIGHBOURS:
        changed = uneven(weights, NEIGHBOURS[name])
        subjects.append(Subject(f"{name}, uneven", graph, changed, samples, tests[: options.limit]))
    return subjects


def _pictures(dataset: str, count: int) -> tuple[list[Pixels], Pictures]:
    """Pictures to calibrate with, and others with labels to judge on."""
    tests = list(open_source(dataset, "test"))
    if dataset == "imagenet-samples":
        chosen = [picture for picture, _ in tests[::EVERY]]
        return chosen[:count], [each for i, each in enumerate(tests) if i % EVERY]
    source = open_source(dataset, "train")
    if not isinstance(source, ArraySource):
        raise SystemExit(f"{dataset} has no training pictures in memory")
    return list(islice(source.values, count)), tests


if __name__ == "__main__":
    main()
