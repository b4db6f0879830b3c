"""Floats rounded to whole numbers: by an instruction, or by conversion to integers where there is none."""

from __future__ import annotations

from ....loops.ir import Binary, Expr, Select, Unary, const
from ....targets.target import Target
from ....types import DType
from . import text
from .emission import Nested
from .text import LLVMType, Value, llvm_type


def rounded(emitter: Nested, op: str, expr: Expr) -> Value:
    """Whole numbers above, toward zero or nearest: one instruction, or made of floors."""
    if _has_instruction(emitter.target, expr.type.dtype):
        kind, operand = emitter.value(expr)
        name = {"ceil": "llvm.ceil", "trunc": "llvm.trunc", "round": "llvm.roundeven"}[op]
        return Value(kind, emitter.out.call(kind.text, f"{name}.{kind.suffix}", (kind.text, operand)))
    x = emitter.let(expr)
    if op == "ceil":
        return emitter.value(Unary("neg", Unary("floor", Unary("neg", x))))
    size = emitter.let(Unary("abs", x))
    low = emitter.let(Unary("floor", size))
    if op == "round":
        rest = emitter.let(size - low)
        is_odd = Binary("ne", Unary("floor", low * 0.5) * 2.0, low)
        half = const(0.5, x.type)
        up = Binary("or", Binary("lt", half, rest), Binary("and", Binary("eq", rest, half), is_odd))
        low = emitter.let(Select(up, low + 1.0, low))
    return emitter.value(Select(Binary("lt", x, const(0, x.type)), Unary("neg", low), low))


def _has_instruction(target: Target, dtype: DType) -> bool:
    """True if there is an instruction that rounds to whole numbers."""
    return target.has_rounding and (target.has_double or dtype is not DType.F64)


def floor(emitter: Nested, kind: LLVMType, x: str) -> Value:
    """The largest whole number that is not above x."""
    if _has_instruction(emitter.target, kind.dtype):
        floored = emitter.out.call(kind.text, f"llvm.floor.{kind.suffix}", (kind.text, x))
    else:
        floored = _by_conversion(emitter, kind, x)
    bounds = emitter.reach.of(x)
    emitter.reach.record(floored, bounds and (bounds[0] - 1, bounds[1]), kind.dtype)
    return Value(kind, floored)


def _by_conversion(emitter: Nested, kind: LLVMType, x: str) -> str:
    """Floor on machines without a rounding instruction: through an integer, where |x| is small enough to matter."""
    # From 2**bits on a float has no fraction and is its own floor; so is a NaN, which isn't `small` either.
    bits = {DType.F64: 52, DType.F32: 23, DType.F16: 10}[kind.dtype]
    whole = llvm_type(DType.I64 if kind.dtype is DType.F64 else DType.I32, kind.lanes)
    mask, t, emit = llvm_type(DType.BOOL, kind.lanes).text, kind.text, emitter.out.emit
    size = emitter.out.call(t, f"llvm.fabs.{kind.suffix}", (t, x))
    small = emit(f"fcmp olt {t} {size}, {text.constant(2.0**bits, kind)}")
    # `fptosi` of a number beyond the integer's range is poison, so large ones are replaced before.
    safe = emit(f"select {mask} {small}, {t} {x}, {t} {text.constant(0.0, kind)}")
    # Conversion rounds toward zero: one too much for negative numbers with a fraction.
    truncated = emit(f"sitofp {whole.text} {emit(f'fptosi {t} {safe} to {whole.text}')} to {t}")
    over = emit(f"fcmp ogt {t} {truncated}, {safe}")
    lower = emit(f"fsub {t} {truncated}, {text.constant(1.0, kind)}")
    floored = emit(f"select {mask} {over}, {t} {lower}, {t} {truncated}")
    return emit(f"select {mask} {small}, {t} {floored}, {t} {x}")
