"""Sums within bounds as bytes, by instructions that narrow what they saturate: AArch64's sqxtn, x86's packssdw."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ....loops.ir import Binary, Cast, Const, Expr, FixedMul
from ....targets.target import Target
from ....types import DType
from .emission import Emission
from .text import Value, constant, llvm_type, mask

_NARROW = "llvm.aarch64.neon.sqxtn"
_FAR = 1 << 14
"""From here on a number may be a byte when it is added to a 16-bit one that saturates."""


def clamped(expr: Cast) -> tuple[Expr, int, int] | None:
    """What a cast of 32-bit integers to bytes makes a byte of, and its bounds, if these are bytes."""
    if expr.dtype not in (DType.I8, DType.U8) or expr.value.type.dtype is not DType.I32:
        return None
    steps, inner = list[tuple[str, int]](), expr.value
    while isinstance(inner, Binary) and inner.op in ("min", "max") and isinstance(inner.rhs, Const):
        steps.append((inner.op, int(inner.rhs.value)))
        inner = inner.lhs
    types = np.iinfo(np.int32)
    low, high = int(types.min), int(types.max)
    for op, bound in reversed(steps):
        choose = min if op == "min" else max
        low, high = choose(low, bound), choose(high, bound)
    info = np.iinfo(str(expr.dtype.numpy))
    return (inner, low, high) if info.min <= low <= high <= info.max else None


def taken_apart(expr: Expr) -> tuple[Expr, int]:
    """What is narrowed, and what is added to it in 16 bits, for eight lanes at a time: a small number.

    A product is too small for the sum to leave 32 bits. One that doesn't fit 16 bits is so far from all bytes that the
    sum saturates, too, to the same one.
    """
    if not (isinstance(expr, Binary) and expr.op == "add" and isinstance(expr.lhs, FixedMul)):
        return expr, 0
    addend = int(expr.rhs.value) if isinstance(expr.rhs, Const) else _FAR
    return (expr.lhs, addend) if abs(addend) < _FAR and expr.type.lanes >= 8 else (expr, 0)


def can_narrow(target: Target, lanes: int, is_stored: bool) -> bool:
    """True if there are instructions that make bytes of so many sums.

    Bytes that aren't stored may be widened at once: LLVM leaves out both where it knows the bounds of the sums.
    """
    if target.vector_lanes == 16:
        return is_stored and can_narrow_words(target, lanes)
    return (target.has_high_products and lanes in (4, 8, 16)) or (is_stored and has_packs(target, lanes))


def can_narrow_words(target: Target, lanes: int) -> bool:
    """True if several vectors of 512 bits are narrowed at once, quarter by quarter."""
    return target.vector_lanes == 16 and lanes in (32, 64)


def has_packs(target: Target, lanes: int) -> bool:
    """True if so many sums in vectors of 256 bits are narrowed half by half, and nothing better is there."""
    return target.multiplies_words and lanes in (8, 16)


def narrowed(emitter: Emission, x: Value, dtype: DType, low: int, high: int, addend: int = 0) -> Value:
    """Bytes from `low` to `high` of sums, where `can_narrow` holds; `addend` is that of `taken_apart`."""
    if can_narrow_words(emitter.target, x.type.lanes):
        return _packed_wide(emitter, x, dtype, low, high, addend)
    if has_packs(emitter.target, x.type.lanes):
        return _packed(emitter, x, dtype, low, high, addend)
    lanes = x.type.lanes
    out, bytes_ = emitter.out, llvm_type(dtype, 8)
    byte = _NARROW if dtype is DType.I8 else "llvm.aarch64.neon.sqxtun"
    parts = []
    for start in range(0, lanes, 4):
        part = x.name if lanes == 4 else _part(emitter, x, range(start, start + 4))
        parts.append(out.call("<4 x i16>", f"{_NARROW}.v4i16", ("<4 x i32>", part)))
    parts += ["poison"] * (len(parts) % 2)
    eights = []
    for first, second in zip(parts[::2], parts[1::2], strict=True):
        both = out.emit(f"shufflevector <4 x i16> {first}, <4 x i16> {second}, {mask(range(8))}")
        if addend:
            both = out.call(
                "<8 x i16>", "llvm.sadd.sat.v8i16", ("<8 x i16>", both), ("<8 x i16>", f"splat (i16 {addend})")
            )
        eight = out.call(bytes_.text, f"{byte}.v8i8", ("<8 x i16>", both))
        eights.append(_within(emitter, Value(bytes_, eight), low, high))
    if len(eights) == 2:
        whole = llvm_type(dtype, 16)
        return Value(whole, out.emit(f"shufflevector {eights[0]}, {eights[1]}, {mask(range(16))}"))
    return _first_half(emitter, eights[0]) if lanes == 4 else eights[0]


def _packed(emitter: Emission, x: Value, dtype: DType, low: int, high: int, addend: int) -> Value:
    """x86: each half of both holds four sums of the first vector and four of the second; they are put in order last."""
    out, lanes = emitter.out, x.type.lanes
    half, words = llvm_type(DType.I32, lanes // 2), llvm_type(DType.I16, lanes)
    halves = ((half.text, _part(emitter, x, range(start, start + lanes // 2))) for start in (0, lanes // 2))
    name = "llvm.x86.avx2.packssdw" if lanes == 16 else "llvm.x86.sse2.packssdw.128"
    both = out.call(words.text, name, *halves)
    if addend:
        added = (words.text, constant(addend, words))
        both = out.call(words.text, f"llvm.sadd.sat.{words.suffix}", (words.text, both), added)
    parts = [both, both]
    if lanes == 16:
        parts = [_part(emitter, Value(words, both), range(start, start + 8)) for start in (0, 8)]
    kind = llvm_type(dtype, 16)
    byte = "llvm.x86.sse2.packuswb.128" if kind.is_unsigned else "llvm.x86.sse2.packsswb.128"
    whole = Value(kind, out.call(kind.text, byte, *(("<8 x i16>", part) for part in parts)))
    whole = _within(emitter, whole, low, high)
    order = [i + j for i in (0, 8, 4, 12) for j in range(4)] if lanes == 16 else list(range(8))
    return Value(llvm_type(dtype, lanes), _part(emitter, whole, order))


def _packed_wide(emitter: Emission, x: Value, dtype: DType, low: int, high: int, addend: int) -> Value:
    """AVX-512: two or four vectors; each quarter of all holds four sums of each, which are put in order last.

    One vector alone takes two instructions, as many as three take for four of them.
    """
    out, lanes = emitter.out, x.type.lanes
    quarter, words, kind = llvm_type(DType.I32, 16), llvm_type(DType.I16, 32), llvm_type(dtype, 64)
    vectors = [(quarter.text, _part(emitter, x, range(start, start + 16))) for start in range(0, lanes, 16)]
    pairs = list[tuple[str, str]]()
    for a, b in zip(vectors[::2], vectors[1::2], strict=True):
        both = out.call(words.text, "llvm.x86.avx512.packssdw.512", a, b)
        if addend:
            added = (words.text, constant(addend, words))
            both = out.call(words.text, f"llvm.sadd.sat.{words.suffix}", (words.text, both), added)
        pairs.append((words.text, both))
    byte = "llvm.x86.avx512.packuswb.512" if kind.is_unsigned else "llvm.x86.avx512.packsswb.512"
    whole = Value(kind, out.call(kind.text, byte, pairs[0], pairs[-1]))
    order = [16 * i + 4 * v + j for v in range(len(vectors)) for i in range(4) for j in range(4)]
    result = Value(llvm_type(dtype, lanes), _part(emitter, whole, order))
    return _within(emitter, result, low, high)


def _first_half(emitter: Emission, eight: Value) -> Value:
    """Four bytes as one number: LLVM holds vectors of four in 16 bits each."""
    kind = llvm_type(eight.type.dtype, 4)
    words = emitter.out.emit(f"bitcast {eight} to <2 x float>")
    word = emitter.out.emit(f"extractelement <2 x float> {words}, i64 0")
    return Value(kind, emitter.out.emit(f"bitcast float {word} to {kind.text}"))


def _part(emitter: Emission, x: Value, places: Iterable[int]) -> str:
    return emitter.out.emit(f"shufflevector {x}, {x.type.text} poison, {mask(places)}")


def _within(emitter: Emission, x: Value, low: int, high: int) -> Value:
    """Limited further, where a byte can be more."""
    info, kind = np.iinfo(str(x.type.dtype.numpy)), x.type
    letter = "u" if kind.is_unsigned else "s"
    for name, bound, end in (("min", high, info.max), ("max", low, info.min)):
        if bound != end:
            limit = (kind.text, constant(bound, kind))
            x = Value(
                kind, emitter.out.call(kind.text, f"llvm.{letter}{name}.{kind.suffix}", (kind.text, x.name), limit)
            )
    return x
