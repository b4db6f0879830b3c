"""Objects linked into one image, which needs no linker any more: saved programs hold it.

Known is what LLVM writes for netc's kernels on x86-64: code and constants that are named relative to where they are
used, and calls of functions, of which those of the C library go through slots. Source: System V ABI, AMD64 supplement,
4.4.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from ....errors import InternalError
from ....image import PAGE, Image
from ....library.elf import Elf, Relocation, Section

_X86_64 = 62
_PC32, _PLT32 = 2, 4
_JUMP = b"\xff\x25"
"""Jump to the address that stands so far behind the instruction: `jmp *slot(%rip)`."""
_JUMP_BYTES = 8
_BOUNDARY = 64
"""Sections begin at a cache line, and so at what any of their constants wants."""


def link(objects: Sequence[bytes], symbols: Sequence[str]) -> Image | None:
    """One image of objects that call each other; None for other processors and for what isn't known here.

    Raises `InternalError` if one of the symbols isn't there.
    """
    files = [Elf.read(data) for data in objects]
    if any(file.machine != _X86_64 for file in files) or any(map(_is_writable, files)):
        return None
    layout = _Layout(files)
    if any(each not in layout.exports for each in symbols):
        raise InternalError(f"compiled code lacks one of {', '.join(symbols)}")
    code = layout.linked()
    return None if code is None else Image(code, layout.slots, {name: layout.exports[name] for name in symbols})


def _is_writable(file: Elf) -> bool:
    return any(section.is_writable and section.size for section in file.sections)


def _is_kept(section: Section) -> bool:
    return section.is_loaded and section.name != ".eh_frame"


class _Layout:
    """Where everything lies: sections, jumps to other libraries, and behind the code the slots."""

    def __init__(self, files: Sequence[Elf]) -> None:
        self.files = files
        self.exports: dict[str, int] = {}
        """Where what the objects define for each other and for others lies."""
        self._places: dict[tuple[int, int], int] = {}
        end = 0
        for number, file in enumerate(files):
            for index, section in enumerate(file.sections):
                if _is_kept(section):
                    self._places[number, index] = end
                    end += -(-section.size // _BOUNDARY) * _BOUNDARY
            for symbol in file.symbols:
                if not symbol.is_local and (number, symbol.section) in self._places:
                    self.exports[symbol.name] = self._places[number, symbol.section] + symbol.value
        self.slots = tuple(sorted({name for file in files for name in file.undefined} - self.exports.keys()))
        self._jumps = {name: end + i * _JUMP_BYTES for i, name in enumerate(self.slots)}
        self.size = -(-(end + len(self.slots) * _JUMP_BYTES) // PAGE) * PAGE

    def linked(self) -> bytes | None:
        """The code with all places filled; None where something in it isn't known."""
        code = bytearray(self.size)
        for (number, index), start in self._places.items():
            section = self.files[number].sections[index]
            code[start : start + len(section.data)] = section.data
            for place in self.files[number].relocations(index):
                target = self._target(number, place)
                if target is None:
                    return None
                at = start + place.offset
                struct.pack_into("<i", code, at, target + place.addend - at)
        for slot, at in enumerate(self._jumps.values()):
            code[at : at + len(_JUMP)] = _JUMP
            struct.pack_into("<i", code, at + len(_JUMP), self.size + 8 * slot - (at + len(_JUMP) + 4))
        return bytes(code)

    def _target(self, number: int, place: Relocation) -> int | None:
        """What a place means: something of these objects, or the jump to a function that it calls."""
        symbol = self.files[number].symbols[place.symbol]
        if place.kind not in (_PC32, _PLT32):
            return None
        if symbol.section:
            start = self._places.get((number, symbol.section))
            return None if start is None else start + symbol.value
        return self.exports.get(symbol.name, self._jumps.get(symbol.name) if place.kind == _PLT32 else None)
