"""Where a quantized network loses accuracy: the noise that each activation has against the float network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..graph.ir import Array, Graph, Operation, Scales, Value
from ..graph.names import value_names
from ..ops.moves.shape import Pad
from ..signature import real
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
    reader: str = ""
    """What reads it on a scale other than its own, where that is what was measured."""

    @property
    def title(self) -> str:
        """The name, with that of the reader, if there is one."""
        return f"{self.name} for {self.reader}" if self.reader else self.name

    @property
    def decibels(self) -> float:
        """Signal-to-quantization-noise ratio; infinite where there is no noise."""
        if self.noise == 0:
            return math.inf
        return 10 * math.log10(self.signal / self.noise) if self.signal > 0 else -math.inf


def comparable(graph: Graph, quantized: Graph) -> tuple[Graph, Graph]:
    """The float graph and the integer one with all activations as outputs that both have, in the same order.

    They are matched by name; activations of different shapes are left out. What an operator reads on a scale other than
    that of the activation, as concat does, stands before them.
    """
    names = value_names(graph)
    integers = {r.name: r for op in quantized.operations for r in op.results if r.name}
    inputs = frozenset(graph.inputs)
    watched = [v for v in watched_values(graph) if v not in inputs and names[v] in integers]
    shared = [v for v in watched if v.type.shape == integers[names[v]].type.shape]
    scaled = [op for op in quantized.operations if _reader(quantized, op.results[0])]
    values = {name: v for v, name in names.items()}
    known = [(values[name], op.result) for op in scaled if (name := op.operands[0].name or "") in values]
    pairs = [*known, *((v, integers[names[v]]) for v in shared)]
    return (
        replace(graph, outputs=tuple(v for v, _ in pairs)),
        replace(quantized, outputs=tuple(v for _, v in pairs)),
    )


def _reader(quantized: Graph, value: Value) -> str:
    """The name of the only operation that reads an activation as brought to another scale; empty for other values."""
    producer, users = quantized.producers.get(value), quantized.users[value]
    if producer is None or producer.name != "requantize" or value.name or len(users) != 1:
        return ""
    return (users[0].results[0].name or users[0].name) if _brings_operands(users[0]) else ""


def _brings_operands(op: Operation) -> bool:
    """True for an operator that brings operands to the scale of its result."""
    return op.operator.scales in (Scales.COMMON, Scales.JOINT) or isinstance(op.operator, Pad)


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
    readers = [_reader(integers, v) for v in integers.outputs]
    return tuple(
        Noise(names[v], operators.get(v, "input"), float(s), float(n), float(total / max(count, 1)), reader)
        for v, (s, n, total, count), reader in zip(observed.outputs, sums, readers, strict=True)
    )
