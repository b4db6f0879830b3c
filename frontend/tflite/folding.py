"""What a file computes from constants and shapes alone, such as sizes, is computed while the file is read.

Shapes are fixed, so SHAPE and RANK give constants, and so does what is made of them. Only small tensors are folded:
weights that are computed from constants stay in the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

import numpy as np

from ...compiler.errors import NetcError
from ...compiler.graph.builder import GraphBuilder
from ...compiler.graph.interpreter import evaluate
from ...compiler.graph.ir import Array, Operation
from ...compiler.types import DType
from .context import Context, Converter

LARGEST = 1024
"""Most elements of a tensor that is folded."""

_SHAPES = ("RANK", "SHAPE")
"""Operators that look at the shape alone."""
_COMMON = frozenset({DType.F32, DType.I8, DType.U8, DType.I32, DType.BOOL})
"""Element types that every operator with a rule for their shape can compute with."""


def folded(c: Context, converter: Converter | None) -> tuple[Array, ...] | None:
    """The results of an operator that are the same in every run; None for other operators."""
    if not all(_is_small(c, i) for i in range(len(c.operator.outputs))):
        return None
    if c.operator.name not in _SHAPES and not all(_is_known(c, i) for i in range(c.count)):
        return None
    try:
        with np.errstate(all="ignore"):
            arrays = _computed(c, converter)
    except (NetcError, ArithmeticError, IndexError, TypeError, ValueError):
        return None  # the converter says what is wrong with it
    declared = [c.output_type(i) for i in range(len(c.operator.outputs))]
    if [(a.dtype, a.shape) for a in arrays] != [(t.dtype.numpy, t.shape) for t in declared]:
        return None
    return arrays


def _is_small(c: Context, place: int) -> bool:
    type_ = c.output(place).type
    return type_ is not None and type_.size <= LARGEST


def _is_known(c: Context, place: int) -> bool:
    if not c.has(place):
        return True
    if c.tensor(place).type is None or c.type(place).size > LARGEST:
        return False
    return c.known(place) is not None


def _computed(c: Context, converter: Converter | None) -> tuple[Array, ...]:
    function = _FUNCTIONS.get(c.operator.name)
    if function is not None and not c.is_quantized:
        arrays = [array for i in range(c.count) if (array := c.known(i)) is not None]
        declared = c.output_type()
        return (np.asarray(function(*arrays), declared.dtype.numpy).reshape(declared.shape),)
    if converter is None:
        c.unsupported("it is not known")
    alone = Context(GraphBuilder("folded"), c.model, c.operator, {}, {}, c.folded)
    results = converter(alone)
    return evaluate(alone.builder.finish(results if isinstance(results, tuple) else (results,)))


_FUNCTIONS: Mapping[str, Callable[..., Array]] = MappingProxyType(
    {
        "CEIL": np.ceil,
        "FLOOR": np.floor,
        "FLOOR_MOD": np.mod,
        "LOGICAL_AND": np.logical_and,
        "LOGICAL_NOT": np.logical_not,
        "LOGICAL_OR": np.logical_or,
        "REDUCE_PROD": lambda x, axes: np.prod(x, axis=tuple(np.ravel(axes)), dtype=x.dtype),
        "ROUND": np.rint,
        "ZEROS_LIKE": np.zeros_like,
    }
)
"""Operators that netc has on known numbers only."""


def check_forms(operations: Iterable[Operation]) -> None:
    """Raise `ShapeError` for an operation that is made of others which don't have its element types."""
    parts = GraphBuilder("parts")
    for op in operations:
        if any(v.type.dtype not in _COMMON for v in (*op.operands, *op.results)):
            start = len(parts.operations)
            op.operator.decompose(parts, op.operands, op.attributes)
            check_forms(parts.operations[start:])
