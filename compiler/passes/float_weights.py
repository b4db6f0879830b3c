"""float-weights: read the 8-bit weights of dynamic range as the floats that they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..graph.builder import Rewriter, rewritten
from ..graph.ir import Graph, Operation, Results, Value
from ..ops.quantized.blocked import BlockedDense
from ..ops.quantized.hybrid import Hybrid
from ..ops.quantized.hybrid_recurrent import HybridLayer
from ..types import DType, Quantization
from .base import Pass
from .dce import dce


@dataclass(frozen=True)
class FloatWeights(Pass):
    """Make float contractions and layers of those that quantize floats while they run, with the weights as floats.

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


def _as_floats(b: Rewriter, op: Operation) -> Results | None:
    operator = op.operator
    if isinstance(operator, HybridLayer):
        scales = operator.weight_scales(op.attributes)
        operands = (
            _floats(b, op, i, np.float32(scales[i])) if i in scales else b[v] for i, v in enumerate(op.operands)
        )
        attributes = operator.float_attributes(op.attributes)
        return b.operation(operator.floats, tuple(operands), attributes, location=op.location).results
    if isinstance(operator, BlockedDense):
        return b.expand(op, operator.decompose)
    if not isinstance(operator, Hybrid):
        return None
    place: dict[str, Any] = {"location": op.location, "name": op.result.name}
    given: Quantization = op.attributes["weight"]
    x, _, *bias = (b[v] for v in op.operands)
    floats = _floats(b, op, 1, np.array(given.scales[0] if given.is_per_tensor else given.scales, np.float32))
    return b.emit(operator.floats.name, x, floats, *bias, **place, **operator.float_attributes(op.attributes))


def _floats(b: Rewriter, op: Operation, operand: int, scales: Any) -> Value:
    """A weight as floats: a constant, if it is one."""
    weight = b[op.operands[operand]]
    producer = b.graph.producers.get(op.operands[operand])
    if producer is not None and producer.name == "constant":
        return b.constant(producer.attributes["value"].astype(np.float32) * scales, op.location, name=weight.name)
    return b.emit("mul", b.emit("cast", weight, dtype=str(DType.F32)), b.constant(np.asarray(scales)))


float_weights = FloatWeights()
