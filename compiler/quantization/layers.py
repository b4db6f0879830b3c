"""Convolutions and dense layers of a float network beside their integer forms, for what recovers accuracy layer by
layer: adaptive rounding and bias correction.

Both work on rows: places of a layer's output, drawn by a seed, with the numbers that the layer reads there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..graph.builder import Rewriter
from ..graph.ir import Array, Graph, Operation, Value
from ..graph.names import value_names
from ..ops.facets import INTEGER
from ..ops.products.dense import Dense
from ..ops.quantized.convolution import QConv2D
from ..ops.quantized.dense import QDense
from ..ops.windows.window import Window, window_of
from ..types import DType, Quantization
from .calibration import fused_activations
from .scales import bias_to_integers

Floats = NDArray[np.float32]

HELD_OUT = 5
"""One of so many rows is kept from learning, to judge what was learnt."""


@dataclass(frozen=True)
class Rows:
    """Places of a layer's output: what it reads there, and its float results before the activation, f32 [rows, F]."""

    x: Floats
    y: Floats

    def split(self) -> tuple[Rows, Rows]:
        """The rows to learn from, and those held out: the last ones, which are of other samples, if any."""
        count = len(self.y) - min(max(len(self.y) // HELD_OUT, 1), len(self.y) - 1)
        return Rows(self.x[:count], self.y[:count]), Rows(self.x[count:], self.y[count:])


@dataclass(frozen=True)
class IntegerLayer:
    """A convolution or dense layer (`original`), the activation behind it, if any, and its integer form."""

    name: str
    original: Operation
    activation: Operation | None
    integer: Operation
    weight: Floats
    """The float weight: [KH, KW, C / groups, F] or [C, F]."""
    rounded: NDArray[np.int8]
    """The integer form's weight, of the same shape."""
    bias: NDArray[np.int32]
    """The integer form's bias [F]: it may make good what rounding to the nearest does to the means of filters."""
    plain_bias: NDArray[np.int32]
    """The float bias [F] in integers, for weights that are rounded otherwise."""

    @property
    def x(self) -> Quantization:
        """What the integers that the layer reads stand for."""
        scale: Quantization = self.integer.attributes["x"]
        return scale

    @property
    def filters(self) -> int:
        """How many results there are at each place."""
        filters: int = self.weight.shape[-1]
        return filters

    @property
    def groups(self) -> int:
        """How many independent groups the channels form."""
        groups: int = self.original.attributes.get("groups", 1)
        return groups

    @property
    def scales(self) -> NDArray[np.float64]:
        """The step of each filter's weights, f64 [F]."""
        given: Quantization = self.integer.attributes["weight"]
        return np.broadcast_to(np.array(given.scales, np.float64), (self.filters,))

    @property
    def window(self) -> Window | None:
        """The geometry of a convolution."""
        if isinstance(self.original.operator, Dense):
            return None
        size = self.original.operands[0].type.shape[1:-1]
        return window_of("conv2d", size, self.weight.shape[:2], self.original.attributes)

    def places(self, count: int, seed: tuple[int, ...]) -> NDArray[np.int64]:
        """Up to `count` different places of the output, ascending, as numbers of rows of [..., F]."""
        total = self.original.result.type.size // self.filters
        if count >= total:
            return np.arange(total)
        return np.sort(np.random.default_rng(seed).choice(total, count, replace=False))

    def read(self, x: NDArray[np.int8], places: NDArray[np.int64]) -> Floats:
        """What the layer reads at some places: f32 [places, KH, KW, C] or [places, C], of integers x [..., C]."""
        window = self.window
        if window is None:
            found = x.reshape(-1, x.shape[-1])[places]
        else:
            patches = window.patches(x, self.x.zero_point)  # [N, OH, OW, C, KH, KW]
            found = np.moveaxis(patches[np.unravel_index(places, patches.shape[:3])], 1, -1)
        return (found.astype(np.float32) - np.float32(self.x.zero_point)) * np.float32(self.x.scale)

    def results(self, rows: Floats, weight: Array) -> Floats:
        """The sums of products f32 [rows, F] of rows that `read` gave and a weight of this layer's shape."""
        if self.groups == 1:
            matrix = weight.reshape(-1, self.filters).astype(np.float32)
            product: Floats = rows.reshape(len(rows), len(matrix)) @ matrix
            return product
        grouped = rows.reshape(*rows.shape[:-1], self.groups, weight.shape[-2])
        split = weight.astype(np.float32).reshape(*weight.shape[:-1], self.groups, -1)
        sums: Floats = np.einsum("nhwgc,hwcgf->ngf", grouped, split, optimize=True)
        return sums.reshape(len(rows), self.filters)

    def error(self, rows: Floats, targets: Floats, rounded: NDArray[np.int8], bias: NDArray[np.int32]) -> Floats:
        """What float results f32 [rows, F] exceed those of an integer weight and bias by, before the activation."""
        products = self.results(rows, rounded) * self.scales.astype(np.float32)
        return targets - products - (bias * (self.scales * self.x.scale)).astype(np.float32)


def layers(graph: Graph, quantized: Graph) -> tuple[IntegerLayer, ...]:
    """The convolutions and dense layers of a prepared float graph that have an integer form, in its order."""
    names, fused = value_names(graph), fused_activations(graph)
    integers = {op.results[0].name: op for op in quantized.operations}
    found = []
    for op in graph.operations:
        activation = fused.get(op)
        name = names[(activation or op).results[0]]
        form, integer = INTEGER.of(op.operator), integers.get(name)
        if form is not None and form.filters and integer is not None and integer.name == form.operator:
            found.append(_layer(name, op, activation, integer, graph, quantized))
    return tuple(found)


def _layer(
    name: str, op: Operation, activation: Operation | None, integer: Operation, graph: Graph, quantized: Graph
) -> IntegerLayer:
    weight = _constant(graph, op.operands[1])
    rounded = _constant(quantized, integer.operands[1])
    given = [_constant(quantized, v) for v in integer.operands[2:]]
    bias = given[0] if given else np.zeros(weight.shape[-1], np.int32)
    floats = _constant(graph, op.operands[2]) if len(op.operands) > 2 else np.zeros(weight.shape[-1])
    plain = bias_to_integers(floats, integer.attributes["x"], integer.attributes["weight"])
    return IntegerLayer(name, op, activation, integer, weight, rounded, bias, plain)


def _constant(graph: Graph, value: Value) -> Array:
    array: Array = graph.producers[value].attributes["value"]
    return array


def with_biases(quantized: Graph) -> Graph:
    """The integer graph with a bias of zeros wherever a convolution or dense layer has none."""
    b = Rewriter(quantized)
    for op in quantized.operations:
        if not isinstance(op.operator, QConv2D | QDense) or len(op.operands) > 2:
            b.copy(op)
            continue
        zeros = b.constant(np.zeros(op.operands[1].type.shape[-1], DType.I32.numpy), op.location)
        operands = tuple(b[v] for v in op.operands)
        b.append(replace(op, operands=(*operands, zeros)))
        b.replace(op.result, op.result)
    return b.close()


def with_constants(graph: Graph, arrays: Mapping[Value, Array]) -> Graph:
    """The graph with other arrays for some of its constants, of the same types."""
    return replace(graph, operations=tuple(replaced(graph.operations, arrays)))


def replaced(operations: Iterable[Operation], arrays: Mapping[Value, Array]) -> Iterable[Operation]:
    """Operations, with other arrays for some of the constants among them."""
    for op in operations:
        if op.name == "constant" and op.result in arrays:
            yield replace(op, attributes={**op.attributes, "value": arrays[op.result]})
        else:
            yield op
