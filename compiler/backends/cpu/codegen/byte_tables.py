"""Bytes from tables of 256: the instruction that chooses among two registers, twice, or one byte after the other."""

from __future__ import annotations

from ....types import DType
from .emission import Emission
from .text import LLVMType, Value, constant, llvm_type, mask

_REGISTER = 64
"""Bytes of a register."""
_INTRINSIC = "llvm.x86.avx512.vpermi2var.qi.512"


def pick(emitter: Emission, table: Value, places: Value) -> Value:
    """The node `Pick`."""
    kind = llvm_type(table.type.dtype, places.type.lanes)
    if not emitter.target.has_byte_tables or not 1 < kind.lanes <= _REGISTER:
        return _one_by_one(emitter, table, places, kind)
    out, whole = emitter.out, llvm_type(table.type.dtype, _REGISTER)
    wide = _lanes(emitter, places, 0, kind.lanes, _REGISTER)
    quarters = [_lanes(emitter, table, i * _REGISTER, _REGISTER, _REGISTER) for i in range(4)]
    halves = [
        out.call(whole.text, _INTRINSIC, *((whole.text, v) for v in (quarters[2 * i], wide, quarters[2 * i + 1])))
        for i in range(2)
    ]
    is_upper = out.emit(f"icmp slt {whole.text} {wide}, {constant(0, whole)}")
    bits = llvm_type(DType.BOOL, _REGISTER).text
    found = out.emit(f"select {bits} {is_upper}, {whole.text} {halves[1]}, {whole.text} {halves[0]}")
    return Value(kind, _lanes(emitter, Value(whole, found), 0, kind.lanes, kind.lanes))


def _lanes(emitter: Emission, vector: Value, start: int, count: int, width: int) -> str:
    """`count` lanes of a vector from `start` on as one of `width` lanes."""
    places = mask(start + i if i < count else None for i in range(width))
    return emitter.out.emit(f"shufflevector {vector}, {vector.type.text} poison, {places}")


def _one_by_one(emitter: Emission, table: Value, places: Value, kind: LLVMType) -> Value:
    out, whole = emitter.out, "poison"
    if kind.lanes == 1:
        place = out.emit(f"zext {places} to i64")
        return Value(kind, out.emit(f"extractelement {table}, i64 {place}"))
    for i in range(kind.lanes):
        one = out.emit(f"extractelement {places}, i64 {i}")
        place = out.emit(f"zext i8 {one} to i64")
        byte = out.emit(f"extractelement {table}, i64 {place}")
        whole = out.emit(f"insertelement {kind.text} {whole}, i8 {byte}, i64 {i}")
    return Value(kind, whole)
