"""Tile registers of x86 (AMX): which ones a kernel's tiles get, how they are configured, and what is done with them.

Numbers and shapes are known here, so that LLVM has nothing to allocate. A configuration gives each register its rows
and bytes of a row; loading one takes as long as fifteen products. So there is one for the whole kernel, if the tiles of
all its blocks can share eight registers, else one for each block that allocates tiles. Source: Intel's Architecture
Instruction Set Extensions Programming Reference, chapter 3.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ....errors import InternalError
from ....loops.ir import Allocate, Buffer, For, If, Space, Stmt, TileDot2Bfloat16, TileProduct
from ....types import DType
from .writer import FunctionWriter

REGISTERS = 8
_SIGNS = {DType.I8: "s", DType.U8: "u"}

Shape = tuple[int, int]
"""Rows, and bytes of a row."""


def shape_of(buffer: Buffer) -> Shape:
    """The shape of a buffer's tiles."""
    return buffer.shape[-1], buffer.lanes * buffer.dtype.itemsize


@dataclass(frozen=True, slots=True)
class Configuration:
    """The shapes of registers, in order."""

    shapes: tuple[Shape, ...]

    @classmethod
    def of(cls, counts: Counter[Shape]) -> Configuration:
        """So many registers of each shape."""
        return cls(tuple(counts.elements()))

    def numbers(self, buffers: Sequence[Buffer]) -> dict[str, list[int]]:
        """Registers for the tiles of buffers, by name."""
        free = {shape: [n for n, own in enumerate(self.shapes) if own == shape] for shape in set(self.shapes)}
        return {b.name: [free[shape_of(b)].pop(0) for _ in range(math.prod(b.places))] for b in buffers}

    @property
    def words(self) -> tuple[int, ...]:
        """As memory of eight 64-bit words: palette 1, then bytes of a row at 16, rows at 48."""
        memory = bytearray(64)
        memory[0] = 1
        for n, (rows, width) in enumerate(self.shapes):
            memory[16 + 2 * n : 18 + 2 * n] = width.to_bytes(2, "little")
            memory[48 + n] = rows
        return tuple(int.from_bytes(memory[at : at + 8], "little", signed=True) for at in range(0, 64, 8))


def tiles_of(body: Sequence[Stmt]) -> list[Buffer]:
    """The buffers of tiles that a block itself allocates."""
    return [s.buffer for s in body if isinstance(s, Allocate) and s.buffer.space is Space.TILE]


def shared_configuration(body: Sequence[Stmt]) -> Configuration | None:
    """One for all blocks, if there are enough registers."""
    needed: Counter[Shape] = Counter()
    for buffers in _blocks(body):
        needed |= _counts(buffers)
    return Configuration.of(needed) if 0 < needed.total() <= REGISTERS else None


def own_configuration(buffers: Sequence[Buffer]) -> Configuration:
    """One for the tiles of a block."""
    counts = _counts(buffers)
    if counts.total() > REGISTERS:
        raise InternalError(f"code generation: {counts.total()} tiles don't fit {REGISTERS} registers")
    return Configuration.of(counts)


def _counts(buffers: Sequence[Buffer]) -> Counter[Shape]:
    counts: Counter[Shape] = Counter()
    for buffer in buffers:
        counts[shape_of(buffer)] += math.prod(buffer.places)
    return counts


def _blocks(body: Sequence[Stmt]) -> Iterator[list[Buffer]]:
    """The tiles of all blocks that allocate some."""
    if own := tiles_of(body):
        yield own
    for s in body:
        if isinstance(s, For):
            yield from _blocks(s.body)
        elif isinstance(s, If):
            yield from _blocks(s.then)
            yield from _blocks(s.otherwise)


# ---- instructions ----------------------------------------------------------------------------------------------------


def configure(out: FunctionWriter, configuration: Configuration) -> None:
    """Load a configuration, which clears all registers; its memory is filled where the function begins."""
    memory = out.fresh("%shapes")
    out.entry.append(f"  {memory} = alloca [8 x i64], align 64")
    for n, word in enumerate(configuration.words):
        place = out.fresh("%word")
        out.entry.append(f"  {place} = getelementptr inbounds i8, ptr {memory}, i64 {8 * n}")
        out.entry.append(f"  store i64 {word}, ptr {place}, align 8")
    out.line(f"call void @llvm.x86.ldtilecfg(ptr {memory})")


def release(out: FunctionWriter) -> None:
    """Give the registers back: threads that are switched are quicker without."""
    out.line("call void @llvm.x86.tilerelease()")


def clear(out: FunctionWriter, number: int) -> None:
    """Zeros."""
    out.line(f"call void @llvm.x86.tilezero(i8 {number})")


def load(out: FunctionWriter, number: int, pointer: str, pitch: int) -> None:
    """Rows from memory that begin `pitch` bytes after each other."""
    out.line(f"call void @llvm.x86.tileloadd64(i8 {number}, ptr {pointer}, i64 {pitch})")


def store(out: FunctionWriter, number: int, pointer: str, pitch: int) -> None:
    """Rows to memory."""
    out.line(f"call void @llvm.x86.tilestored64(i8 {number}, ptr {pointer}, i64 {pitch})")


def multiply(out: FunctionWriter, product: TileProduct, a: int, b: int, c: int) -> None:
    """Products of two tiles, added to a third one."""
    if isinstance(product, TileDot2Bfloat16):
        name = "tdpbf16ps"
    else:
        name = "tdpb" + "".join(_SIGNS[side.type.dtype] for side in (product.a, product.b)) + "d"
    out.line(f"call void @llvm.x86.{name}(i8 {c}, i8 {a}, i8 {b})")
