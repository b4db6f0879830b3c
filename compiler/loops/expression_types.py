"""Types of expressions: what each node takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..types import DType
from .ir import (
    ARITHMETIC,
    COMPARISON,
    INDEX,
    INTEGER,
    UNARY,
    Binary,
    Bitcast,
    Broadcast,
    Cast,
    Dot4,
    Expr,
    FixedMul,
    Fma,
    Interleave,
    Reduce,
    Select,
    Unary,
    VectorType,
)
from .printer import print_expr

Types = Sequence[VectorType]


class ViolationError(Exception):
    """What is wrong with a kernel or module, without its text."""


def check(holds: bool, message: str) -> None:
    """Raise `ViolationError` unless something holds."""
    if not holds:
        raise ViolationError(message)


_INTERNED: dict[tuple[int, int], VectorType] = {(id(DType.I64), 1): INDEX}


def interned(dtype: DType, lanes: int) -> VectorType:
    """The type with these lanes; equal types are the same object, so that comparing them takes no time."""
    key = (id(dtype), lanes)
    kind = _INTERNED.get(key)
    if kind is None:
        kind = _INTERNED[key] = VectorType(dtype, lanes)
    return kind


_SEEN: dict[tuple[str, int], VectorType] = {}
"""Results of binary operations on two operands of one type, by operation and identity of the type."""


def binary_type(expr: Binary, a: VectorType, b: VectorType) -> VectorType:
    """The type of a binary operation, as `result_type` has it, with less to do where both operands are alike."""
    if a is not b:
        return result_type(expr, (a, b))
    key = (expr.op, id(a))
    kind = _SEEN.get(key)
    if kind is None:
        kind = _SEEN[key] = result_type(expr, (a, b))
    return kind


def result_type(expr: Expr, types: Types) -> VectorType:
    """The type of an expression whose operands have these (interned) types; `ViolationError` where they don't fit."""
    rule = _RULES.get(type(expr))
    if rule is None:
        raise ViolationError(f"{type(expr).__name__} is no expression of the loop IR")
    kind = rule(expr, types)
    if isinstance(kind, str):
        raise ViolationError(f"{print_expr(expr)}: {kind}")
    return kind


def _binary(expr: Binary, types: Types) -> VectorType | str:
    op, first = expr.op, types[0]
    if first is not types[1]:
        return f"operands differ: {_joined(types)}"
    if op in COMPARISON:
        return interned(DType.BOOL, first.lanes)
    if op in ARITHMETIC:
        return first if first.dtype is not DType.BOOL else f"{op} takes numbers, not {first}"
    if op in INTEGER:
        return first if not first.dtype.is_float else f"{op} takes integers, not {first}"
    return f"there is no operation {op}"


def _unary(expr: Unary, types: Types) -> VectorType | str:
    return types[0] if expr.op in UNARY else f"there is no operation {expr.op}"


def _fma(expr: Fma, types: Types) -> VectorType | str:
    return types[0] if types[0] is types[1] is types[2] else f"operands differ: {_joined(types)}"


def _dot4(expr: Dot4, types: Types) -> VectorType | str:
    a, b, c = types
    bytes_ = (DType.I8, DType.U8)
    fits = a.lanes in (4, b.lanes) and b.lanes == 4 * c.lanes and a.dtype in bytes_ and b.dtype in bytes_
    return c if fits and c.dtype is DType.I32 else f"operands don't fit: {_joined(types)}"


def _fixed_mul(expr: FixedMul, types: Types) -> VectorType | str:
    fits = types[0].dtype is DType.I32 and types[0] is types[1] is types[2]
    return types[0] if fits else f"operands don't fit: {_joined(types)}"


def _interleave(expr: Interleave, types: Types) -> VectorType | str:
    if len(types) not in (2, 4) or len(set(types)) != 1:
        return f"takes two or four operands of one type: {_joined(types)}"
    return interned(types[0].dtype, types[0].lanes * len(types))


def _select(expr: Select, types: Types) -> VectorType | str:
    condition, then, otherwise = types
    fits = condition.dtype is DType.BOOL and condition.lanes in (1, then.lanes) and then is otherwise
    return then if fits else f"operands don't fit: {_joined(types)}"


def _bitcast(expr: Bitcast, types: Types) -> VectorType | str:
    old, new = types[0].dtype, expr.dtype
    same = new.itemsize == old.itemsize and DType.BOOL not in (new, old)
    return interned(new, types[0].lanes) if same else f"{old} and {new} differ in size"


def _broadcast(expr: Broadcast, types: Types) -> VectorType | str:
    fits = types[0].lanes == 1 and expr.lanes >= 1
    return interned(types[0].dtype, expr.lanes) if fits else f"{types[0]} is not one element"


def _reduce(expr: Reduce, types: Types) -> VectorType | str:
    fits = expr.op in ("add", "max", "min", "mul")
    return interned(types[0].dtype, 1) if fits else f"lanes can't be combined by {expr.op}"


def _cast(expr: Cast, types: Types) -> VectorType | str:
    return interned(expr.dtype, types[0].lanes)


_RULES: dict[type[Expr], Callable[..., VectorType | str]] = {
    Binary: _binary,
    Unary: _unary,
    Fma: _fma,
    Dot4: _dot4,
    FixedMul: _fixed_mul,
    Interleave: _interleave,
    Select: _select,
    Bitcast: _bitcast,
    Broadcast: _broadcast,
    Reduce: _reduce,
    Cast: _cast,
}


def _joined(types: Types) -> str:
    return ", ".join(map(str, types))
