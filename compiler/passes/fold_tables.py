"""fold-tables: functions of one 8-bit number become one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..graph.builder import Rewriter
from ..graph.ir import Array, Graph, Operation, Value
from ..ops.functions.elementwise import BinaryOperator, UnaryOperator
from ..ops.quantized.activation import all_values
from ..ops.quantized.base import BYTES, Part, QuantizedOperator
from .base import Pass
from .dce import dce

_KINDS = (UnaryOperator, BinaryOperator, QuantizedOperator, Part)
"""Operators that don't ask for the shape of their operands, if they are elementwise."""
WORTH = 8
"""Work of operations on a number that takes longer than to look the result up."""


@dataclass(frozen=True, slots=True)
class _Function:
    """What a value is for each value of an 8-bit tensor of the same shape."""

    of: Value
    results: Array
    length: int
    """How many operations it takes, the same one counted as often as it is met."""
    work: int
    """What they cost, in units of an addition."""
    looks_up: bool

    @property
    def is_worth_it(self) -> bool:
        """True if looking results up takes less time than they do."""
        return self.length > 1 and (self.looks_up or self.work > WORTH)


@dataclass(frozen=True)
class FoldTables(Pass):
    """Replace elementwise operations on one 8-bit tensor by one `lookup`, if they hold one already or take long.

    The table holds what the operations give for each of the 256 numbers, so the results are the same. So x * sigmoid(x)
    in integers takes one table, as do functions of floats between two roundings to bytes.

    Before::

        %0 = lookup(%x, %table)
        %1 = q_mul(%x, %0) {...}

    After::

        %0 = constant {value = ...} : i8[256]
        %1 = lookup(%x, %0) {...}
    """

    name = "fold-tables"

    def run(self, graph: Graph) -> Graph:
        if not any(_is_byte(v) for op in graph.operations for v in op.operands):
            return graph
        rewriter = Rewriter(graph)
        known: dict[Value, _Function] = {}
        folded = False
        for op in graph.operations:
            function = _function(op, known, graph.producers)
            if function is not None:
                known[op.result] = function
            if function is None or not (function.is_worth_it and _is_byte(op.result)):
                rewriter.copy(op)
                continue
            table = rewriter.constant(function.results, op.location)
            quantization = op.result.type.quantization
            x, name = rewriter[function.of], op.result.name
            found = rewriter.emit("lookup", x, table, y=quantization, location=op.location, name=name)
            rewriter.replace(op.result, found)
            folded = True
        return dce(rewriter.close()) if folded else graph


def _is_byte(value: Value) -> bool:
    return value.type.dtype in BYTES


def _function(
    op: Operation, known: Mapping[Value, _Function], producers: Mapping[Value, Operation]
) -> _Function | None:
    """What an operation's result is for each value of one 8-bit tensor, on which alone it depends; else None."""
    looks_up = op.name == "lookup"
    if len(op.results) != 1 or not (looks_up or (op.operator.elementwise and isinstance(op.operator, _KINDS))):
        return None
    root: Value | None = None
    length, work = 1, op.operator.work
    arrays: list[Array] = []
    for operand in op.operands:
        number = _constant(operand, producers)
        is_table = op.name == "lookup" and operand is op.operands[1]
        if number is not None and (number.size == 1 or is_table):
            arrays.append(number.reshape(()) if number.size == 1 else number)
            continue
        inner = known.get(operand) or _identity(operand)
        if inner is None or (root or inner.of) is not inner.of:
            return None
        root = inner.of
        length, work = length + inner.length, work + inner.work
        looks_up |= inner.looks_up
        arrays.append(inner.results)
    if root is None or op.result.type.shape != root.type.shape or not _is_plain(op):
        return None
    with np.errstate(all="ignore"):
        (results,) = op.operator.evaluate(tuple(arrays), op.attributes)
    results = np.asarray(results)
    if results.shape != (256,) or results.dtype != op.result.type.dtype.numpy:
        return None
    return _Function(root, results, length, work, looks_up)


def _constant(value: Value, producers: Mapping[Value, Operation]) -> Array | None:
    maker = producers.get(value)
    return np.asarray(maker.attributes["value"]) if maker is not None and maker.name == "constant" else None


def _identity(value: Value) -> _Function | None:
    """An 8-bit tensor as a function of itself."""
    if not _is_byte(value):
        return None
    dtype = value.type.dtype
    return _Function(value, all_values(dtype).astype(dtype.numpy), 0, 0, False)


def _is_plain(op: Operation) -> bool:
    """True if neither the place of an element nor its channel counts."""
    scales = (v.type.quantization for v in (*op.operands, *op.results))
    return all(q is None or q.is_per_tensor for q in scales)


fold_tables = FoldTables()
