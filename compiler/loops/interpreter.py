"""The meaning of kernels, in NumPy: slow, obvious, and checked at every access. Tests compare compiled code with it.

What a kernel does in which order is written down in Python (see `python_text`); what an operation does with numbers
stands here. Parallel loops run in order. Fresh register and stack memory holds a value that shows up when it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InternalError
from ..numerics import convert, quotient
from ..types import DType
from .ir import (
    INDEX,
    Binary,
    Bitcast,
    Broadcast,
    Cast,
    Dot4,
    Expr,
    FixedMul,
    Fma,
    Interleave,
    Kernel,
    Reduce,
    Select,
    Unary,
)
from .python_text import python_text

Array = NDArray[Any]
Number = Any
"""An int for an index; else a NumPy scalar, or an array of as many elements as there are lanes."""


def run_kernel(kernel: Kernel, arrays: Sequence[Array]) -> None:
    """Run a kernel on arrays of exactly its parameters' types and shapes; outputs are written in place.

    `InternalError` for an access outside a buffer.
    """
    for buffer, array in zip(kernel.params, arrays, strict=True):
        if array.dtype != buffer.dtype.numpy or array.shape != buffer.shape or not array.flags.c_contiguous:
            raise InternalError(f"%{buffer.name} takes {buffer.dtype}{list(buffer.shape)}, C-contiguous")
    with np.errstate(all="ignore"):
        python_function(kernel)(*(array.reshape(-1) for array in arrays))


@lru_cache(maxsize=256)
def python_function(kernel: Kernel) -> Callable[..., None]:
    """A kernel as a Python function of flat arrays."""
    written = python_text(kernel)
    names: dict[str, Any] = {name: meaning(expr) for name, expr in written.functions.items()}
    names |= {"fresh": _fresh, "outside": _outside, "wrap": _wrapped, "constant": _constant}
    exec(compile(written.text, f"<kernel @{kernel.name}>", "exec"), names)
    function: Callable[..., None] = names["kernel"]
    return function


def meaning(expr: Expr) -> Callable[..., Number]:
    """What a node does with the values of its operands; the type of the result is the node's."""
    kind = expr.type
    function = _operation(expr)
    if kind == INDEX:
        return lambda *operands: _wrapped(int(function(*operands)))
    dtype = kind.dtype.numpy
    if isinstance(expr, Binary) and expr.op in _CLOSED:
        return function
    return lambda *operands: np.asarray(function(*operands)).astype(dtype)[()]


def _operation(expr: Expr) -> Callable[..., Number]:
    """What a node computes; the result may have a wider type."""
    match expr:
        case Binary(op, _, _):
            return _BINARY[op]
        case Unary(op, _):
            return _UNARY[op]
        case Reduce(op, _):
            return partial(_reduce, _BINARY[op])
        case Fma():
            return _exact_fma if expr.type.dtype.is_float else lambda a, b, c: a * b + c
        case Dot4():
            return partial(_dot4, single=expr.type.lanes == 1)
        case FixedMul():
            return partial(_fixed_mul, halves_up=expr.halves_up)
        case Interleave():
            return lambda *parts: np.stack([np.atleast_1d(part) for part in parts], axis=-1).reshape(-1)
        case Select():
            return lambda condition, a, b: np.where(condition, a, b)
        case Cast(value, dtype):
            return lambda a: convert(np.asarray(a, value.type.dtype.numpy), dtype)
        case Bitcast(value, dtype):
            return lambda a: np.asarray(a, value.type.dtype.numpy).view(dtype.numpy)
        case Broadcast(_, lanes):
            return lambda a: np.full(lanes, a) if lanes > 1 else a
    raise InternalError(f"loop interpreter: unknown expression {expr}")


def _exact_fma(a: Number, b: Number, c: Number) -> Number:
    """Half and single products are exact in double, so that only the last step rounds (but for rare ties)."""
    a, b, c = (np.asarray(x, np.float64) for x in (a, b, c))
    return a * b + c


def _dot4(a: Number, b: Number, c: Number, *, single: bool) -> Number:
    left, right = (np.asarray(x, np.int64).reshape(-1, 4) for x in (a, b))
    sums = np.asarray(c, np.int64) + (left * right).sum(axis=1)
    return sums[0] if single else sums


def _fixed_mul(x: Number, multiplier: Number, shift: Number, *, halves_up: bool) -> Number:
    x, multiplier, shift = (np.asarray(operand, np.int64) for operand in (x, multiplier, shift))
    high = (x * multiplier + (1 << 30)) >> 31
    half = (np.int64(1) << (-1 - shift)) - ((high < 0) & (not halves_up))
    return (high + half) >> -shift


def _reduce(combine: Callable[[Number, Number], Number], value: Number) -> Number:
    """Combine halves while the number of lanes is even, then one by one: the order of compiled code."""
    lanes = np.atleast_1d(value)
    while lanes.size > 1 and lanes.size % 2 == 0:
        half = lanes.size // 2
        lanes = np.asarray(combine(lanes[:half], lanes[half:])).astype(lanes.dtype)
    total = lanes[0]
    for lane in lanes[1:]:
        total = combine(total, lane)
    return total


def _outside(name: str, shape: Sequence[int], lanes: int, *at: int) -> None:
    what = f"access to %{name}{list(at)} lies" if lanes == 1 else f"{lanes} lanes of %{name} from {list(at)} on lie"
    raise InternalError(f"{what} outside {list(shape)}")


def _wrapped(value: int) -> int:
    """The whole number of 64 bits with the same lowest bits."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def _constant(number: int | float | bool, dtype: str, lanes: int) -> Number:
    kind = DType(dtype).numpy
    return np.full(lanes, number, kind) if lanes > 1 else kind.type(number)


def _fresh(dtype: str, size: int, lanes: int) -> Array:
    kind = DType(dtype)
    return np.full((size, lanes) if lanes > 1 else size, np.nan if kind.is_float else 77, kind.numpy)


def _divide(a: Number, b: Number) -> Number:
    """Floats: the quotient; integers: rounded toward zero, as in C; by 0: 0."""
    if np.issubdtype(np.asarray(a).dtype, np.floating):
        return a / b
    return quotient(np.asarray(a), np.asarray(b))


def _floor_divide(a: Number, b: Number) -> Number:
    """Indices are Python's integers, which refuse division by 0; NumPy's give 0."""
    return 0 if isinstance(b, int) and b == 0 else a // b


def _modulo(a: Number, b: Number) -> Number:
    return 0 if isinstance(b, int) and b == 0 else a % b


_BINARY: dict[str, Callable[[Number, Number], Number]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": _divide,
    "min": np.minimum,
    "max": np.maximum,
    "floordiv": _floor_divide,
    "mod": _modulo,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "shl": lambda a, b: a << b,
    "shr": lambda a, b: a >> b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
}

_CLOSED = ("add", "sub", "mul", "and", "or", "xor", "lt", "le", "eq", "ne")
"""What NumPy gives the right type."""

_UNARY: dict[str, Callable[[Number], Number]] = {
    "neg": lambda a: ~a + 1 if np.asarray(a).dtype.kind in "iu" else -a,
    "abs": np.abs,
    "sqrt": np.sqrt,
    "floor": np.floor,
    "exp": np.exp,
    "log": np.log,
    "tanh": np.tanh,
    "not": np.invert,
}
