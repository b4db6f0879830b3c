"""What Thumb code does with its stack and whom it calls, read from the instructions of an object.

Encodings are those of the Armv8-M Architecture Reference Manual (DDI 0553), part C. Each way of lowering the stack
pointer that LLVM uses is known; others, and calls through registers, are refused.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator

from ..errors import InternalError
from .elf import Elf, Symbol
from .functions import Function, signed

_CALLS = {10, 30, 51}
"""Relocations of calls and jumps: R_ARM_THM_CALL, R_ARM_THM_JUMP24, R_ARM_THM_JUMP19."""


def functions(elf: Elf) -> dict[str, Function]:
    """All functions of an object, by name."""
    found: dict[str, Function] = {}
    for number, section in enumerate(elf.sections):
        if not section.is_code:
            continue
        symbols = sorted((s for s in elf.symbols if s.section == number and s.is_function), key=lambda s: s.value)
        reader = _Reader(elf, number, symbols)
        for symbol in symbols:
            found[symbol.name] = reader.read(symbol)
    return found


class _Reader:
    """Reads the functions of one section."""

    def __init__(self, elf: Elf, number: int, symbols: list[Symbol]) -> None:
        self.code = elf.sections[number].data
        self.starts = [s.value & ~1 for s in symbols]
        self.symbols = symbols
        marks = [s for s in elf.symbols if s.section == number and s.name[:2] in ("$t", "$d")]
        self.marks = sorted((s.value & ~1, s.name[:2] == "$t") for s in marks)
        self.outside = {r.offset: elf.symbols[r.symbol] for r in elf.relocations(number) if r.kind in _CALLS}

    def read(self, symbol: Symbol) -> Function:
        """Go through the instructions of a function."""
        function, start = Function(symbol.name), symbol.value & ~1
        self.literals: dict[int, int] = {}
        self.aligns = 0
        for at in self._instructions(start, start + symbol.size):
            (first,) = struct.unpack_from("<H", self.code, at)
            if first >> 11 in (0b11101, 0b11110, 0b11111):
                (second,) = struct.unpack_from("<H", self.code, at + 2)
                function.frame += self._long_frame(first, second)
                target = _long_jump(first, second)
                if _is_long_indirect(first, second):
                    raise InternalError(f"{symbol.name} jumps to an address that it computes")
            else:
                function.frame += self._short_frame(symbol.name, at, first)
                target = _short_jump(first)
                if first & 0xFF87 in (0x4780, 0x4687, 0x4487) or (first & 0xFF87 == 0x4700 and first != 0x4770):
                    raise InternalError(f"{symbol.name} jumps to an address that it computes")
            if target is not None:
                self._jump(function, at, at + 4 + target, start, start + symbol.size)
        return function

    def _instructions(self, start: int, end: int) -> Iterator[int]:
        """Offsets of instructions; data between them is left out."""
        at = start
        while at < end:
            mark = bisect_right(self.marks, (at, True)) - 1
            if mark >= 0 and not self.marks[mark][1]:
                at = self.marks[mark + 1][0] if mark + 1 < len(self.marks) else end
                continue
            yield at
            (first,) = struct.unpack_from("<H", self.code, at)
            at += 4 if first >> 11 in (0b11101, 0b11110, 0b11111) else 2

    def _jump(self, function: Function, at: int, target: int, start: int, end: int) -> None:
        if at in self.outside:
            function.calls.add(self.outside[at].name)
        elif not start <= target < end:
            place = bisect_right(self.starts, target) - 1
            if place < 0 or self.starts[place] != target:
                raise InternalError(f"{function.name} jumps into the middle of a function")
            function.calls.add(self.symbols[place].name)
        elif target == start:
            raise InternalError(f"{function.name} calls itself")

    def _short_frame(self, name: str, at: int, code: int) -> int:
        """Bytes by which an instruction of 16 bits lowers the stack pointer."""
        if code & 0xFE00 == 0xB400:  # push
            return 4 * (code & 0x1FF).bit_count()
        if code & 0xFF80 == 0xB080:  # sub sp, #
            return 4 * (code & 0x7F)
        if code >> 11 == 0b01001:  # ldr r, [pc, #]
            (number,) = struct.unpack_from("<i", self.code, (at + 4 & ~3) + 4 * (code & 0xFF))
            self.literals[code >> 8 & 7] = number
        if code & 0xFF87 == 0x4485:  # add sp, r
            register = code >> 3 & 15
            if register not in self.literals:
                raise InternalError(f"{name} lowers the stack pointer by a number that isn't known")
            return max(0, -self.literals[register])
        if code & 0xFF87 == 0x4685 and not self.aligns:  # mov sp, r: only where the stack is aligned
            raise InternalError(f"{name} sets the stack pointer to a number that isn't known")
        return 0

    def _long_frame(self, first: int, second: int) -> int:
        """Bytes by which an instruction of 32 bits lowers the stack pointer."""
        if first == 0xE92D:  # push.w
            return 4 * second.bit_count()
        if first & 0xFFBF == 0xED2D:  # vpush
            return 4 * (second & 0xFF)
        if first == 0xF84D and second & 0xF00 == 0xD00:  # str r, [sp, #-]!
            return second & 0xFF
        if first == 0xE96D:  # strd r, r, [sp, #-]!
            return 4 * (second & 0xFF)
        if first & 0xFBEF == 0xF1AD and second & 0x8F00 == 0x0D00:  # sub.w sp, sp, #
            return _immediate(_twelve(first, second))
        if first & 0xFBFF == 0xF2AD and second & 0x8F00 == 0x0D00:  # subw sp, sp, #
            return _twelve(first, second)
        if first == 0xF36F and second & 0x70C0 == 0 and not self.aligns:  # bfc r, #0, #n: for mov sp, r
            self.aligns = 1 << ((second & 31) + 1)
            return self.aligns - 4
        return 0


def _twelve(first: int, second: int) -> int:
    """The 12 bits of an immediate operand."""
    return (first >> 10 & 1) << 11 | (second >> 12 & 7) << 8 | second & 0xFF


def _immediate(bits: int) -> int:
    """The number that 12 bits stand for (ThumbExpandImm)."""
    low, kind = bits & 0xFF, bits >> 8 & 3
    if bits >> 10 == 0:
        return (low, low * 0x00010001, low * 0x01000100, low * 0x01010101)[kind]
    rotated, places = 0x80 | bits & 0x7F, bits >> 7
    return (rotated >> places | rotated << (32 - places)) & 0xFFFFFFFF


def _short_jump(code: int) -> int | None:
    """Where an instruction of 16 bits jumps, from the address after the next one."""
    if code >> 11 == 0b11100:
        return signed(code & 0x7FF, 11) * 2
    if code >> 12 == 0b1101 and code >> 8 & 15 < 14:
        return signed(code & 0xFF, 8) * 2
    return None


def _long_jump(first: int, second: int) -> int | None:
    """The same of one of 32 bits: calls and jumps."""
    if first >> 11 != 0b11110 or not second & 0x8000:
        return None
    sign, one, two = first >> 10 & 1, second >> 13 & 1, second >> 11 & 1
    if second & 0x1000:
        bits = sign << 23 | (one ^ sign ^ 1) << 22 | (two ^ sign ^ 1) << 21 | (first & 0x3FF) << 11 | second & 0x7FF
        return signed(bits, 24) * 2
    if second & 0x4000 or first >> 7 & 7 == 7:  # a barrier or the like
        return None
    return signed(sign << 19 | two << 18 | one << 17 | (first & 0x3F) << 11 | second & 0x7FF, 20) * 2


def _is_long_indirect(first: int, second: int) -> bool:
    """True for loads into pc, but for those that return from the function."""
    loads = first & 0xFF70 in (0xF850, 0xF870) or first & 0xFFF0 == 0xF8D0
    return loads and second >> 12 == 15 and first & 15 != 13
