"""What a quantization did, layer by layer: noise, ranges against what was seen, weights; as data.

`report_on` gathers it; `page` makes an HTML page of it, `to_data` records for tools.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..graph.ir import Array, Graph, Operation, Value
from ..graph.names import value_names
from ..ops.facets import INTEGER
from ..types import DType, Quantization
from .calibration import Calibration, Ranges
from .errors import Noise
from .histogram import Histogram
from .methods import Range
from .scales import covered

BARS = 64
"""Most bars of a histogram in the report."""


@dataclass(frozen=True, slots=True)
class Bars:
    """A histogram in a few bars of one width, the first from `low` on."""

    low: float
    width: float
    counts: tuple[int, ...]

    @property
    def high(self) -> float:
        """Where the last bar ends."""
        return self.low + self.width * len(self.counts)


@dataclass(frozen=True, slots=True)
class Activation:
    """An activation: its noise, what was seen of it in calibration, and what its integers stand for."""

    noise: Noise
    location: str
    calibrated: Range
    """What the method chose."""
    scale: Quantization | None
    """None where it stays a float."""
    clipped: float
    """Share of the numbers seen that lie outside of `covered`."""
    seen: Bars

    @property
    def name(self) -> str:
        """The activation's name, with that of what reads it if that has another scale."""
        return self.noise.title

    @property
    def decibels(self) -> float:
        """Signal-to-quantization-noise ratio."""
        return self.noise.decibels

    @property
    def covered(self) -> Range:
        """The numbers that its levels reach from end to end; layers that share a scale share them."""
        return covered(self.scale) if self.scale is not None else self.calibrated


@dataclass(frozen=True, slots=True)
class Weight:
    """The largest absolute weights of a layer's filters: smallest, median and largest of them."""

    name: str
    operator: str
    location: str
    filters: int
    smallest: float
    median: float
    largest: float


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How often floats and integers were right about the same samples, and how often they said the same."""

    data: str
    samples: int
    left_out: int
    """Samples that calibration had seen."""
    float_top1: float
    integer_top1: float
    agreement: float


@dataclass(frozen=True)
class Report:
    """A quantization as a whole; layers are in the order of the network."""

    net: str
    method: str
    samples: int
    float_bytes: int
    """Of the weights as floats."""
    file_bytes: int
    layers: tuple[Activation, ...]
    weights: tuple[Weight, ...]
    accuracy: Accuracy | None = None
    warnings: tuple[str, ...] = ()
    """What is lost or guessed without that noise shows it."""

    @cached_property
    def worst(self) -> tuple[Activation, ...]:
        """The layers, those with the most noise first."""
        return tuple(sorted(self.layers, key=lambda layer: layer.decibels))


def report_on(
    calibration: Calibration,
    ranges: Ranges,
    quantized: Graph,
    noise: Sequence[Noise],
    file_bytes: int,
    accuracy: Accuracy | None = None,
    warnings: Sequence[str] = (),
) -> Report:
    """Gather what there is to say about the integer form of the graph that was calibrated."""
    graph = calibration.graph
    constants = (op.result.type for op in graph.operations if op.name == "constant")
    return Report(
        graph.name,
        ranges.method,
        ranges.samples,
        sum(t.bytes for t in constants if t.dtype is DType.F32),
        file_bytes,
        tuple(_layers(calibration, ranges, quantized, noise)),
        tuple(_weights(graph)),
        accuracy,
        tuple(warnings),
    )


def _layers(calibration: Calibration, ranges: Ranges, quantized: Graph, noise: Sequence[Noise]) -> Iterator[Activation]:
    values = {name: value for value, name in value_names(calibration.graph).items()}
    integers: Mapping[str | None, Value] = {r.name: r for op in quantized.operations for r in op.results}
    for each in noise:
        producer = calibration.graph.producers.get(values[each.name])
        scale = integers[each.reader or each.name].type.quantization
        histogram = calibration.statistics[each.name].histogram
        clipped = _clipped(histogram, scale) if scale is not None else 0.0
        yield Activation(each, _place(producer), ranges[each.name], scale, clipped, _bars(histogram))


def _clipped(histogram: Histogram, scale: Quantization) -> float:
    """Share of numbers that are nearer to no level than to the last one: beyond half a step outside."""
    reached, centers = covered(scale), histogram.centers
    outside = (centers < reached.low - scale.scale / 2) | (centers > reached.high + scale.scale / 2)
    return float(histogram.counts[outside].sum() / max(1, histogram.counts.sum()))


def _bars(histogram: Histogram) -> Bars:
    """Neighbouring bins together, so that there are at most `BARS`."""
    group = max(1, math.ceil(len(histogram.counts) / BARS))
    counts = np.add.reduceat(histogram.counts, np.arange(0, len(histogram.counts), group))
    return Bars(float(histogram.edges[0]), histogram.width * group, tuple(counts.tolist()))


def _weights(graph: Graph) -> Iterator[Weight]:
    names = value_names(graph)
    for op in graph.operations:
        form = INTEGER.of(op.operator)
        weight = _constant(graph, op.operands[1]) if form is not None and form.filters else None
        if weight is not None:
            largest = np.abs(weight.reshape(-1, weight.shape[-1])).max(axis=0)
            spread = (float(largest.min()), float(np.median(largest)), float(largest.max()))
            yield Weight(names[op.operands[1]], op.name, _place(op), weight.shape[-1], *spread)


def _constant(graph: Graph, value: Value) -> Array | None:
    producer = graph.producers.get(value)
    if producer is None or producer.name != "constant":
        return None
    array: Array = producer.attributes["value"]
    return array


def _place(op: Operation | None) -> str:
    return str(op.location) if op is not None and op.location is not None else ""


def to_data(report: Report) -> dict[str, Any]:
    """The report as plain records; an activation without noise has null decibels."""
    accuracy = report.accuracy
    return {
        "net": report.net,
        "method": report.method,
        "samples": report.samples,
        "float_bytes": report.float_bytes,
        "file_bytes": report.file_bytes,
        "warnings": list(report.warnings),
        "accuracy": None if accuracy is None else {name: getattr(accuracy, name) for name in accuracy.__slots__},
        "layers": [_layer_data(layer) for layer in report.layers],
    }


def _layer_data(layer: Activation) -> dict[str, Any]:
    noise, scale = layer.noise, layer.scale
    return {
        **noise_data(noise),
        "low": layer.calibrated.low,
        "high": layer.calibrated.high,
        "scale": None if scale is None else scale.scale,
        "zero_point": None if scale is None else scale.zero_point,
        "clipped": layer.clipped,
        "location": layer.location,
    }


def noise_data(noise: Noise) -> dict[str, Any]:
    """The noise of an activation as a record."""
    decibels = round(noise.decibels, 3) if math.isfinite(noise.decibels) else None
    return {"name": noise.title, "operator": noise.operator, "decibels": decibels, "bias": noise.bias}
