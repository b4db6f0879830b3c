"""Arithmetic of tensors, and what can be asked of a tensor at compile time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from ..compiler.errors import Location
from ..compiler.graph.ir import Emits, Value
from ..compiler.graph.registry import operators
from ..compiler.ops.moves.moves import sliced
from ..compiler.types import DType
from .arithmetic import BUILTINS, BadArgumentError
from .syntax import COMMENT_HINT
from .values import Builtin, Tensor, describe, error, is_number

MAX_POWER = 16
"""Largest exponent that becomes a chain of products; others become the operator pow."""

Emit = Callable[..., Value]
"""`emit(operator, *operands, **attributes)` adds an operation at the current place."""

_OPERATORS = {"+": "add", "-": "sub", "*": "mul", "/": "div", "%": "floor_mod", "**": "pow"}
_COMPARISONS = {
    "<": "less",
    "<=": "less_equal",
    ">": "greater",
    ">=": "greater_equal",
    "==": "equal",
    "!=": "not_equal",
}


def tensor_binary(symbol: str, left: Any, right: Any, emit: Emit, location: Location) -> Value:
    """`left symbol right` where at least one side is a tensor."""
    if symbol == "**" and isinstance(left, Tensor) and is_number(right):
        return _power(left, right, emit, location)
    if symbol not in _OPERATORS:
        hint = COMMENT_HINT if symbol == "//" else None
        raise error(f"`{symbol}` doesn't apply to tensors", location, hint)
    a, b = as_tensors((left, right), emit, location)
    return emit(_OPERATORS[symbol], a, b)


def tensor_compare(symbol: str, left: Any, right: Any, emit: Emit, location: Location) -> Value:
    """`left symbol right` where at least one side is a tensor: a tensor of truth values."""
    return emit(_COMPARISONS[symbol], *as_tensors((left, right), emit, location))


def tensor_unary(symbol: str, value: Value, emit: Emit, location: Location) -> Value:
    """`-value` or `+value` of a tensor."""
    if symbol == "not":
        return emit("logical_not", value)
    return emit("neg", value) if symbol == "-" else value


def as_tensors(values: tuple[Any, ...], emit: Emit, location: Location) -> tuple[Value, ...]:
    """Numbers among tensors become constants of the tensors' element type."""
    dtype = next(v.type.dtype for v in values if isinstance(v, Tensor))
    return tuple(v if isinstance(v, Tensor) else _constant(v, dtype, emit, location) for v in values)


def _constant(value: Any, dtype: DType, emit: Emit, location: Location) -> Value:
    if not is_number(value):
        raise error(f"a tensor can't be combined with {describe(value)}", location)
    if isinstance(value, float) and not dtype.is_float and dtype is not DType.BOOL and not value.is_integer():
        raise error(f"the number {value} is no {dtype}, the element type of the tensor", location)
    try:
        with np.errstate(over="ignore"):
            array = np.array(value, dtype.numpy)
    except OverflowError:
        raise error(f"the number {value} is out of the range of {dtype}", location) from None
    if not np.isfinite(array):
        raise error(f"the number {value} is out of the range of {dtype}", location)
    return emit("constant", value=array)


def _power(x: Value, exponent: int | float, emit: Emit, location: Location) -> Value:
    if exponent == 0.5 and x.type.dtype.is_float:
        return emit("sqrt", x)
    if not isinstance(exponent, int) or not 1 <= exponent <= MAX_POWER:
        return emit("pow", x, _constant(exponent, x.type.dtype, emit, location))
    result = x
    for _ in range(exponent - 1):
        result = emit("mul", result, x)
    return result


def take(x: Value, places: Sequence[slice | int], site: Emits, location: Location) -> Value:
    """`x[places]` as in NumPy: a range of each of the first dimensions, or one element, without the dimension then."""
    if len(places) > x.type.rank:
        raise error(f"{len(places)} places don't fit {describe(x)}", location)
    ranges: list[slice] = []
    for d, (place, size) in enumerate(zip(places, x.type.shape, strict=False)):
        if isinstance(place, slice):
            ranges.append(place)
        elif -size <= place < size:
            ranges.append(slice(place % size, place % size + 1))
        else:
            raise error(f"there is no element {place} in dimension {d} of {describe(x)}", location)
    part = sliced(site, x, ranges)
    gone = {d for d, place in enumerate(places) if not isinstance(place, slice)}
    shape = tuple(size for d, size in enumerate(part.type.shape) if d not in gone)
    return site.emit("reshape", part, shape=shape) if gone else part


def apply_operator(builtin: Builtin, values: tuple[Any, ...], emit: Emit, location: Location) -> Value:
    """A builtin function of tensors: the operator it stands for; max and min take several."""
    if builtin.operator is None:
        raise error(f"{builtin.name} doesn't apply to tensors", location)
    count = len(operators()[builtin.operator].operands)
    tensors = as_tensors(values, emit, location)
    if count == 1:
        if len(tensors) != 1:
            raise error(f"{builtin.name} takes one tensor, not {len(tensors)}", location)
        return emit(builtin.operator, tensors[0])
    if len(tensors) < 2:
        raise error(f"{builtin.name} takes two tensors or more", location, "over a dimension, use reduce_max")
    result = tensors[0]
    for tensor in tensors[1:]:
        result = emit(builtin.operator, result, tensor)
    return result


def _shape(x: Tensor) -> tuple[int, ...]:
    return x.type.shape


def _rank(x: Tensor) -> int:
    return x.type.rank


def _channels(x: Tensor) -> int:
    if not x.type.shape:
        raise BadArgumentError("a tensor of rank 0 has no channels")
    return x.type.shape[-1]


def _dtype(x: Tensor) -> str:
    return x.type.dtype.value


QUERIES: Mapping[str, Builtin] = MappingProxyType(
    {
        b.name: b
        for b in (
            Builtin("shape", _shape),
            Builtin("rank", _rank),
            Builtin("channels", _channels),
            Builtin("dtype", _dtype),
        )
    }
)
"""Functions from a tensor to what is known of it at compile time."""

FUNCTIONS: Mapping[str, Builtin] = MappingProxyType({**BUILTINS, **QUERIES})
"""All builtin functions."""
