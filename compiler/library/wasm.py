"""From the object file that LLVM writes for WebAssembly to a module that runs: the linking of one object.

An object of one network needs no other, and no data: its indices are those of the finished module. What is left to do
is to give it a memory, a stack and exports, and to leave out what only linkers read. (The formats: WebAssembly core
specification, "Binary Format"; tool-conventions, "Linking.md".)

The stack lies at the bottom of the memory, so that a stack that is too small traps in place of overwriting data. What
is above `heap` is the caller's, who makes the memory as large as workspace, weights and tensors ask for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..errors import InternalError

STACK_BYTES = 1 << 18
"""Kernels hold small tiles on the stack."""
PAGE = 1 << 16

_MAGIC = b"\0asm\1\0\0\0"
_CUSTOM, _TYPE, _IMPORT, _FUNCTION, _TABLE, _MEMORY, _GLOBAL, _EXPORT = range(8)
_CODE, _DATA = 10, 11
_FUNCTION_KIND, _TABLE_KIND, _MEMORY_KIND, _GLOBAL_KIND = range(4)
_I32, _MUTABLE = 0x7F, 1
_SYMBOL_TABLE, _FUNCTION_SYMBOL = 8, 0
_UNDEFINED, _HIDDEN, _EXPLICIT_NAME = 0x10, 0x04, 0x40
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

    def take(self, count: int) -> bytes:
        self.at += count
        return self.data[self.at - count : self.at]

    def name(self) -> str:
        return self.take(self.number()).decode()

    @property
    def more(self) -> bool:
        return self.at < len(self.data)


def link(code: bytes, exports: Sequence[str], stack_bytes: int = STACK_BYTES) -> bytes:
    """A module of an object; it exports functions by their names, and its memory as `memory`.

    Raises `InternalError` for an object that needs something of its surroundings.
    """
    sections = dict(_sections(code))
    functions = _imports(sections.get(_IMPORT, b"\0"))
    if _DATA in sections:
        raise InternalError("WebAssembly: data of an object can't be linked")
    if functions:
        raise InternalError(f"WebAssembly: the code calls {', '.join(functions)}, which it doesn't have")
    places = _function_symbols(code)
    missing = [name for name in exports if name not in places]
    if missing:
        raise InternalError(f"WebAssembly: there is no function {', '.join(missing)}")
    entries = [_name(name) + bytes([_FUNCTION_KIND]) + _number(places[name]) for name in exports]
    entries.append(_name("memory") + bytes([_MEMORY_KIND, 0]))
    stack = bytes([_I32, _MUTABLE, 0x41]) + _signed(stack_bytes) + b"\x0b"
    made = {
        _TYPE: sections[_TYPE],
        _FUNCTION: sections[_FUNCTION],
        _MEMORY: b"\1\0" + _number(-(-stack_bytes // PAGE)),
        _GLOBAL: b"\1" + stack,
        _EXPORT: _number(len(entries)) + b"".join(entries),
        _CODE: sections[_CODE],
    }
    return _MAGIC + b"".join(bytes([kind]) + _number(len(body)) + body for kind, body in made.items())


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


def _function_symbols(code: bytes) -> dict[str, int]:
    """The functions that an object defines, by name."""
    for kind, body in _all_sections(code):
        reader = _Reader(body)
        if kind == _CUSTOM and reader.name() == "linking":
            reader.number()
            while reader.more:
                part = reader.take(1)[0]
                content = _Reader(reader.take(reader.number()))
                if part == _SYMBOL_TABLE:
                    return dict(_defined(content))
    return {}


def _defined(table: _Reader) -> Iterator[tuple[str, int]]:
    for _ in range(table.number()):
        kind, flags = table.take(1)[0], table.number()
        is_defined = not flags & _UNDEFINED
        if kind == 1:  # data
            table.name()
            if is_defined:
                for _ in range(3):
                    table.number()
            continue
        index = table.number()
        if kind != 3 and (is_defined or flags & _EXPLICIT_NAME):  # a section has no name
            name = table.name()
            if kind == _FUNCTION_SYMBOL and is_defined:
                yield name, index


def _number(value: int) -> bytes:
    """Unsigned LEB128."""
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _signed(value: int) -> bytes:
    """Signed LEB128 of a number that isn't negative."""
    found = bytearray()
    while value >= 0x40:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _name(text: str) -> bytes:
    data = text.encode()
    return _number(len(data)) + data
