"""What tests of differentiation share: graphs in f64, and derivatives by central differences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from netc.compiler.graph import Array, Graph, GraphBuilder, Value, evaluate
from netc.compiler.passes import differentiate, jvp
from netc.compiler.types import DType, TensorType

STEP = 1e-6
"""Length of a central difference; its error is of the order of STEP^2 and of the rounding error / STEP."""


@dataclass(frozen=True)
class Point:
    """Values for the inputs and parameters of a graph."""

    inputs: Mapping[str, Array]
    params: Mapping[str, Array]

    def moved(self, direction: Mapping[str, Array], length: float) -> Point:
        """The point a step away; what the direction doesn't name stays."""

        def move(values: Mapping[str, Array]) -> dict[str, Array]:
            return {k: v + length * direction[k] if k in direction else v for k, v in values.items()}

        return Point(move(self.inputs), move(self.params))

    def outputs(self, graph: Graph, **more: Array) -> tuple[Array, ...]:
        """What a graph gives at the point; `more` are inputs beside those of the point."""
        wanted = {v.name for v in graph.inputs}
        inputs = {k: v for k, v in {**self.inputs, **more}.items() if k in wanted}
        return evaluate(graph, inputs, self.params)


def in_f64(graph: Graph) -> Graph:
    """The graph with f64 in place of f32."""
    b = GraphBuilder(graph.name)
    values: dict[Value, Value] = {}
    for v in graph.inputs:
        kind = DType.F64 if v.type.dtype is DType.F32 else v.type.dtype
        values[v] = b.input(v.name or "", TensorType(kind, v.type.shape))
    for op in graph.operations:
        attributes: dict[str, Any] = dict(op.attributes)
        if op.name == "param":
            attributes["dtype"] = "f64"
        elif op.name == "constant" and attributes["value"].dtype == np.float32:
            attributes["value"] = attributes["value"].astype(np.float64)
        operands = [values[v] for v in op.operands]
        new = b.operation(op.operator, operands, attributes, location=op.location, name=op.results[0].name)
        values.update(zip(op.results, new.results, strict=True))
    return b.finish(values[v] for v in graph.outputs)


def with_loss(graph: Graph, seed: int = 0) -> Graph:
    """The graph with one output: the sum of its floating-point outputs' elements, each with a random weight."""
    rng = np.random.default_rng(seed)
    b = GraphBuilder(graph.name)
    for v in graph.inputs:
        b.input(v.name or "", v.type)
    parts = []
    for value in b.inline(graph, b.inputs):
        if value.type.dtype.is_float:
            weights = b.constant(np.asarray(rng.standard_normal(value.type.shape), value.type.dtype.numpy))
            parts.append(b.emit("reduce_sum", b.emit("mul", value, weights)))
    total = parts[0]
    for part in parts[1:]:
        fitting = part if part.type == total.type else b.emit("cast", part, dtype=str(total.type.dtype))
        total = b.emit("add", total, fitting)
    return b.finish([total])


def check_derivatives(loss: Graph, point: Point, wrt: list[str], tolerance: float = 1e-6) -> None:
    """Reverse mode, forward mode and central differences of a loss agree in a random direction."""
    everything = {**point.inputs, **point.params}
    rng = np.random.default_rng(len(wrt))
    direction = {name: np.asarray(rng.standard_normal(everything[name].shape)) for name in wrt}
    value, *gradients = point.outputs(differentiate(loss, 0, wrt))
    for name, gradient in zip(wrt, gradients, strict=True):
        assert gradient.shape == everything[name].shape
    backward = sum(float(np.sum(g * direction[name])) for name, g in zip(wrt, gradients, strict=True))
    tangents = {f"{name}.tangent": d for name, d in direction.items()}
    _, forward = point.outputs(jvp(loss, wrt), **tangents)
    ahead, behind = (point.moved(direction, s).outputs(loss)[0] for s in (STEP, -STEP))
    difference = float(ahead - behind) / (2 * STEP)
    scale = max(1.0, abs(difference), abs(float(value)))
    assert abs(backward - difference) <= tolerance * scale, "reverse mode and differences"
    assert abs(backward - float(forward)) <= 1e-11 * max(scale, sum(float(np.abs(g).max(initial=0)) for g in gradients))
