"""Elements of buffers: where they lie in memory or among registers, and how they are loaded and stored."""

from __future__ import annotations

from ....errors import InternalError
from ....loops.ir import Buffer, Expr, Load, Space
from ....targets.target import DotProduct, Target
from ....types import DType
from . import text
from .index import Atom, in_order
from .index_expressions import IndexEmitter
from .text import LLVMType, Value, llvm_type
from .writer import FunctionWriter


class MemoryEmitter(IndexEmitter):
    """Emits addresses, loads and stores into a function; `ExpressionEmitter` adds what is done with elements."""

    def __init__(self, target: Target) -> None:
        super().__init__(target.pointer_bits)
        self.target = target
        self.registers: dict[str, list[str]] = {}
        """Current value of each element of each register buffer."""
        self.pointers: dict[str, str] = {}
        self._strides: dict[str, tuple[int, ...]] = {}

    def address(self, buffer: Buffer, indices: tuple[Expr, ...]) -> str:
        """Pointer to an element: variable terms outermost first, then the constant as displacement."""
        strides = self._strides.get(buffer.name)
        if strides is None:
            strides = self._strides[buffer.name] = _byte_strides(buffer)
        terms: dict[Atom, int] = {}
        constant = sum([self.add_to(terms, i, stride) for i, stride in zip(indices, strides, strict=True)])
        pointer, depth, pure, bits = self.pointers[buffer.name], 0, self.out.pure, self.pointer_bits
        for atom, coefficient in in_order(terms):
            step = self.resized(atom, bits)
            if coefficient != 1:
                step = pure(atom.depth, f"mul i{bits} {step}, {coefficient}")
            depth = max(depth, atom.depth)
            pointer = pure(depth, f"getelementptr inbounds i8, ptr {pointer}, i{bits} {step}")
        if constant:
            pointer = pure(depth, f"getelementptr inbounds i8, ptr {pointer}, i{bits} {constant}")
        return pointer

    def register(self, buffer: Buffer, indices: tuple[Expr, ...]) -> int:
        """Number of a register buffer's element; its indices must be constant by now."""
        flat = 0
        for i, size in zip(indices, buffer.places, strict=True):
            place = self.index(i)
            if place.terms or not 0 <= place.constant < size:
                raise InternalError(f"index of register buffer %{buffer.name} is not a constant within {buffer.shape}")
            flat = flat * size + place.constant
        return flat

    def _is_word(self, buffer: Buffer, lanes: int) -> bool:
        """Four bytes, which LLVM would move one by one where there are no vectors."""
        return self.target.vector_lanes == 1 and lanes == 4 and buffer.dtype.itemsize == 1

    def load(self, expr: Load) -> Value:
        """Elements of a buffer."""
        buffer = expr.buffer
        if buffer.space is Space.REGISTER:
            kind = llvm_type(buffer.dtype, buffer.lanes)
            return Value(kind, self.registers[buffer.name][self.register(buffer, expr.indices)])
        kind = llvm_type(buffer.dtype, expr.lanes)
        stored = text.memory_type(kind)
        pointer = self.address(buffer, expr.indices)
        if self._is_word(buffer, expr.lanes) and stored is kind:
            # LLVM would load the bytes one by one where there are no vectors.
            word = self.out.emit(f"load i32, ptr {pointer}, align 1")
            return Value(kind, self.out.emit(f"bitcast i32 {word} to {kind.text}"))
        is_four = expr.lanes == 4 and buffer.dtype.itemsize == 1 and stored is kind
        if is_four and self.target.dot_product is DotProduct.NEON:
            # LLVM would make a vector of four, which is none of the machine's.
            word = self.opaque(self.out.emit(f"load float, ptr {pointer}, align 1"))
            return Value(kind, self.out.emit(f"bitcast float {word} to {kind.text}"))
        if self.target.has_pairs and expr.lanes * buffer.dtype.itemsize == 8 and expr.lanes > 1:
            return _two_words(self.out, kind, pointer)
        loaded = self.out.emit(f"load {stored.text}, ptr {pointer}, align {buffer.dtype.itemsize}")
        if stored is not kind:  # booleans are bytes in memory
            loaded = self.out.emit(f"icmp ne {stored.text} {loaded}, {text.constant(0, stored)}")
        return Value(kind, loaded)

    def store(self, buffer: Buffer, indices: tuple[Expr, ...], value: Value) -> None:
        """Write elements of a buffer in memory."""
        stored = text.memory_type(value.type)
        if stored is not value.type:  # booleans are bytes in memory
            value = Value(stored, self.out.emit(f"zext {value} to {stored.text}"))
        pointer = self.address(buffer, indices)
        if self._is_word(buffer, value.type.lanes):
            value = Value(llvm_type(DType.I32), self.out.emit(f"bitcast {value} to i32"))
        self.out.line(f"store {value}, ptr {pointer}, align {buffer.dtype.itemsize}")

    def opaque(self, single: str) -> str:
        """A number of single precision of which LLVM doesn't know where it comes from."""
        return self.out.pure(self.out.depth, f'call float asm "", "=w,0"(float {single})')


def _byte_strides(buffer: Buffer) -> tuple[int, ...]:
    """Bytes from one index to the next, for each dimension of a buffer in memory."""
    strides, step = [], buffer.dtype.itemsize
    for size in reversed(buffer.shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def _two_words(out: FunctionWriter, kind: LLVMType, pointer: str) -> Value:
    """Eight bytes at a multiple of four by one instruction, which LLVM makes of volatile loads alone."""
    emit = out.emit
    both = emit(f"load volatile i64, ptr {pointer}, align 4")
    half = llvm_type(kind.dtype, kind.lanes // 2)
    parts = []
    for word in (both, emit(f"lshr i64 {both}, 32")):
        low = emit(f"trunc i64 {word} to i32")
        parts.append(low if half.text == "i32" else emit(f"bitcast i32 {low} to {half.text}"))
    if half.lanes == 1:
        first = emit(f"insertelement {kind.text} poison, {half.text} {parts[0]}, i64 0")
        return Value(kind, emit(f"insertelement {kind.text} {first}, {half.text} {parts[1]}, i64 1"))
    lower, upper = (f"{half.text} {part}" for part in parts)
    return Value(kind, emit(f"shufflevector {lower}, {upper}, {text.mask(range(kind.lanes))}"))
