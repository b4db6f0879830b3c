"""Division of integers. Machines trap on x / 0, and on the smallest integer / -1, or give any number.

The loop IR defines both: x / 0 is 0, x mod 0 is 0, and the smallest integer divided by -1 is itself, as integers wrap.
"""

from __future__ import annotations

from ....types import DType
from .emission import Emission
from .text import LLVMType, constant, literal, llvm_type


def divide(emitter: Emission, op: str, kind: LLVMType, a: str, b: str) -> str:
    """`op` (div, floordiv or mod) of two operands of one type."""
    known = literal(b)
    if known == 0:
        return constant(0, kind)
    if known is not None and known != -1:
        return _exact(emitter, op, kind, a, b)
    return _guarded(emitter, op, kind, a, b)


def _guarded(emitter: Emission, op: str, kind: LLVMType, a: str, b: str) -> str:
    """Divisors that machines may trap on become 1: then x mod 1 is right at once, and x / 1 of 0 or -x."""
    emit, t, mask = emitter.out.emit, kind.text, llvm_type(DType.BOOL, kind.lanes).text
    zero = constant(0, kind)
    by_zero = emit(f"icmp eq {t} {b}, {zero}")
    special, dividend = by_zero, a
    if not kind.is_unsigned:
        by_minus_one = emit(f"icmp eq {t} {b}, {constant(-1, kind)}")
        special = emit(f"or {mask} {by_zero}, {by_minus_one}")
        if op != "mod":
            negated = emit(f"sub {t} {zero}, {a}")
            dividend = emit(f"select {mask} {by_minus_one}, {t} {negated}, {t} {a}")
    divisor = emit(f"select {mask} {special}, {t} {constant(1, kind)}, {t} {b}")
    result = _exact(emitter, op, kind, dividend, divisor)
    return result if op == "mod" else emit(f"select {mask} {by_zero}, {t} {zero}, {t} {result}")


def _exact(emitter: Emission, op: str, kind: LLVMType, a: str, b: str) -> str:
    """By a divisor that is neither 0 nor -1."""
    if kind.is_unsigned:
        return emitter.out.emit(f"{'urem' if op == 'mod' else 'udiv'} {kind.text} {a}, {b}")
    if op == "div":
        return emitter.out.emit(f"sdiv {kind.text} {a}, {b}")
    return _floored(emitter, op, kind, a, b)


def _floored(emitter: Emission, op: str, kind: LLVMType, a: str, b: str) -> str:
    """Quotient or rest, rounded toward minus infinity."""
    t, emit = kind.text, emitter.out.emit
    rest = emit(f"srem {t} {a}, {b}")
    zero = constant(0, kind)
    mask = llvm_type(DType.BOOL, kind.lanes).text
    differ = emit(f"icmp slt {t} {emit(f'xor {t} {rest}, {b}')}, {zero}")
    adjust = emit(f"and {mask} {emit(f'icmp ne {t} {rest}, {zero}')}, {differ}")
    if op == "mod":
        return emit(f"select {mask} {adjust}, {t} {emit(f'add {t} {rest}, {b}')}, {t} {rest}")
    quotient = emit(f"sdiv {t} {a}, {b}")
    return emit(f"add {t} {quotient}, {emit(f'sext {mask} {adjust} to {t}')}")
