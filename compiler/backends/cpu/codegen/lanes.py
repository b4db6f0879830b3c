"""Vectors made of others: joined, interleaved, spread, and combined to one number."""

from __future__ import annotations

from collections.abc import Iterable

from ....loops.ir import Interleave, Join, PairSums, Reduce, Spread
from . import text
from .emission import Emission, Nested
from .text import LLVMType, Value, llvm_type


def join(emitter: Nested, expr: Join) -> Value:
    """The node `Join`."""
    a, b = emitter.value(expr.a), emitter.value(expr.b)
    return _shuffled(emitter, llvm_type(a.type.dtype, expr.type.lanes), a, b, range(expr.type.lanes))


def pair_sums(emitter: Nested, expr: PairSums) -> Value:
    """The node `PairSums`."""
    a, b = emitter.value(expr.a), emitter.value(expr.b)
    parts = (_shuffled(emitter, a.type, a, b, range(start, 2 * a.type.lanes, 2)) for start in (0, 1))
    return Value(a.type, emitter.arithmetic("add", a.type, *(part.name for part in parts)))


def interleave(emitter: Nested, expr: Interleave) -> Value:
    """The node `Interleave`.

    Vectors are joined end to end in pairs; the last step puts all lanes in order.
    """
    parts = [emitter.value(part) for part in expr.parts]
    lanes, whole = parts[0].type.lanes, llvm_type(expr.type.dtype, expr.type.lanes)
    if lanes == 1:
        vector = "poison"
        for i, part in enumerate(parts):
            vector = emitter.out.emit(f"insertelement {whole.text} {vector}, {part}, i64 {i}")
        return Value(whole, vector)
    while len(parts) > 2:
        double = llvm_type(whole.dtype, 2 * parts[0].type.lanes)
        pairs = zip(parts[::2], parts[1::2], strict=True)
        parts = [_shuffled(emitter, double, a, b, range(double.lanes)) for a, b in pairs]
    first, second = parts
    count = len(expr.parts)
    return _shuffled(emitter, whole, first, second, [j * lanes + i for i in range(lanes) for j in range(count)])


def spread(emitter: Nested, expr: Spread) -> Value:
    """The node `Spread`."""
    value, kind = emitter.value(expr.value), llvm_type(expr.type.dtype, expr.lanes)
    if value.type.lanes == 1:
        return emitter.splat(value, expr.lanes)
    if expr.lanes == 1:
        return Value(kind, emitter.out.emit(f"extractelement {value}, i64 {expr.start}"))
    return _shuffled(emitter, kind, value, Value(value.type, "poison"), expr.places)


def _shuffled(emitter: Emission, kind: LLVMType, a: Value, b: Value, places: Iterable[int]) -> Value:
    """Lanes of two vectors, which count as one after the other, at `places`."""
    return Value(kind, emitter.out.emit(f"shufflevector {a}, {b}, {text.mask(places)}"))


def reduce(emitter: Nested, expr: Reduce) -> Value:
    """The node `Reduce`.

    Halves are combined until one lane is left, so that the order of a sum is the same on every machine.
    """
    kind, x = emitter.value(expr.value)
    lanes = kind.lanes
    while lanes > 1 and lanes % 2 == 0:
        lanes //= 2
        half = llvm_type(kind.dtype, lanes)
        parts = [_lanes(emitter, kind, x, start, lanes) for start in (0, lanes)]
        x, kind = emitter.arithmetic(expr.op, half, *parts), half
    scalar = llvm_type(kind.dtype)
    if lanes == 1:
        return Value(scalar, x)
    parts = [emitter.out.emit(f"extractelement {kind.text} {x}, i64 {i}") for i in range(lanes)]
    total = parts[0]
    for part in parts[1:]:
        total = emitter.arithmetic(expr.op, scalar, total, part)
    return Value(scalar, total)


def _lanes(emitter: Emission, kind: LLVMType, x: str, start: int, count: int) -> str:
    if count == 1:
        return emitter.out.emit(f"extractelement {kind.text} {x}, i64 {start}")
    places = text.mask(range(start, start + count))
    return emitter.out.emit(f"shufflevector {kind.text} {x}, {kind.text} poison, {places}")
