"""Where a quantized network loses accuracy: the noise that each activation has against the float network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..graph.ir import Array, Graph, Value
from ..graph.names import value_names
from ..graph.types import DType
from .calibration import watched_values


@dataclass(frozen=True, slots=True)
class Noise:
    """Energy of an activation and of what quantization did to it, over all samples seen."""

    name: str
    operator: str
    signal: float
    noise: float
    bias: float
    """Mean of the errors."""

    @property
    def decibels(self) -> float:
        """Signal-to-quantization-noise ratio; infinite where there is no noise."""
        if self.noise == 0:
            return math.inf
        return 10 * math.log10(self.signal / self.noise) if self.signal > 0 else -math.inf


def comparable(graph: Graph, quantized: Graph) -> tuple[Graph, Graph]:
    """The float graph and the integer one with all activations as outputs that both have, in the same order.

    They are matched by name; activations of different shapes are left out.
    """
    names = value_names(graph)
    integers = {r.name: r for op in quantized.operations for r in op.results if r.name}
    inputs = frozenset(graph.inputs)
    watched = [v for v in watched_values(graph) if v not in inputs and names[v] in integers]
    shared = [v for v in watched if v.type.shape == integers[names[v]].type.shape]
    return (
        replace(graph, outputs=tuple(shared)),
        replace(quantized, outputs=tuple(integers[names[v]] for v in shared)),
    )


def measure(
    observed: Graph, integers: Graph, runs: Iterable[tuple[Sequence[Array], Sequence[Array]]]
) -> tuple[Noise, ...]:
    """The noise of each activation, in the order of the network.

    `observed` and `integers` come from `comparable`; each run holds what they gave for the same sample.
    """
    names = value_names(observed)
    sums = np.zeros((len(observed.outputs), 4))
    for floats, quantized in runs:
        for row, wanted, got, value in zip(sums, floats, quantized, integers.outputs, strict=True):
            error = real(got, value) - wanted
            row += (np.square(wanted, dtype=np.float64).sum(), np.square(error).sum(), error.sum(), error.size)
    operators: Mapping[Value, str] = {r: op.name for op in observed.operations for r in op.results}
    return tuple(
        Noise(names[v], operators[v], float(s), float(n), float(total / max(count, 1)))
        for v, (s, n, total, count) in zip(observed.outputs, sums, strict=True)
    )


def real(x: Array, value: Value) -> Array:
    """The numbers (f64) that the elements of a value stand for."""
    given = value.type.quantization
    if given is None or value.type.dtype is DType.F32:
        return x.astype(np.float64)
    numbers: Array = (x.astype(np.float64) - given.zero_point) * given.scale
    return numbers
