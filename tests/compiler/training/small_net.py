"""A small net in f64 and data for it, all made of sine waves, so that other frameworks can be given the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

import netc.compiler.ops  # noqa: F401 (fills the registry)
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.types import DType, TensorType

Array = NDArray[Any]

SHAPES: Mapping[str, tuple[int, ...]] = {
    "fc1.weight": (3, 4),
    "fc1.bias": (4,),
    "bn.weight": (4,),
    "bn.bias": (4,),
    "fc2.weight": (4, 3),
    "fc2.bias": (3,),
}


def small_net(dtype: DType = DType.F64, *, dropout: float = 0.0, bias: bool = True) -> Graph:
    """Dense (with or without bias), batch norm, relu, dropout, dense: [8, 3] to scores of three classes."""
    b = GraphBuilder("small")
    x = b.input("x", TensorType(dtype, (8, 3)))
    shapes = {name: shape for name, shape in SHAPES.items() if bias or name != "fc1.bias"}
    w = {n: b.emit("param", shape=s, dtype=str(dtype), name=n) for n, s in shapes.items()}
    mean, variance = (
        b.emit("param", shape=(4,), dtype=str(dtype), name=f"bn.running_{n}", init=init, trainable=False)
        for n, init in (("mean", "zeros"), ("var", "ones"))
    )
    hidden = b.emit("dense", x, *(w[n] for n in ("fc1.weight", "fc1.bias") if n in w))
    hidden = b.emit("relu", b.emit("batch_norm", hidden, w["bn.weight"], w["bn.bias"], mean, variance))
    hidden = b.emit("dropout", hidden, rate=dropout)
    return b.finish([b.emit("dense", hidden, w["fc2.weight"], w["fc2.bias"])])


def wave(shape: tuple[int, ...], phase: float) -> Array:
    """The sine of a row of numbers."""
    return np.sin(np.arange(np.prod(shape)) * 1.7 + phase).reshape(shape)


def batches(dtype: DType = DType.F64) -> Iterator[tuple[Array, Array]]:
    """Six batches of inputs and classes."""
    for i in range(6):
        yield (wave((8, 3), 10 + i) * 2).astype(dtype.numpy), (np.arange(i, i + 8) * 5 // 2 % 3).astype(np.int32)


def initial_state(step: Graph) -> dict[str, Array]:
    """Waves for the weights, and what `init` says for all else."""
    waves = {name: wave(shape, phase) for phase, (name, shape) in enumerate(SHAPES.items())}
    state: dict[str, Array] = {}
    for op in step.parameters:
        name, type_ = op.result.name or "", op.result.type
        value = waves.get(name, np.full(type_.shape, 1 if op.attributes["init"] == "ones" else 0))
        state[name] = value.astype(type_.dtype.numpy)
    return state


class Training:
    """Runs a step's graph in the interpreter, carrying its state along."""

    def __init__(self, step: Graph) -> None:
        self.step = step
        self.state = initial_state(step)

    def __call__(self, x: Array, labels: Array) -> dict[str, Array]:
        """One step; returns the metrics."""
        values = evaluate(self.step, [x, labels], self.state)
        metrics, updates = self.step.attributes["metrics"], self.step.attributes["updates"]
        self.state.update(zip(updates, values[len(metrics) :], strict=True))
        return dict(zip(metrics, values, strict=False))
