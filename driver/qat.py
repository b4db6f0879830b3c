"""Quantization-aware training as `netc train --qat` does it: what comes before the training, and what follows it.

Before, activations are calibrated on a few batches. After it, the best weights and ranges, which lie in one file,
become a network of integers, whose accuracy is measured and which is written as a TFLite file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .calibration import calibrate
from .compiler.errors import NetcError
from .compiler.files import write_bytes
from .compiler.graph.ir import Array, Graph
from .compiler.quantization import QuantizationWarning, Ranges, fake_quantize
from .compiler.tflite import to_tflite
from .compiler.types import DType
from .loading import Weights
from .output import echo
from .pipeline import PROGRAM, Request, build, compile_graph, load_program
from .progress import shown, title
from .runtime.evaluation.accuracy import Evaluation
from .runtime.evaluation.measures import Measured
from .runtime.program import Program
from .runtime.trainer import RANGES
from .runtime.weights import read_metadata, read_weights

SAMPLES = 512
"""How many training samples activations are calibrated on, at least."""
METHODS = {"moving": "moving-average", "learned": "mse"}
"""How the ranges to start from are chosen: those that move follow the extremes of batches."""

Measuring = Callable[[Program], Evaluation | Measured]
"""Measures a program on the test split."""


def calibrated_ranges(
    graph: Graph, batches: Iterable[Array], weights: Weights, kind: str, threads: int, cpu: str | None
) -> Ranges:
    """Ranges of activations to start from."""
    return calibrate(graph, batches, weights=weights, threads=threads, cpu=cpu).calibration.ranges(METHODS[kind])


def saved_ranges(path: Path) -> Ranges:
    """The ranges that lie beside the weights of a quantization-aware run.

    Raises `NetcError` where there are none.
    """
    metadata = read_metadata(path)
    if RANGES not in metadata:
        raise NetcError(f"{path} holds no ranges of activations: quantization-aware training didn't write it")
    return Ranges.from_json(metadata[RANGES])


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out of quantization-aware training: results on the test split, and the integer network's file."""

    measure: str
    """Which result these are."""
    before: float
    """Of the float network that training started from."""
    fake: float
    """Of the network with fake quantization."""
    integers: float
    """Of the network of 8-bit integers."""
    file: Path
    size: int

    def results(self) -> dict[str, float]:
        """By the form of the network."""
        return {"float": self.before, "fake": self.fake, "int8": self.integers}

    def lines(self) -> list[str]:
        """For people."""
        before, fake, integers = (shown(self.measure, value) for value in (self.before, self.fake, self.integers))
        return [
            f"{title(self.measure)}: float {before} (before), fake-quantized {fake}, int8 {integers}",
            f"int8 network: {self.file} ({self.size:,} bytes)",
        ]


def finish(
    graph: Graph,
    single: Graph,
    *,
    start: Weights,
    best: Path,
    labels: tuple[str, ...] | None,
    fake: Mapping[str, float],
    measure: Measuring,
    threads: int,
    cpu: str | None,
) -> Outcome:
    """Make a network of integers of the weights and ranges in `best`; writes ranges.json and best.tflite beside it.

    `graph` is the network for the batches that `measure` measures programs with, `single` the same for one sample;
    `start` are the weights that training started from, `fake` the results of the best ones with fake quantization.
    """
    ranges = saved_ranges(best)
    network, weights = fake_quantize(single), read_weights(best, single)
    integers = network.integers(weights, ranges)
    for found in network.findings(weights, ranges):
        echo(f"warning: {QuantizationWarning(found)}", err=True)
    data = to_tflite(integers, labels=labels)
    write_bytes(best.with_name("ranges.json"), ranges.to_json().encode())
    write_bytes(best.with_suffix(".tflite"), data)
    measured = fake_quantize(graph).integers(read_weights(best, graph), ranges, edges=DType.F32)
    with compile_graph(measured, threads=threads, cpu=cpu) as program:
        after = measure(program)
    with load_program(build(Request(graph, threads=threads, cpu=cpu, weights=start), PROGRAM)) as program:
        before = measure(program)
    main = after.main
    values = (before.results[main], fake[main], after.results[main])
    return Outcome(main, *values, best.with_suffix(".tflite"), len(data))
