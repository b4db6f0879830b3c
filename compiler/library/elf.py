"""Reading object files in ELF, of 32 and 64 bits, little-endian: sections and symbols.

The layout is that of the System V ABI (gABI 4.1, chapter 4).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ..errors import InternalError

ARM, RISCV = 40, 243
"""Machines."""
_SYMBOL_TABLE, _ADDENDS, _NO_BITS, _RELOCATIONS = 2, 4, 8, 9
_ALLOCATED, _WRITABLE, _EXECUTABLE = 2, 1, 4
_FUNCTION = 2


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the file. `data` is empty where it holds zeros only."""

    name: str
    kind: int
    flags: int
    address: int
    size: int
    data: bytes
    link: int
    info: int

    @property
    def is_loaded(self) -> bool:
        """True if it is in memory when the program runs."""
        return bool(self.flags & _ALLOCATED)

    @property
    def is_code(self) -> bool:
        """True if it holds instructions."""
        return self.is_loaded and bool(self.flags & _EXECUTABLE)

    @property
    def is_writable(self) -> bool:
        """True if it must lie in RAM."""
        return self.is_loaded and bool(self.flags & _WRITABLE)


@dataclass(frozen=True, slots=True)
class Symbol:
    """A name. `section` is the number of its section, 0 for what is defined elsewhere."""

    name: str
    value: int
    size: int
    section: int
    is_function: bool
    is_local: bool = False
    """Other files don't mean this when they use its name."""


@dataclass(frozen=True, slots=True)
class Relocation:
    """A place where the address of a symbol goes; `symbol` is its number."""

    offset: int
    kind: int
    symbol: int
    addend: int = 0


@dataclass(frozen=True, slots=True)
class Elf:
    """An object file or program."""

    machine: int
    """The number of the processor's architecture."""
    is_wide: bool
    """Of 64 bits."""
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]

    @property
    def undefined(self) -> tuple[str, ...]:
        """Names that something else must define."""
        return tuple(sorted(s.name for s in self.symbols if not s.section and s.name))

    def relocations(self, section: int) -> tuple[Relocation, ...]:
        """Places of a section where addresses of symbols go."""
        tables = [s for s in self.sections if s.info == section]
        forms = {_RELOCATIONS: "<QQ", _ADDENDS: "<QQq"} if self.is_wide else {_RELOCATIONS: "<II", _ADDENDS: "<IIi"}
        bits = 32 if self.is_wide else 8
        entries = (e for t in tables if t.kind in forms for e in struct.iter_unpack(forms[t.kind], t.data))
        return tuple(Relocation(at, info & ((1 << bits) - 1), info >> bits, *rest) for at, info, *rest in entries)

    @classmethod
    def read(cls, data: bytes) -> Elf:
        """The file as data; raises `InternalError` for anything else."""
        if data[:4] != b"\x7fELF" or data[5] != 1:
            raise InternalError("this is no little-endian ELF file")
        wide = data[4] == 2
        sections = _sections(data, wide)
        tables = [s for s in sections if s.kind == _SYMBOL_TABLE]
        symbols = tuple(symbol for t in tables for symbol in _symbols(t, sections[t.link].data, wide))
        return cls(int.from_bytes(data[18:20], "little"), wide, sections, symbols)


def is_cut_off(data: bytes) -> bool:
    """True for an ELF file that is shorter than its head and its sections say; loading one can end the process."""
    try:
        sections = _sections(data, data[4] == 2)
    except (struct.error, IndexError, ValueError):
        return True
    return any(s.kind != _NO_BITS and len(s.data) < s.size for s in sections)


def _text(strings: bytes, at: int) -> str:
    return strings[at : strings.index(b"\0", at)].decode("utf-8", "replace")


def _sections(data: bytes, wide: bool) -> tuple[Section, ...]:
    (start,) = struct.unpack_from("<Q" if wide else "<I", data, 0x28 if wide else 0x20)
    width, count, names = struct.unpack_from("<HHH", data, 0x3A if wide else 0x2E)
    form = "<IIQQQQII" if wide else "<IIIIIIII"
    heads = [struct.unpack_from(form, data, start + i * width) for i in range(count)]
    strings = data[heads[names][4] :] if count else b""
    sections = []
    for name, kind, flags, address, at, size, link, info in heads:
        held = b"" if kind == _NO_BITS else data[at : at + size]
        sections.append(Section(_text(strings, name), kind, flags, address, size, held, link, info))
    return tuple(sections)


def _symbols(table: Section, strings: bytes, wide: bool) -> list[Symbol]:
    found = []
    for entry in struct.iter_unpack("<IBBHQQ" if wide else "<IIIBBH", table.data):
        name, info, _, section, value, size = entry if wide else (entry[0], *entry[3:], *entry[1:3])
        found.append(Symbol(_text(strings, name), value, size, section, info & 15 == _FUNCTION, not info >> 4))
    return found
