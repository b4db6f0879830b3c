"""The meaning of kernels, in NumPy: slow, obvious, and checked at every access. Tests compare compiled code with it.

Parallel loops run in order. Fresh register and stack memory holds a value that shows up when it is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InternalError
from ..graph.types import DType
from .ir import (
    INDEX,
    Allocate,
    Binary,
    Bitcast,
    Broadcast,
    Buffer,
    Cast,
    Const,
    Dot4,
    Expr,
    FixedMul,
    Fma,
    For,
    If,
    Interleave,
    Kernel,
    Let,
    Load,
    Reduce,
    Select,
    Space,
    Stmt,
    Store,
    Unary,
    Var,
    children,
)

Array = NDArray[Any]
Number = Any
"""An int for an index; else a NumPy scalar, or an array of as many elements as there are lanes."""


def run_kernel(kernel: Kernel, arrays: Sequence[Array]) -> None:
    """Run a kernel on arrays of exactly its parameters' types and shapes; outputs are written in place."""
    memory: dict[str, Array] = {}
    for buffer, array in zip(kernel.params, arrays, strict=True):
        if array.dtype != buffer.dtype.numpy or array.shape != buffer.shape or not array.flags.c_contiguous:
            raise InternalError(f"%{buffer.name} takes {buffer.dtype}{list(buffer.shape)}, C-contiguous")
        memory[buffer.name] = array.reshape(-1)
    with np.errstate(all="ignore"):
        _Interpreter(memory).block(kernel.body, {})


class _Interpreter:
    def __init__(self, memory: dict[str, Array]) -> None:
        self.memory = memory

    # ---- statements ----

    def block(self, body: Sequence[Stmt], outer: Mapping[str, Number]) -> None:
        values = dict(outer)
        for stmt in body:
            match stmt:
                case Let(name, value):
                    values[name] = self.value(value, values)
                case Allocate(buffer):
                    self.memory[buffer.name] = _fresh(buffer)
                case Store(buffer, indices, value):
                    result = self.value(value, values)
                    place = self.place(buffer, indices, value.type.lanes, values)
                    self.memory[buffer.name][place] = result
                case If(condition, then, otherwise):
                    self.block(then if self.value(condition, values) else otherwise, values)
                case For(var, start, stop, inner, _, step):
                    for i in range(self.value(start, values), self.value(stop, values), step):
                        self.block(inner, {**values, var: i})
                case _:
                    raise InternalError(f"loop interpreter: unknown statement {stmt}")

    def place(self, buffer: Buffer, indices: Sequence[Expr], lanes: int, values: Mapping[str, Number]) -> slice | int:
        """Where an access lies in the flat buffer; `InternalError` if outside."""
        at = [self.value(i, values) for i in indices]
        if len(at) != len(buffer.shape) or any(not 0 <= i < n for i, n in zip(at, buffer.shape, strict=True)):
            raise InternalError(f"access to %{buffer.name}{at} lies outside {list(buffer.shape)}")
        flat = 0
        for i, size in zip(at, buffer.shape, strict=True):
            flat = flat * size + i
        if buffer.space is Space.REGISTER or lanes == 1:
            return flat
        if flat + lanes > math.prod(buffer.shape):
            raise InternalError(f"{lanes} lanes of %{buffer.name} from {at} on lie outside {list(buffer.shape)}")
        return slice(flat, flat + lanes)

    # ---- expressions ----

    def value(self, expr: Expr, values: Mapping[str, Number]) -> Number:
        """Evaluate an expression."""
        match expr:
            case Const(number, dtype, lanes):
                return int(number) if expr.type == INDEX else _filled(number, dtype, lanes)
            case Var(name, _):
                return values[name]
            case Binary(op, a, b):
                return self._typed(_BINARY[op](self.value(a, values), self.value(b, values)), expr)
            case Unary(op, a):
                return self._typed(_UNARY[op](self.value(a, values)), expr)
            case Fma(a, b, c):
                return self._fma(expr, *(self.value(x, values) for x in (a, b, c)))
            case Dot4(a, b, c):
                left, right = (np.asarray(self.value(x, values), np.int64).reshape(-1, 4) for x in (a, b))
                sums = np.asarray(self.value(c, values), np.int64) + (left * right).sum(axis=1)
                return self._typed(sums if expr.type.lanes > 1 else sums[0], expr)
            case FixedMul():
                return self._fixed_mul(expr, *(self.value(x, values) for x in children(expr)))
            case Interleave(parts):
                return np.stack([np.atleast_1d(self.value(part, values)) for part in parts], axis=-1).reshape(-1)
            case Select(condition, a, b):
                chosen = np.where(self.value(condition, values), self.value(a, values), self.value(b, values))
                return self._typed(chosen, expr)
            case Cast(a, _):
                return self._typed(self.value(a, values), expr)
            case Bitcast(a, dtype):
                bits = np.asarray(self.value(a, values), a.type.dtype.numpy)
                return self._typed(bits.view(dtype.numpy), expr)
            case Broadcast(a, lanes):
                return _filled(self.value(a, values), a.type.dtype, lanes)
            case Load(buffer, indices, _):
                place = self.place(buffer, indices, expr.type.lanes, values)
                return self._typed(self.memory[buffer.name][place].copy(), expr)
            case Reduce(op, a):
                return self._reduce(op, a, values)
        raise InternalError(f"loop interpreter: unknown expression {expr}")

    def _typed(self, value: Number, expr: Expr) -> Number:
        if expr.type == INDEX:
            return int(value)
        return np.asarray(value).astype(expr.type.dtype.numpy)[()]

    def _fma(self, expr: Expr, a: Number, b: Number, c: Number) -> Number:
        """Half and single products are exact in double, so that only the last step rounds (but for rare ties)."""
        if expr.type.dtype.is_float:
            a, b, c = (np.asarray(x, np.float64) for x in (a, b, c))
        return self._typed(a * b + c, expr)

    def _fixed_mul(self, expr: FixedMul, *operands: Number) -> Number:
        x, multiplier, shift = (np.asarray(operand, np.int64) for operand in operands)
        high = (x * multiplier + (1 << 30)) >> 31
        half = (np.int64(1) << (-1 - shift)) - ((high < 0) & (not expr.halves_up))
        return self._typed((high + half) >> -shift, expr)

    def _reduce(self, op: str, value: Expr, values: Mapping[str, Number]) -> Number:
        """Combine halves while the number of lanes is even, then one by one: the order of compiled code."""
        lanes = np.asarray(self.value(value, values))
        while lanes.size > 1 and lanes.size % 2 == 0:
            half = lanes.size // 2
            lanes = np.asarray(_BINARY[op](lanes[:half], lanes[half:])).astype(lanes.dtype)
        total = lanes[0]
        for lane in lanes[1:]:
            total = _BINARY[op](total, lane)
        return int(total) if value.type.dtype is DType.I64 else total


def _filled(value: Number, dtype: DType, lanes: int) -> Number:
    return np.full(lanes, value, dtype.numpy) if lanes > 1 else dtype.numpy.type(value)


def _fresh(buffer: Buffer) -> Array:
    shape = (math.prod(buffer.shape), buffer.lanes) if buffer.lanes > 1 else (math.prod(buffer.shape),)
    return np.full(shape, np.nan if buffer.dtype.is_float else 77, buffer.dtype.numpy)


def _divide(a: Number, b: Number) -> Number:
    """Floats: the quotient; integers: rounded toward zero, as in C."""
    if np.issubdtype(np.asarray(a).dtype, np.floating):
        return a / b
    quotient = a // b
    return quotient + ((a - quotient * b != 0) & ((np.asarray(a) < 0) != (np.asarray(b) < 0)))


_BINARY: dict[str, Callable[[Number, Number], Number]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": _divide,
    "min": lambda a, b: np.where(b < a, b, a),
    "max": lambda a, b: np.where(b > a, b, a),
    "floordiv": lambda a, b: a // b,
    "mod": lambda a, b: a % b,
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
