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
from ...compiler.tflite.reading.checks import MAX_ELEMENTS
from ...compiler.types import DType
from .context import Context, Converter, results_of
from .element_types import packed_problem, result_problem

LARGEST = 1024
"""Most elements of a tensor that is folded."""

_SHAPES = ("RANK", "SHAPE")
"""Operators that look at the shape alone."""
_LARGE = ("DENSIFY", "DEQUANTIZE")
"""Operators by which files hold weights in fewer bytes: they are computed for constants of any size."""
_COMMON = frozenset({DType.F32, DType.I8, DType.U8, DType.I32, DType.BOOL})
"""Element types that every operator with a rule for their shape can compute with."""


def folded(c: Context, converter: Converter | None) -> tuple[Array, ...] | None:
    """The results of an operator that are the same in every run; None for other operators."""
    if packed_problem(c) or result_problem(c):
        return None
    limit = MAX_ELEMENTS if c.operator.name in _LARGE else LARGEST
    if not all(_is_small(c, i, limit) for i in range(len(c.operator.outputs))):
        return None
    if c.operator.name not in _SHAPES and not all(_is_known(c, i, limit) for i in range(c.count)):
        return None
    try:
        with np.errstate(all="ignore"):
            arrays = _computed(c, converter)
    except (NetcError, ArithmeticError, IndexError, TypeError, ValueError):
        return None  # the converter says what is wrong with it
    outputs = [c.output(i) for i in range(len(c.operator.outputs))]
    if [a.dtype for a in arrays] != [t.type and t.type.dtype.numpy for t in outputs]:
        return None
    return arrays if all(t.states(a.shape) for t, a in zip(outputs, arrays, strict=True)) else None


def _is_small(c: Context, place: int, limit: int) -> bool:
    type_ = c.output(place).type
    return type_ is not None and type_.size <= limit


def _is_known(c: Context, place: int, limit: int) -> bool:
    if not c.has(place):
        return True
    tensor = c.tensor(place)
    if tensor.type is None or tensor.is_open or tensor.type.size > limit:
        return False
    return c.known(place) is not None


def _computed(c: Context, converter: Converter | None) -> tuple[Array, ...]:
    function = _FUNCTIONS.get(c.operator.name)
    if function is not None and converter is None and not c.is_quantized:
        arrays = [array for i in range(c.count) if (array := c.known(i)) is not None]
        return tuple(np.asarray(a, c.output_type(i).dtype.numpy) for i, a in enumerate(function(*arrays)))
    if converter is None:
        c.unsupported("it is not known")
    alone = Context(c.walk, c.operator, GraphBuilder("folded"))
    results = results_of(converter(alone))
    if any(v.type.size > LARGEST for op in alone.builder.operations if op.name != "constant" for v in op.results):
        c.unsupported("it is too large to be folded")
    return evaluate(alone.builder.finish(results))


def _unique(x: Array) -> tuple[Array, ...]:
    """The different elements in the order in which they come first, and for each element which of them it is."""
    _, first, kinds = np.unique(x, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return x[first[order]], np.argsort(order)[kinds.reshape(-1)]


_FUNCTIONS: Mapping[str, Callable[..., tuple[Array, ...]]] = MappingProxyType(
    {
        "ADD_N": lambda *x: (np.asarray(sum(x[1:], start=x[0])),),
        "UNIQUE": _unique,
        "WHERE": lambda x: (np.argwhere(x),),
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
