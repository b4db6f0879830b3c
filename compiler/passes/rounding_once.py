"""Numbers that are rounded to the grid on which they lie already, as tools write around each move of quantized ones."""

from __future__ import annotations

from functools import cache, partial

import numpy as np

from ..graph.builder import Rewriter, rewritten
from ..graph.ir import Graph, Operation, Value
from ..ops.moves.blocks import SpaceToBatchND
from ..ops.moves.movement import Padding
from ..ops.quantized.conversion import Dequantize, Quantize, QuantizeEven
from ..types import DType, Quantization
from .dce import dce

_FARTHEST = 8
"""Most moves between two roundings."""


def with_rounding_once(graph: Graph) -> Graph:
    """The graph that moves integers where it made floats of them, moved these, and rounded them to the same grid again.

    Before::

        %0 = dequantize(%x) {x = <0.1:129>}                        // %x: u8[2,3]<0.1:129>
        %1 = transpose(%0) {permutation = [1,0]}
        %2 = quantize_even(%1) {dtype = "u8", y = <0.1:129>}

    After::

        %2 = transpose(%x) {permutation = [1,0]} : u8[3,2]<0.1:129>
    """
    found = rewritten(graph, partial(_on_integers, graph))
    return graph if found is graph else dce(found)


def _on_integers(graph: Graph, b: Rewriter, op: Operation) -> Value | None:
    if not isinstance(op.operator, Quantize | QuantizeEven):
        return None
    wanted = op.result.type
    if not _is_moved(graph, op.operands[0], wanted.dtype, op.attributes["y"], _FARTHEST):
        return None
    if not _is_kept(op.operator, wanted.dtype, op.attributes["y"]):
        return None
    return _moved(graph, b, op.operands[0])


def _is_moved(graph: Graph, value: Value, dtype: DType, grid: Quantization, farthest: int) -> bool:
    """True for floats that integers of this type stand for on this grid, and what moves only such ones."""
    op = graph.producers.get(value)
    if op is None:
        return False
    if isinstance(op.operator, Dequantize):
        return op.operands[0].type.dtype is dtype and op.attributes["x"] == grid
    if not op.operator.moves or isinstance(op.operator, Padding | SpaceToBatchND) or not farthest:
        return False
    return bool(op.operands) and all(_is_moved(graph, v, dtype, grid, farthest - 1) for v in op.operands)


def _moved(graph: Graph, b: Rewriter, value: Value) -> Value:
    op = graph.producers[value]
    if isinstance(op.operator, Dequantize):
        return b[op.operands[0]]
    operands = [_moved(graph, b, v) for v in op.operands]
    return b.operation(op.operator, operands, op.attributes, location=op.location, name=op.result.name).result


@cache
def _is_kept(operator: Quantize | QuantizeEven, dtype: DType, grid: Quantization) -> bool:
    """True if every integer of a type comes back: scales near the ends of the floats lose some."""
    limits = np.iinfo(dtype.numpy)  # type: ignore[type-var]
    numbers = np.arange(limits.min, limits.max + 1).astype(dtype.numpy)
    with np.errstate(over="ignore", under="ignore"):
        (floats,) = Dequantize().evaluate((numbers,), {"x": grid})
        (back,) = operator.evaluate((floats,), {"dtype": str(dtype), "y": grid})
    return bool(np.array_equal(back, numbers))
