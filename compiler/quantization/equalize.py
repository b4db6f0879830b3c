"""Cross-layer equalisation: weights rescaled between neighbouring layers so that channels have like ranges.

A positive factor passes through relu and pooling, so dividing a channel by it before and multiplying after changes
nothing in floats, but integers of one scale hold all channels better. Source: Nagel et al., "Data-Free Quantization
Through Weight Equalization and Bias Correction", 2019.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..graph.builder import Rewriter
from ..graph.ir import Array, Graph, Operation, Value
from ..ops.facets import INTEGER

SWEEPS = 20
CLOSE = 1e-3
"""Factors this close to 1 end the iteration."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two contractions, the second of which alone reads the channels of the first, behind relu and the like."""

    first: Operation
    second: Operation


def equalize(graph: Graph) -> Graph:
    """A prepared float graph (see `prepare`) with equalised weights; it computes the same numbers.

    Before::

        conv2d(relu(conv2d(%x, %w1, %b1)), %w2, %b2)

    After::

        conv2d(relu(conv2d(%x, %w1 / s, %b1 / s)), %w2 * s, %b2)
    """
    pairs = tuple(_pairs(graph))
    if not pairs:
        return graph
    values = {v: _constant(graph, v) for pair in pairs for op in (pair.first, pair.second) for v in op.operands[1:]}
    arrays = {v: a.astype(np.float64) for v, a in values.items() if a is not None}
    for _ in range(SWEEPS):
        factors = [_balance(pair, arrays) for pair in pairs]
        if all(np.abs(f - 1).max() < CLOSE for f in factors):
            break
    return _with_constants(graph, {v: a.astype(np.float32) for v, a in arrays.items()})


def _pairs(graph: Graph) -> Iterator[Pair]:
    for op in graph.operations:
        if not _is_constant_contraction(graph, op):
            continue
        value = op.operands[0]
        source = graph.producers.get(value)
        while source is not None and source.operator.homogeneous and graph.has_one_use(value):
            value = source.operands[0]
            source = graph.producers.get(value)
        if source is None or not graph.has_one_use(value) or not _is_constant_contraction(graph, source):
            continue
        if _reads_channels(op, source):
            yield Pair(source, op)


def _is_constant_contraction(graph: Graph, op: Operation) -> bool:
    """A contraction whose weights are constants that nothing else reads."""
    form = INTEGER.of(op.operator)
    if form is None or not form.filters:
        return False
    return all(_constant(graph, v) is not None and len(graph.users[v]) == 1 for v in op.operands[1:])


def _reads_channels(op: Operation, source: Operation) -> bool:
    """True if dimension -2 of the weight, or the filters of a depthwise one, are the channels of the source."""
    channels = source.result.type.shape[-1]
    groups = op.attributes.get("groups", 1)
    return groups == 1 or (groups == channels and op.operands[1].type.shape[-2:] == (1, channels))


def _constant(graph: Graph, value: Value) -> Array | None:
    producer = graph.producers.get(value)
    return producer.attributes["value"] if producer is not None and producer.name == "constant" else None


def _balance(pair: Pair, arrays: dict[Value, Array]) -> NDArray[np.float64]:
    """Rescale the channels between two layers; the factors by which the second one's weights grew."""
    weight, *bias = pair.first.operands[1:]
    reader = pair.second.operands[1]
    depthwise = pair.second.attributes.get("groups", 1) > 1
    before = np.abs(arrays[weight]).reshape(-1, arrays[weight].shape[-1]).max(axis=0)
    other = np.abs(arrays[reader])
    kept = other.ndim - 1 if depthwise else other.ndim - 2
    after = other.max(axis=tuple(d for d in range(other.ndim) if d != kept))
    usable = (before > 0) & (after > 0)
    factors = np.where(usable, np.sqrt(np.where(usable, before, 1) / np.where(usable, after, 1)), 1.0)
    arrays[weight] = arrays[weight] / factors
    for value in bias:
        arrays[value] = arrays[value] / factors
    arrays[reader] = arrays[reader] * (factors if depthwise else factors[:, np.newaxis])
    return factors


def _with_constants(graph: Graph, arrays: Mapping[Value, Array]) -> Graph:
    b = Rewriter(graph)
    for op in graph.operations:
        if op.name == "constant" and op.result in arrays:
            name = op.result.name
            b.replace(op.result, b.constant(arrays[op.result], op.location, name=name))
        else:
            b.copy(op)
    return b.close()
