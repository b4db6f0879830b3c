"""float-weights: read the 8-bit weights of dynamic range as the floats that they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..graph.builder import Rewriter, rewritten
from ..graph.ir import Graph, Operation, Value
from ..ops.quantized.hybrid import Hybrid
from ..types import DType, Quantization
from .base import Pass
from .dce import dce


@dataclass(frozen=True)
class FloatWeights(Pass):
    """Make float contractions of those that quantize floats while they run, with the weights as floats.

    Results are no longer those of LiteRT, but nearer to the network's before its weights were quantized; they can be
    differentiated, and quantized again.

    Before::

        %0 = hybrid_dense(%x, %weight, %bias) {weight = <0.01>}

    After::

        %0 = constant {value = ...}
        %1 = dense(%x, %0, %bias)
    """

    name = "float-weights"

    def run(self, graph: Graph) -> Graph:
        found = rewritten(graph, _as_floats)
        return graph if found is graph else dce(found)


def _as_floats(b: Rewriter, op: Operation) -> Value | None:
    operator = op.operator
    if not isinstance(operator, Hybrid):
        return None
    x, weight, *bias = (b[v] for v in op.operands)
    floats = _floats(b, op, weight)
    attributes = operator.float_attributes(op.attributes)
    place: dict[str, Any] = {"location": op.location, "name": op.result.name}
    return b.emit(operator.floats.name, x, floats, *bias, **place, **attributes)


def _floats(b: Rewriter, op: Operation, weight: Value) -> Value:
    """The weight as floats: a constant, if it is one."""
    given: Quantization = op.attributes["weight"]
    scales = np.array(given.scales[0] if given.is_per_tensor else given.scales, np.float32)
    producer = b.graph.producers.get(op.operands[1])
    if producer is not None and producer.name == "constant":
        name = weight.name
        return b.constant(producer.attributes["value"].astype(np.float32) * scales, op.location, name=name)
    return b.emit("mul", b.emit("cast", weight, dtype=str(DType.F32)), b.constant(scales))


float_weights = FloatWeights()
