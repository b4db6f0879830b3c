"""What code for RISC-V does with its stack and whom it calls, read from the instructions of an object.

Encodings are those of the RISC-V Instruction Set Manual, volume I (RV32I and the C extension), relocations those of the
RISC-V ELF psABI. Other ways of setting the stack pointer, and calls through registers, are refused.
"""

from __future__ import annotations

import struct
from bisect import bisect_right

from ..errors import InternalError
from .elf import Elf, Symbol
from .functions import Function, signed

_JUMPS = {17, 18, 19, 45}
"""Relocations of calls and jumps: R_RISCV_JAL, R_RISCV_CALL, R_RISCV_CALL_PLT, R_RISCV_RVC_JUMP."""
_PAIRS = {18, 19}
"""Those of `auipc` and `jalr` together."""
_SP = 2
_RETURN, _SHORT_RETURN, _SHORT_BREAK = 0x00008067, 0x8082, 0x9002
_WRITERS = {0x03, 0x13, 0x17, 0x33, 0x37, 0x67, 0x6F}
"""Opcodes of instructions that give a number to a register."""


def functions(elf: Elf) -> dict[str, Function]:
    """All functions of an object, by name."""
    found: dict[str, Function] = {}
    for number, section in enumerate(elf.sections):
        if section.is_code:
            symbols = sorted((s for s in elf.symbols if s.section == number and s.is_function), key=lambda s: s.value)
            reader = _Reader(elf, number, symbols)
            found.update({symbol.name: reader.read(symbol) for symbol in symbols})
    return found


class _Reader:
    """Reads the functions of one section."""

    def __init__(self, elf: Elf, number: int, symbols: list[Symbol]) -> None:
        self.number = number
        self.code = elf.sections[number].data
        self.symbols = symbols
        self.starts = [s.value for s in symbols]
        jumps = [r for r in elf.relocations(number) if r.kind in _JUMPS]
        self.outside = {r.offset: elf.symbols[r.symbol] for r in jumps}
        self.pairs = {r.offset for r in jumps if r.kind in _PAIRS}

    def read(self, symbol: Symbol) -> Function:
        """Go through the instructions of a function."""
        function, end = Function(symbol.name), symbol.value + symbol.size
        self.known: dict[int, int] = {}
        """Numbers in registers, by the instructions just before."""
        self.base: tuple[int, int] | None = None
        """A register and the address that the instruction before has put there."""
        at = symbol.value
        while at < end:
            (code,) = struct.unpack_from("<H", self.code, at)
            size = 4 if code & 3 == 3 else 2
            if size == 4:
                (code,) = struct.unpack_from("<I", self.code, at)
            function.frame += max(0, -self._raised(function, code, size))
            self._jump(function, symbol, at, code, size)
            at += size
        return function

    def _raised(self, function: Function, code: int, size: int) -> int:
        """What an instruction adds to the stack pointer; remembers numbers that it gives to registers."""
        known, self.known = self.known, {}
        target = code >> 7 & 31
        immediate = signed(code >> 20, 12) if size == 4 else signed((code >> 12 & 1) << 5 | code >> 2 & 31, 6)
        long, short = code & 0x707F, (code & 3, code >> 13)
        if size == 4 and code & 0x7F == 0x37:  # lui
            self.known = {**known, target: signed(code >> 12, 20) << 12}
        elif (long == 0x13 and size == 4) or (short in ((1, 0), (1, 2)) and size == 2):  # addi, c.addi, c.li
            source = code >> 15 & 31 if size == 4 else target if short == (1, 0) else 0
            if target == source == _SP:
                return immediate
            if source == 0 or source in known:
                self.known = {**known, target: known.get(source, 0) + immediate}
        elif size == 2 and short == (1, 3):  # c.lui, and c.addi16sp
            if target == _SP:
                bits = (code >> 12 & 1) << 9 | (code >> 6 & 1) << 4 | (code >> 5 & 1) << 6
                return signed(bits | (code >> 3 & 3) << 7 | (code >> 2 & 1) << 5, 10)
            self.known = {**known, target: immediate << 12}
        elif size == 4 and code & 0xFE0FFFFF == 0x40010133 and code >> 20 & 31 in known:  # sub sp, sp, r
            return -known[code >> 20 & 31]
        elif size == 2 and code & 0xFF83 == 0x9102 and code >> 2 & 31 in known:  # c.add sp, r
            return known[code >> 2 & 31]
        if target == _SP and (code & 0x7F in _WRITERS if size == 4 else code & 0xEF83 == 0x8102):
            raise InternalError(f"{function.name} sets the stack pointer to a number that isn't known")
        return 0

    def _jump(self, function: Function, symbol: Symbol, at: int, code: int, size: int) -> None:
        start, end = symbol.value, symbol.value + symbol.size
        if at in self.outside or at - 4 in self.pairs:
            other = self.outside[at if at in self.outside else at - 4]
            if other.section != self.number or other.is_function or not start <= other.value < end:
                function.calls.add(other.name)
            return
        base, self.base = self.base, None
        if size == 4 and code & 0x7F == 0x17:  # auipc
            self.base = (code >> 7 & 31, at + (signed(code >> 12, 20) << 12))
            return
        target = _target(code, size)
        if size == 4 and code & 0x7F == 0x67 and code != _RETURN:  # jalr
            if base is None or base[0] != code >> 15 & 31:
                raise InternalError(f"{function.name} jumps to an address that it computes")
            target = base[1] + signed(code >> 20, 12) - at
        if size == 2 and code & 0xE07F == 0x8002 and code not in (_SHORT_RETURN, _SHORT_BREAK):  # c.jr, c.jalr
            raise InternalError(f"{function.name} jumps to an address that it computes")
        if target is None or start < at + target < end:
            return
        place = bisect_right(self.starts, at + target) - 1
        if place < 0 or self.starts[place] != at + target:
            raise InternalError(f"{function.name} jumps into the middle of a function")
        function.calls.add(self.symbols[place].name)


def _target(code: int, size: int) -> int | None:
    """Where an instruction jumps, from its own address."""
    if size == 4 and code & 0x7F == 0x6F:  # jal
        bits = (code >> 31) << 20 | (code >> 12 & 0xFF) << 12 | (code >> 20 & 1) << 11 | (code >> 21 & 0x3FF) << 1
        return signed(bits, 21)
    if size == 2 and code & 3 == 1 and code >> 13 in (1, 5):  # c.jal, c.j
        bits = (code >> 12 & 1) << 11 | (code >> 11 & 1) << 4 | (code >> 9 & 3) << 8 | (code >> 8 & 1) << 10
        bits |= (code >> 7 & 1) << 6 | (code >> 6 & 1) << 7 | (code >> 3 & 7) << 1 | (code >> 2 & 1) << 5
        return signed(bits, 12)
    return None
