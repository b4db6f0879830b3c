"""The numbers of constants, and of what is made of constants alone."""

from __future__ import annotations

import numpy as np

from ..graph.ir import Array, Graph, Value

_CONVERTED = ("cast", "sub", "mul", "dequantize", "reinterpret", "quantize_even", "quantize")
MOVES = ("transpose", "reshape")
"""Operators that only bring elements to another order or shape."""
_READ = ("constant", *_CONVERTED, *MOVES, "slice")


def known(value: Value, graph: Graph) -> Array | None:
    """The numbers of a constant, or of what a few operations make of constants: large ones aren't folded."""
    op = graph.producers.get(value)
    if op is None or op.name not in _READ:
        return None
    operands = tuple(found for v in op.operands if (found := known(v, graph)) is not None)
    return np.asarray(op.operator.evaluate(operands, op.attributes)[0]) if len(operands) == len(op.operands) else None
