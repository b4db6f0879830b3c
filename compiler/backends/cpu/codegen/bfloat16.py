"""bfloat16, whose bits lie in i16: the machine's instructions (AVX512-BF16), or shifts and multiply-adds of floats."""

from __future__ import annotations

from ....loops.dot_nodes import Dot2Bfloat16
from ....loops.ir import Binary, Bitcast, Cast, Const, Expr, Fma, Select, Spread
from ....loops.nodes import FromBfloat16, ToBfloat16
from ....types import DType
from .emission import Nested
from .text import Value, llvm_type, mask

_DOTS = {lanes: f"llvm.x86.avx512bf16.dpbf16ps.{32 * lanes}" for lanes in (4, 8, 16)}
"""By the number of sums."""
_CONVERSIONS = {lanes: f"llvm.x86.avx512bf16.cvtneps2bf16.{32 * lanes}" for lanes in (8, 16)}
"""By the number of floats."""
_WIDEST = 16
"""Floats of a vector."""
_CONVERSION_OF_TWO = "llvm.x86.avx512bf16.cvtne2ps2bf16.512"
"""Of two vectors, the upper half of the result first."""


def to_bfloat16(emitter: Nested, expr: ToBfloat16) -> Value:
    """The node `ToBfloat16`."""
    lanes = expr.type.lanes
    if not emitter.target.has_bfloat16 or lanes not in (*_CONVERSIONS, 2 * _WIDEST):
        return emitter.value(_rounded(emitter, expr.value))
    x, bits, out = emitter.value(expr.value), llvm_type(DType.I16, lanes), emitter.out
    kind = f"<{lanes} x bfloat>"
    if lanes in _CONVERSIONS:
        narrow = out.call(kind, _CONVERSIONS[lanes], (x.type.text, x.name))
    else:
        places = (range(start, start + _WIDEST) for start in (_WIDEST, 0))
        halves = [out.emit(f"shufflevector {x}, {x.type.text} poison, {mask(place)}") for place in places]
        half = llvm_type(DType.F32, _WIDEST).text
        narrow = out.call(kind, _CONVERSION_OF_TWO, *((half, h) for h in halves))
    return Value(bits, out.emit(f"bitcast {kind} {narrow} to {bits.text}"))


def _rounded(emitter: Nested, value: Expr) -> Expr:
    """The bits, by integer arithmetic."""
    lanes = value.type.lanes

    def number(bits: int) -> Const:
        return Const(bits, DType.I32, lanes)

    x = emitter.let(value)
    bits = emitter.let(Bitcast(x, DType.I32))
    upper = emitter.let(Binary("shr", bits, number(16)))
    nearest = Binary("shr", bits + number(0x7FFF) + Binary("and", upper, number(1)), number(16))
    is_small = Binary("eq", Binary("and", bits, number(0x7F800000)), number(0))
    normal = Select(is_small, Binary("and", upper, number(-0x8000)), nearest)
    return Cast(Select(Binary("ne", x, x), Binary("or", upper, number(0x40)), normal), DType.I16)


def from_bfloat16(emitter: Nested, expr: FromBfloat16) -> Value:
    """The node `FromBfloat16`."""
    wide = Cast(expr.value, DType.I32)
    return emitter.value(Bitcast(Binary("shl", wide, Const(16, DType.I32, expr.type.lanes)), DType.F32))


def dot2_bfloat16(emitter: Nested, expr: Dot2Bfloat16) -> Value:
    """The node `Dot2Bfloat16`."""
    lanes = expr.type.lanes
    if not (emitter.target.has_bfloat16 and lanes in _DOTS):
        return _by_multiply_adds(emitter, expr)
    if emitter.target.has_slow_bfloat16:
        return _by_halves(emitter, expr)
    a, b, c = (emitter.value(operand) for operand in (expr.a, expr.b, expr.c))
    out, pairs = emitter.out, f"<{2 * lanes} x bfloat>"
    left = str(a)
    if a.type.lanes == 2:  # as a float, whose broadcast from memory can be part of the instruction, as its last operand
        word = Value(llvm_type(DType.F32), out.pure(out.depth, f"bitcast {a} to float"))
        left = str(emitter.splat(word, lanes))
    sides = (out.pure(out.depth, f"bitcast {side} to {pairs}") for side in (str(b), left))
    return Value(c.type, out.call(c.type.text, _DOTS[lanes], (c.type.text, c.name), *((pairs, s) for s in sides)))


def _by_multiply_adds(emitter: Nested, expr: Dot2Bfloat16) -> Value:
    """The products of the second elements first, as the instruction has it."""
    a, b, total = (emitter.let(operand) for operand in (expr.a, expr.b, expr.c))
    lanes = expr.type.lanes
    for place in (1, 0):
        left, right = (FromBfloat16(_elements(side, lanes, place)) for side in (a, b))
        total = Fma(left, right, total)
    return emitter.value(total)


def _by_halves(emitter: Nested, expr: Dot2Bfloat16) -> Value:
    """The same of whole vectors of words: shifted, an element is a float; so is the other one without the first."""
    a, b, total = (emitter.value(operand) for operand in (expr.a, expr.b, expr.c))
    out, lanes, kind = emitter.out, expr.type.lanes, total.type.text
    sides = [_words(emitter, side, lanes) for side in (a, b)]
    for take in ("and <{0} x i32> {1}, splat (i32 -65536)", "shl <{0} x i32> {1}, splat (i32 16)"):
        halves = (out.pure(out.depth_of(words), take.format(lanes, words)) for words in sides)
        left, right = (out.pure(out.depth_of(h), f"bitcast <{lanes} x i32> {h} to {kind}") for h in halves)
        total = Value(
            total.type, out.call(kind, f"llvm.fma.{total.type.suffix}", (kind, left), (kind, right), (kind, total.name))
        )
    return total


def _words(emitter: Nested, pairs: Value, lanes: int) -> str:
    """Pairs as words, a single one in every lane."""
    out, count = emitter.out, pairs.type.lanes // 2
    kind = llvm_type(DType.I32, count)
    words = out.pure(out.depth_of(pairs.name), f"bitcast {pairs} to {kind.text}")
    return words if count == lanes else emitter.splat(Value(kind, words), lanes).name


def _elements(pairs: Expr, lanes: int, place: int) -> Expr:
    """Element `place` of each pair; of a single pair in every lane."""
    step = 2 if pairs.type.lanes == 2 * lanes else 0
    return Spread(pairs, lanes, 1, step, place)
