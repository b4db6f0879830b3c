"""From the object file that LLVM writes for WebAssembly to a module that runs: the linking of one object.

An object of one network needs no other: its indices are those of the finished module. What is left to do is to place
its data, to give it a memory, a stack and exports, and to leave out what only linkers read. (The formats: WebAssembly
core specification, "Binary Format"; tool-conventions, "Linking.md".)

The stack lies at the bottom of the memory, so that a stack that is too small traps in place of overwriting data. What
is above `heap` is the caller's, who makes the memory as large as workspace, weights and tensors ask for.

For workers the memory is shared: each worker makes an instance of its own, of the same memory, and gives it a stack of
its own. Instances write data to the same places; it is the same data, as all of it is constant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..errors import InternalError
from .interface import ALIGNMENT

STACK_BYTES = 1 << 18
"""Kernels hold small tiles on the stack."""
PAGE = 1 << 16

_MAGIC = b"\0asm\1\0\0\0"
_CUSTOM, _TYPE, _IMPORT, _FUNCTION, _TABLE, _MEMORY, _GLOBAL, _EXPORT = range(8)
_CODE, _DATA = 10, 11
_FUNCTION_KIND, _TABLE_KIND, _MEMORY_KIND, _GLOBAL_KIND = range(4)
_I32, _MUTABLE = 0x7F, 1
_SHARED = 3
"""Limits of a memory that has a maximum and that several instances use at a time."""
_MOST_PAGES = 1 << 16
_I32_CONST, _END = 0x41, 0x0B
_SYMBOL_TABLE = 8
_FUNCTION_SYMBOL, _DATA_SYMBOL, _SECTION_SYMBOL = 0, 1, 3
_UNDEFINED, _EXPLICIT_NAME = 0x10, 0x40
_INDICES = (0, 6, 7)
"""Relocations of functions, types and globals."""
_ADDRESS_I32 = 5
_ADDRESSES = (3, 4, _ADDRESS_I32)
"""Relocations of addresses of data: unsigned and signed in five bytes, and as they lie in data."""
_STACK_POINTER = "__stack_pointer"


@dataclass(slots=True)
class _Reader:
    """Bytes that are read from the front."""

    data: bytes
    at: int = 0

    def number(self) -> int:
        """An unsigned number in LEB128."""
        total = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            total |= (byte & 0x7F) << shift
            if byte < 0x80:
                return total
            shift += 7

    def signed(self) -> int:
        """A signed number in LEB128."""
        start = self.at
        value = self.number()
        bits = 7 * (self.at - start)
        return value - (1 << bits) if value >> (bits - 1) else value

    def take(self, count: int) -> bytes:
        self.at += count
        return self.data[self.at - count : self.at]

    def name(self) -> str:
        return self.take(self.number()).decode()

    @property
    def more(self) -> bool:
        return self.at < len(self.data)


@dataclass(frozen=True, slots=True)
class Linked:
    """A module, and the first address behind its stack and its data."""

    code: bytes
    heap: int


def link(code: bytes, exports: Sequence[str], stack_bytes: int = STACK_BYTES, *, shared: bool = False) -> Linked:
    """A module of an object; it exports functions by their names, and its memory as `memory`.

    With a `shared` memory it imports that as `env.memory`, and exports the pointer to its stack as `stack`. Data that
    no code reads is left out. Raises `InternalError` for an object that needs something of its surroundings.
    """
    sections = dict(_sections(code))
    functions = _imports(sections.get(_IMPORT, b"\0"))
    if functions:
        raise InternalError(f"WebAssembly: the code calls {', '.join(functions)}, which it doesn't have")
    symbols = _symbols(code)
    places = {s.name: s.index for s in symbols if s.kind == _FUNCTION_SYMBOL and s.is_defined}
    missing = [name for name in exports if name not in places]
    if missing:
        raise InternalError(f"WebAssembly: there is no function {', '.join(missing)}")
    segments = _segments(sections.get(_DATA, b"\0"))
    relocations = list(_relocations(code, symbols))
    kept = [segments[i] for i in _reached(segments, relocations)]
    end = max((s.offset + s.size for s in kept), default=0)
    heap = -(-(stack_bytes + end) // ALIGNMENT) * ALIGNMENT
    patched = _relocated(sections, relocations, [stack_bytes + s.offset for s in segments])
    entries = [_name(name) + bytes([_FUNCTION_KIND]) + _number(places[name]) for name in exports]
    entries.append(_name("stack") + bytes([_GLOBAL_KIND, 0]) if shared else _name("memory") + bytes([_MEMORY_KIND, 0]))
    stack = bytes([_I32, _MUTABLE, _I32_CONST]) + _signed(stack_bytes) + bytes([_END])
    pages = _number(-(-heap // PAGE))
    imported = _name("env") + _name("memory") + bytes([_MEMORY_KIND, _SHARED]) + pages + _number(_MOST_PAGES)
    made: dict[int, bytes] = {
        _TYPE: sections[_TYPE],
        _IMPORT: b"\1" + imported if shared else b"",
        _FUNCTION: sections[_FUNCTION],
        _MEMORY: b"" if shared else b"\1\0" + pages,
        _GLOBAL: b"\1" + stack,
        _EXPORT: _number(len(entries)) + b"".join(entries),
        _CODE: patched[_CODE],
        _DATA: _placed(patched[_DATA], kept, stack_bytes),
    }
    body = b"".join(bytes([kind]) + _number(len(part)) + part for kind, part in made.items() if part)
    return Linked(_MAGIC + body, heap)


def _sections(code: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and body of each section but the custom ones."""
    for kind, body in _all_sections(code):
        if kind != _CUSTOM:
            yield kind, body


def _all_sections(code: bytes) -> Iterator[tuple[int, bytes]]:
    if not code.startswith(_MAGIC):
        raise InternalError("WebAssembly: this is no object")
    reader = _Reader(code, len(_MAGIC))
    while reader.more:
        kind = reader.take(1)[0]
        yield kind, reader.take(reader.number())


def _imports(body: bytes) -> list[str]:
    """The functions that an object imports; the stack pointer must be its only global."""
    reader, functions, globals_ = _Reader(body), list[str](), list[str]()
    for _ in range(reader.number()):
        reader.name()
        name = reader.name()
        kind = reader.take(1)[0]
        if kind == _FUNCTION_KIND:
            reader.number()
            functions.append(name)
        elif kind == _GLOBAL_KIND:
            reader.take(2)
            globals_.append(name)
        else:
            if kind == _TABLE_KIND:
                reader.take(1)
            has_most = reader.number() & 1
            for _ in range(1 + has_most):
                reader.number()
    if globals_ not in ([], [_STACK_POINTER]):
        raise InternalError(f"WebAssembly: the code reads {', '.join(globals_)}, which it doesn't have")
    return functions


def _custom(code: bytes) -> Iterator[tuple[str, _Reader]]:
    for kind, body in _all_sections(code):
        if kind == _CUSTOM:
            reader = _Reader(body)
            yield reader.name(), reader


@dataclass(frozen=True, slots=True)
class _Symbol:
    kind: int
    name: str
    index: int
    """Of the function, of the segment for data."""
    offset: int
    is_defined: bool


def _symbols(code: bytes) -> list[_Symbol]:
    """The symbol table of an object."""
    for name, reader in _custom(code):
        if name != "linking":
            continue
        reader.number()
        while reader.more:
            part = reader.take(1)[0]
            content = _Reader(reader.take(reader.number()))
            if part == _SYMBOL_TABLE:
                return [_symbol(content) for _ in range(content.number())]
    return []


def _symbol(table: _Reader) -> _Symbol:
    kind, flags = table.take(1)[0], table.number()
    is_defined = not flags & _UNDEFINED
    if kind == _DATA_SYMBOL:
        name = table.name()
        index, offset, _ = (table.number() for _ in range(3)) if is_defined else (0, 0, 0)
        return _Symbol(kind, name, index, offset, is_defined)
    index = table.number()
    has_name = kind != _SECTION_SYMBOL and (is_defined or flags & _EXPLICIT_NAME)
    return _Symbol(kind, table.name() if has_name else "", index, 0, is_defined)


@dataclass(frozen=True, slots=True)
class _Segment:
    """Data from an offset in memory on."""

    offset: int
    size: int
    start: int
    """Of its contents in the section."""


def _segments(body: bytes) -> list[_Segment]:
    reader, found = _Reader(body), list[_Segment]()
    for _ in range(reader.number()):
        if reader.number() or reader.take(1)[0] != _I32_CONST:
            raise InternalError("WebAssembly: a segment of data has no constant place")
        offset = reader.signed()
        if reader.take(1)[0] != _END:
            raise InternalError("WebAssembly: a segment of data has no constant place")
        size = reader.number()
        found.append(_Segment(offset, size, reader.at))
        reader.take(size)
    return found


def _placed(body: bytes, segments: Sequence[_Segment], base: int) -> bytes:
    """The section of data with some of its segments, from an address on."""
    if not segments:
        return b""
    parts = [_number(len(segments))]
    for segment in segments:
        parts.append(bytes([0, _I32_CONST]) + _signed(base + segment.offset) + bytes([_END]) + _number(segment.size))
        parts.append(body[segment.start : segment.start + segment.size])
    return b"".join(parts)


@dataclass(frozen=True, slots=True)
class _Relocation:
    """An address of data: where it is written, and of what."""

    section: int
    place: int
    kind: int
    symbol: _Symbol
    addend: int


def _relocations(code: bytes, symbols: Sequence[_Symbol]) -> Iterator[_Relocation]:
    """Those of code and data; all other references of an object are right as they are."""
    kinds = [kind for kind, _ in _all_sections(code)]
    for name, reader in _custom(code):
        section = kinds[reader.number()] if name.startswith("reloc.") else _CUSTOM
        for _ in range(reader.number() if section in (_CODE, _DATA) else 0):
            kind, place, index = reader.take(1)[0], reader.number(), reader.number()
            if kind in _INDICES:
                continue
            if kind not in _ADDRESSES:
                raise InternalError(f"WebAssembly: there is no rule for relocations of type {kind}")
            symbol = symbols[index]
            if symbol.kind != _DATA_SYMBOL or not symbol.is_defined:
                raise InternalError(f"WebAssembly: the code reads {symbol.name}, which it doesn't have")
            yield _Relocation(section, place, kind, symbol, reader.signed())


def _reached(segments: Sequence[_Segment], relocations: Sequence[_Relocation]) -> list[int]:
    """The segments that code reads, and those whose addresses lie in them."""
    found = {r.symbol.index for r in relocations if r.section == _CODE}
    waiting = list(found)
    while waiting:
        home = segments[waiting.pop()]
        inside = (r for r in relocations if r.section == _DATA and 0 <= r.place - home.start < home.size)
        new = {r.symbol.index for r in inside} - found
        found |= new
        waiting += new
    return sorted(found)


def _relocated(
    sections: Mapping[int, bytes], relocations: Iterable[_Relocation], addresses: Sequence[int]
) -> dict[int, bytes]:
    """Code and data with the addresses of data."""
    bodies = {kind: bytearray(sections.get(kind, b"")) for kind in (_CODE, _DATA)}
    for r in relocations:
        value = addresses[r.symbol.index] + r.symbol.offset + r.addend
        new = value.to_bytes(4, "little") if r.kind == _ADDRESS_I32 else _wide(value)
        bodies[r.section][r.place : r.place + len(new)] = new
    return {kind: bytes(body) for kind, body in bodies.items()}


def _wide(value: int) -> bytes:
    """LEB128 in five bytes, signed as well as unsigned: addresses have 31 bits."""
    return bytes([*((value >> shift & 0x7F) | 0x80 for shift in (0, 7, 14, 21)), value >> 28])


def _number(value: int) -> bytes:
    """Unsigned LEB128."""
    return _leb128(value, 0x80)


def _signed(value: int) -> bytes:
    """Signed LEB128 of a number that isn't negative: its last byte has a sign bit that is 0."""
    return _leb128(value, 0x40)


def _leb128(value: int, end: int) -> bytes:
    """Groups of seven bits, the lowest first, until what is left is below `end`."""
    found = bytearray()
    while value >= end:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _name(text: str) -> bytes:
    data = text.encode()
    return _number(len(data)) + data
