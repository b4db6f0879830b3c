"""Numbers that are rounded behind what moves or picks them, as tools write around each operation on quantized ones."""

from __future__ import annotations

from functools import cache

import numpy as np

from ..graph.builder import Rewriter, rewritten
from ..graph.ir import Graph, Operation, Value
from ..ops.moves.blocks import SpaceToBatchND
from ..ops.moves.movement import Padding
from ..ops.quantized.base import BYTES
from ..ops.quantized.conversion import Dequantize, Quantize, QuantizeEven
from ..types import DType, Quantization
from .dce import dce

_FARTHEST = 8
"""Most moves between two roundings."""
_MOST = 4
"""So many times the rounded numbers may be those that are rounded ahead of a move instead."""


def with_rounding_once(graph: Graph) -> Graph:
    """The graph that moves integers where it made floats of them, moved these, and rounded them to a grid again.

    If that is another grid, bytes are rounded first and moved then. The largest of a window is a move, too.

    Before::

        %0 = dequantize(%x) {x = <0.1:129>}                        // %x: u8[2,3]<0.1:129>
        %1 = transpose(%0) {permutation = [1,0]}
        %2 = quantize_even(%1) {dtype = "u8", y = <0.1:129>}

    After::

        %2 = transpose(%x) {permutation = [1,0]} : u8[3,2]<0.1:129>
    """
    found = rewritten(graph, lambda b, op: _on_integers(graph, b, op))
    return graph if found is graph else dce(found)


def _on_integers(graph: Graph, b: Rewriter, op: Operation) -> Value | None:
    if not isinstance(op.operator, Quantize | QuantizeEven):
        return None
    sources = _sources(graph, op.operands[0], _FARTHEST)
    if sources is None or not (all(_has_grid(op, source) for source in sources) or _saves(graph, op, sources)):
        return None
    return _moved(graph, b, op.operands[0], op)


def _sources(graph: Graph, value: Value, farthest: int) -> list[Operation] | None:
    """What makes floats of integers, where nothing but moves makes a value of such floats; else None."""
    op = graph.producers.get(value)
    if op is None:
        return None
    if isinstance(op.operator, Dequantize):
        return [op]
    if not _moves(op) or not farthest:
        return None
    parts = [_sources(graph, v, farthest - 1) for v in op.operands]
    found = [source for part in parts if part is not None for source in part]
    return None if None in parts or not found else found


def _moves(op: Operation) -> bool:
    """True for what gives nothing but numbers of its operands: rounded before or after, they are the same."""
    if isinstance(op.operator, Padding | SpaceToBatchND):  # which add zeros
        return False
    return op.operator.moves or op.operator.picks


def _has_grid(op: Operation, source: Operation) -> bool:
    """True if rounding gives the integers back of which the floats were made."""
    dtype, grid = op.result.type.dtype, op.attributes["y"]
    is_same = source.operands[0].type.dtype is dtype and source.attributes["x"] == grid
    return is_same and _is_kept(op.operator, dtype, grid)


def _saves(graph: Graph, op: Operation, sources: list[Operation]) -> bool:
    """True if bytes on other grids are worth rounding ahead: few more are rounded, and nobody reads moved floats."""
    types = [op.result.type, *(source.operands[0].type for source in sources)]
    size = sum(type_.size for type_ in types[1:])
    narrow = all(type_.dtype in BYTES for type_ in types)
    return narrow and size <= _MOST * op.result.type.size and _is_read_once(graph, op.operands[0])


def _is_read_once(graph: Graph, value: Value) -> bool:
    """True for moved numbers that only what rounds them reads, in the end."""
    op = graph.producers[value]
    if not _moves(op):
        return False
    return graph.has_one_use(value) and all(
        isinstance(graph.producers[v].operator, Dequantize) or _is_read_once(graph, v) for v in op.operands
    )


def _moved(graph: Graph, b: Rewriter, value: Value, rounding: Operation) -> Value:
    """Numbers rounded where integers were made floats, and moved then."""
    op = graph.producers[value]
    if not isinstance(op.operator, Dequantize):
        operands = [_moved(graph, b, v, rounding) for v in op.operands]
        return b.operation(op.operator, operands, op.attributes, location=op.location, name=op.result.name).result
    if _has_grid(rounding, op):
        return b[op.operands[0]]
    return b.operation(rounding.operator, (b[value],), rounding.attributes, location=rounding.location).result


@cache
def _is_kept(operator: Quantize | QuantizeEven, dtype: DType, grid: Quantization) -> bool:
    """True if every integer of a type comes back: scales near the ends of the floats lose some."""
    limits = np.iinfo(dtype.numpy)  # type: ignore[type-var]
    numbers = np.arange(limits.min, limits.max + 1).astype(dtype.numpy)
    with np.errstate(over="ignore", under="ignore"):
        (floats,) = Dequantize().evaluate((numbers,), {"x": grid})
        (back,) = operator.evaluate((floats,), {"dtype": str(dtype), "y": grid})
    return bool(np.array_equal(back, numbers))
