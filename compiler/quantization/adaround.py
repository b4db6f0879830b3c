"""Adaptive rounding (AdaRound): for each weight, down or up, so that a layer's results change least.

Rounding to the nearest makes each weight's error smallest, not that of the sums. Here each weight is
scale * (floor + h) with h from 0 to 1, learnt by Adam from rows of the layer's input and its float results; a
regulariser, weak at first, drives h to 0 or 1. One step is a graph, whose gradients come from `differentiate`.
Source: Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization", 2020.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import NetcError
from ..graph.builder import GraphBuilder, Rewriter
from ..graph.ir import Array, Graph, Operation
from ..passes.dce import dce
from ..passes.differentiate import differentiate
from ..training.formula import Formula
from ..training.optimizers import Adam
from ..training.state import TrainingState
from ..types import DType, TensorType
from .layers import Floats, IntegerLayer, Rows
from .scales import WEIGHT_LIMIT

LOW, HIGH = -0.1, 1.1
"""The sigmoid is stretched to this range and then cut off at 0 and 1, so that it gets there."""
SMALLEST = 1e-4
"""Distances from 1/2 are at least this in the regulariser, whose slope at 0 has no finite logarithm."""
SCALAR = TensorType(DType.F32, ())


class CompiledStep(Protocol):
    """An executable `step_graph`, and its parameters by name."""

    @property
    def state(self) -> Mapping[str, Array]:
        """The parameters as they are now."""
        ...

    def __call__(self, *inputs: Array) -> object:
        """Make one update."""
        ...


@dataclass(frozen=True, kw_only=True)
class AdaRound:
    """Settings of adaptive rounding.

    In the first part of the `steps`, `warmup`, the regulariser does nothing; then the exponent of its distances from
    1/2 falls from `sharpness[0]` to `sharpness[1]` along a cosine. `strength` is its weight against the squared error
    as a share of that of rounding to the nearest.
    """

    steps: int = 300
    batch: int = 256
    """Rows of each step."""
    rate: float = 0.05
    strength: float = 10.0
    warmup: float = 0.2
    sharpness: tuple[float, float] = (20.0, 2.0)

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1:
            raise NetcError("adaptive rounding takes at least one step, of at least one row")
        if not (self.rate > 0 and self.strength >= 0 and 0 <= self.warmup < 1 and min(self.sharpness) > 0):
            raise NetcError("adaptive rounding needs rate > 0, strength >= 0, 0 <= warmup < 1 and sharpness > 0")

    def schedule(self) -> Iterator[tuple[float, float]]:
        """Sharpness and strength of the regulariser in each step."""
        first, last = self.sharpness
        begin = int(self.steps * self.warmup)
        for step in range(self.steps):
            share = max(step - begin, 0) / max(self.steps - 1 - begin, 1)
            yield last + (first - last) * (1 + math.cos(math.pi * share)) / 2, self.strength if step >= begin else 0.0


def step_graph(layer: IntegerLayer, settings: AdaRound) -> Graph:
    """One step of learning how to round a layer's weight.

    Inputs are x [batch, C] or, for groups, [1, KH, batch * KW, C]: patches side by side; y [batch, F], the float
    results before the activation; and the scalars sharpness, strength and gain, by which the mean squared error is
    multiplied. The parameter `rounding` is learnt; `floor`, `scale` [F] and `bias` [F] are given. The output is the
    loss. The graph depends on nothing but the shapes of the layer and its activation.
    """
    b = GraphBuilder("adaround")
    batch = settings.batch
    x = Formula(b, b.input("x", TensorType(DType.F32, _rows_shape(layer, batch))))
    y = Formula(b, b.input("y", TensorType(DType.F32, (batch, layer.filters))))
    sharpness, strength, gain = (Formula(b, b.input(n, SCALAR)) for n in ("sharpness", "strength", "gain"))
    state = TrainingState(b)
    vector = TensorType(DType.F32, (layer.filters,))
    floor = state.param("floor", TensorType(DType.F32, layer.weight.shape))
    rounding = Formula(b, b.emit("param", name="rounding", shape=layer.weight.shape))
    up = (rounding.apply("sigmoid") * (HIGH - LOW) + LOW).apply("clamp", low=0.0, high=1.0)
    weight = (floor + up) * state.param("scale", vector)
    results = _contraction(layer, x, weight) + state.param("bias", vector)
    difference = _activated(layer.activation, results) - _activated(layer.activation, y)
    distance = (up * 2 - 1).apply("abs").maximum(SMALLEST)
    undecided = 1 - (distance.apply("log") * sharpness).exp()
    loss = (difference * difference).mean() * gain + undecided.mean() * strength
    return _with_update(differentiate(b.finish([loss.value]), of=0, wrt=["rounding"]), settings)


def _rows_shape(layer: IntegerLayer, batch: int) -> tuple[int, ...]:
    if layer.groups == 1:
        return (batch, math.prod(layer.weight.shape[:-1]))
    height, width, channels, _ = layer.weight.shape
    return (1, height, batch * width, channels * layer.groups)


def _contraction(layer: IntegerLayer, x: Formula, weight: Formula) -> Formula:
    """The sums of products [batch, F]."""
    if layer.groups == 1:
        return x.apply("dense", weight.apply("reshape", shape=(x.type.shape[-1], layer.filters)))
    height, width = layer.weight.shape[:2]
    window = {"strides": (height, width), "padding": "valid", "dilations": (1, 1), "groups": layer.groups}
    return x.apply("conv2d", weight, **window).apply("reshape", shape=(x.type.shape[2] // width, layer.filters))


def _activated(activation: Operation | None, results: Formula) -> Formula:
    return results if activation is None else results.apply(activation.name, **activation.attributes)


def _with_update(graph: Graph, settings: AdaRound) -> Graph:
    """The graph of loss and gradient, with an update of `rounding` by Adam."""
    b = Rewriter(graph)
    for op in graph.operations:
        b.copy(op)
    loss, gradient = (Formula(b, b[v]) for v in graph.outputs)
    state = TrainingState(b)
    rounding = Formula(b, state.parameters["rounding"])
    count = state.param("optimizer.step", TensorType(DType.I64, ()))
    adam = Adam(lr=settings.rate)
    numbers = adam.scalars(count.cast(DType.F64).number(adam.lr), count.cast(DType.F64))
    slots = {slot: state.param(f"optimizer.{slot}", rounding.type.dense(), init) for slot, init in adam.slots.items()}
    typed = {name: scalar.cast(DType.F32) for name, scalar in numbers.items()}
    new, new_slots = adam.update(rounding, gradient, slots, typed, 0.0)
    state.replace("rounding", new)
    for slot, value in new_slots.items():
        state.replace(f"optimizer.{slot}", value)
    state.replace("optimizer.step", count + 1)
    b.attributes["metrics"] = ("loss",)
    b.attributes["updates"] = tuple(state.updates)
    return dce(b.finish([loss.value, *state.updates.values()]))


def initial_state(layer: IntegerLayer, bias: NDArray[np.int32]) -> dict[str, Array]:
    """Values for the parameters of `step_graph`: soft rounding starts where the float weights lie."""
    floor, share = _split(layer)
    rounding = -np.log((HIGH - LOW) / (share - LOW) - 1)
    zeros = np.zeros(layer.weight.shape, np.float32)
    return {
        "floor": floor.astype(np.float32),
        "rounding": rounding.astype(np.float32),
        "scale": layer.scales.astype(np.float32),
        "bias": (bias * layer.scales * layer.x.scale).astype(np.float32),
        "optimizer.step": np.zeros((), np.int64),
        "optimizer.mean": zeros,
        "optimizer.square": zeros,
    }


def _split(layer: IntegerLayer) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The weight in steps of its scale: the whole number below, and how far it is on its way to the next."""
    steps = layer.weight.astype(np.float64) / layer.scales
    floor = np.clip(np.floor(steps), -WEIGHT_LIMIT, WEIGHT_LIMIT)
    return floor, np.clip(steps - floor, 0, 1)


def decided(layer: IntegerLayer, rounding: Floats) -> NDArray[np.int8]:
    """The integer weight that a learnt `rounding` stands for: each the whole number below or above the float one."""
    floor, share = _split(layer)
    up = (rounding >= 0) & (share > 0)
    return np.clip(floor + up, -WEIGHT_LIMIT, WEIGHT_LIMIT).astype(np.int8)


def learn(
    layer: IntegerLayer, rows: Rows, bias: NDArray[np.int32], settings: AdaRound, step: CompiledStep, seed: int
) -> NDArray[np.int8]:
    """Find a rounding of a layer's weight by calling `step`, whose state starts as `initial_state` says."""
    error = squared_error(layer, rows, layer.rounded, bias)
    if error == 0:
        return layer.rounded
    random = np.random.default_rng(seed)
    for sharpness, strength in settings.schedule():
        chosen = random.integers(0, len(rows.y), settings.batch)
        x = rows.x[chosen]
        shaped = x.reshape(len(x), -1) if layer.groups == 1 else _side_by_side(x)
        step(shaped, rows.y[chosen], *(np.array(v, np.float32) for v in (sharpness, strength, 1 / error)))
    return decided(layer, step.state["rounding"])


def _side_by_side(patches: Floats) -> Floats:
    """Patches [count, KH, KW, C] as one image [1, KH, count * KW, C]."""
    count, height, width, channels = patches.shape
    image: Floats = np.ascontiguousarray(patches.transpose(1, 0, 2, 3)).reshape(1, height, count * width, channels)
    return image


def squared_error(layer: IntegerLayer, rows: Rows, rounded: NDArray[np.int8], bias: NDArray[np.int32]) -> float:
    """The mean squared error of a layer's results behind its activation."""
    error = layer.error(rows.x, rows.y, rounded, bias)
    if layer.activation is not None:
        operator, attributes = layer.activation.operator, layer.activation.attributes
        wanted, got = (operator.evaluate((v,), attributes)[0] for v in (rows.y, rows.y - error))
        error = wanted - got
    return float(np.square(error, dtype=np.float64).mean()) if error.size else 0.0
