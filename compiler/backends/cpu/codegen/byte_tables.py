"""Entries of tables of 256: bytes by instructions that take them from one register or two, or one after the other.

Words of four bytes are gathered from memory, by LLVM's intrinsic, which becomes single loads where a machine has none;
where that takes longer, they are taken from pairs of registers.
"""

from __future__ import annotations

from ....loops.ir import Expr, Load, Pick, Space
from ....loops.lane_nodes import TABLE
from ....targets.target import ByteTables
from ....types import DType
from .emission import Emission, Nested
from .text import LLVMType, Value, constant, llvm_type, mask

_REGISTER = 64
"""Bytes of a register."""
_INTRINSIC = "llvm.x86.avx512.vpermi2var.qi.512"
_WORDS = 16
"""Words of a register."""
_SHORT = 32
"""Bytes of a register whose halves take bytes from 16 each."""
_SIXTEEN = 16


def pick(emitter: Nested, expr: Pick) -> Value:
    """The node `Pick`."""
    source, places = emitter.target.byte_tables, emitter.value(expr.places)
    kind = llvm_type(expr.table.type.dtype, places.type.lanes)
    if isinstance(expr.table, Load) and kind.lanes == 1:
        return _loaded(emitter, expr.table, places, kind)
    if isinstance(expr.table, Load) and kind.dtype is DType.I32:
        is_constant = expr.table.buffer.space is Space.ARGUMENT
        if emitter.target.gathers_slowly and kind.lanes == _WORDS and is_constant:
            return _among_words(emitter, expr.table, places, kind)
        return _gathered(emitter, expr.table, places, kind)
    if source is ByteTables.SIXTEENS and 1 < kind.lanes <= _SHORT:
        return _among_sixteens(emitter, expr.table, places, kind)
    table = emitter.value(expr.table)
    if source is ByteTables.PAIRS_OF_64 and 1 < kind.lanes <= _REGISTER:
        return _among_pairs(emitter, table, places, kind)
    return _one_by_one(emitter, table, places, kind)


def _loaded(emitter: Nested, table: Load, places: Value, kind: LLVMType) -> Value:
    """One entry from memory."""
    out, pointer = emitter.out, emitter.address(table.buffer, table.indices)
    place = out.emit(f"getelementptr inbounds {kind.text}, ptr {pointer}, i64 {out.emit(f'zext {places} to i64')}")
    return Value(kind, out.emit(f"load {kind.text}, ptr {place}, align {kind.dtype.itemsize}"))


def _gathered(emitter: Nested, table: Load, places: Value, kind: LLVMType) -> Value:
    """Words from memory."""
    out, lanes, pointer = emitter.out, kind.lanes, emitter.address(table.buffer, table.indices)
    wide = out.emit(f"zext {places} to <{lanes} x i32>")
    pointers = out.emit(f"getelementptr inbounds i32, ptr {pointer}, <{lanes} x i32> {wide}")
    true, operands = constant(1, llvm_type(DType.BOOL, lanes)), f"<{lanes} x ptr> {pointers}, i32 4"
    intrinsic = f"@llvm.masked.gather.{kind.suffix}.v{lanes}p0"
    return Value(kind, out.emit(f"call {kind.text} {intrinsic}({operands}, <{lanes} x i1> {true}, {kind.text} poison)"))


def _among_words(emitter: Nested, table: Load, places: Value, kind: LLVMType) -> Value:
    """Two registers of 16 words at a time; the bits of a place from the sixth on choose among these."""
    out, (*outer, first) = emitter.out, table.indices
    wide = out.emit(f"zext {places} to {kind.text}")
    pointers = [emitter.address(table.buffer, (*outer, first + i)) for i in range(0, TABLE, _WORDS)]
    # Loaded once, ahead of all loops: a kernel doesn't write its arguments.
    parts = [out.pure(out.depth_of(p), f"load {kind.text}, ptr {p}, align {kind.dtype.itemsize}") for p in pointers]
    found = [
        out.call(kind.text, "llvm.x86.avx512.vpermi2var.d.512", *((kind.text, v) for v in (low, wide, high)))
        for low, high in zip(parts[::2], parts[1::2], strict=True)
    ]
    bits, bit = llvm_type(DType.BOOL, kind.lanes).text, 2 * _WORDS
    while len(found) > 1:
        one = out.emit(f"and {kind.text} {wide}, {constant(bit, kind)}")
        is_upper = out.emit(f"icmp ne {kind.text} {one}, {constant(0, kind)}")
        pairs = zip(found[::2], found[1::2], strict=True)
        found = [out.emit(f"select {bits} {is_upper}, {kind.text} {b}, {kind.text} {a}") for a, b in pairs]
        bit *= 2
    return Value(kind, found[0])


def _among_sixteens(emitter: Nested, table: Expr, places: Value, kind: LLVMType) -> Value:
    """The lower half of a place takes a byte from each part of 16; its bits from the fifth on choose among these."""
    out, whole, words = emitter.out, llvm_type(kind.dtype, _SHORT), llvm_type(DType.I16, _SHORT // 2)
    wide = _lanes(emitter, places, 0, kind.lanes, _SHORT)
    low = out.emit(f"and {whole.text} {wide}, {constant(_SIXTEEN - 1, whole)}")
    pairs = out.emit(f"bitcast {whole.text} {wide} to {words.text}")
    bits: list[str] = []
    for left in (3, 2, 1, 0):  # the bit that chooses becomes the uppermost one of its byte
        moved = out.emit(f"shl {words.text} {pairs}, {constant(left, words)}") if left else pairs
        bits.append(out.emit(f"bitcast {words.text} {moved} to {whole.text}"))

    def found(start: int, level: int) -> str:
        """What bytes from `start` on have, chosen by so many bits: one after the other, as there are few registers."""
        if not level:
            part = _twice(emitter, table, start)
            return out.call(whole.text, "llvm.x86.avx2.pshuf.b", (whole.text, part), (whole.text, low))
        lower, upper = found(start, level - 1), found(start + (_SIXTEEN << (level - 1)), level - 1)
        sides = ((whole.text, v) for v in (lower, upper, bits[level - 1]))
        return out.call(whole.text, "llvm.x86.avx2.pblendvb", *sides)

    return Value(kind, _lanes(emitter, Value(whole, found(0, len(bits))), 0, kind.lanes, kind.lanes))


def _twice(emitter: Nested, table: Expr, start: int) -> str:
    """16 bytes of a table in both halves of a register; of one in memory they are loaded so."""
    places, emit = (i % _SIXTEEN for i in range(_SHORT)), emitter.out.emit
    if not isinstance(table, Load):
        whole = emitter.value(table)
        return emit(f"shufflevector {whole}, {whole.type.text} poison, {mask(start + i for i in places)}")
    *outer, first = table.indices
    part = emitter.value(Load(table.buffer, (*outer, first + start), _SIXTEEN))
    return emit(f"shufflevector {part}, {part.type.text} poison, {mask(places)}")


def _among_pairs(emitter: Emission, table: Value, places: Value, kind: LLVMType) -> Value:
    """Two registers of 64 bytes at a time."""
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
