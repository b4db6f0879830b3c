"""Checked decoding of flatbuffers by a schema, for files that nobody vouches for.

Decoding and verifying are one thing: every offset, length and string is checked where it is followed, and a fault is
one `NetcError` that names table and field, such as `Model.subgraphs[0].tensors[3].shape`. What a file may make the
decoder do is bounded by the file's size, however its offsets overlap. Source: the flatbuffers internals documentation.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from ...errors import NetcError
from ...text import printable


@dataclass(frozen=True, slots=True)
class Scalar:
    """A number; `format` is its NumPy type, `default` its value where a table leaves it out."""

    format: str
    default: int | float | bool = 0

    def or_else(self, default: int | float | bool) -> Scalar:
        """The same kind of number with another default."""
        return Scalar(self.format, default)


BOOL, I8, U8, U16, I32, U32, I64, U64, F32 = (
    Scalar(f) for f in ("?", "<i1", "<u1", "<u2", "<i4", "<u4", "<i8", "<u8", "<f4")
)


@dataclass(frozen=True, slots=True)
class Text:
    """A string."""


@dataclass(frozen=True, slots=True)
class Union:
    """A table whose kind the field before it tells; kinds that are not listed are left undecoded (None)."""

    tables: Mapping[int, Table]


@dataclass(frozen=True, slots=True)
class Vector:
    """Numbers (a NumPy array), strings or tables (tuples)."""

    of: Scalar | Text | Table


Kind = Scalar | Text | Vector | Union


@dataclass(frozen=True, slots=True)
class Table:
    """Fields by name, in the order of the schema; None stands for a field that is not read."""

    name: str
    fields: Mapping[str, Kind | Table | None]


@dataclass(frozen=True, slots=True)
class Record:
    """A decoded table: its fields are read with `record["name"]`; `path` says where in the file it stands."""

    table: str
    path: str
    values: Mapping[str, Any] = field(repr=False)

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def fail(self, name: str, problem: str) -> NoReturn:
        """Raise the error about a field."""
        raise NetcError(f"{self.path}.{name} ({self.table}): {problem}")


def decode(data: bytes, root: Table, *, identifier: bytes, what: str) -> Record:
    """Decode a flatbuffer; `what` names its kind in errors, such as "TFLite model".

    Raises `NetcError` for damaged ones.
    """
    if len(data) < 8 or data[4:8] != identifier:
        raise NetcError(f"this is not a {what}: bytes 4 to 8 should be {identifier.decode()!r}")
    decoder = _Decoder(data)
    position = decoder.offset(0, root.name, "root")
    return decoder.table(position, root, root.name)


_CODES = {
    "?": struct.Struct("B"),
    "<i1": struct.Struct("b"),
    "<u1": struct.Struct("B"),
    "<u2": struct.Struct("<H"),
    "<i4": struct.Struct("<i"),
    "<u4": struct.Struct("<I"),
    "<i8": struct.Struct("<q"),
    "<u8": struct.Struct("<Q"),
    "<f4": struct.Struct("<f"),
}


def _absent(kind: Kind | Table) -> Any:
    """The value of a field that a table leaves out."""
    if isinstance(kind, Scalar):
        return kind.default
    return () if isinstance(kind, Vector) and not isinstance(kind.of, Scalar) else None


class _Decoder:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)
        self.budget = self.size + 64
        """How many more tables, elements and fields may be decoded: a file without tricks has no more than bytes."""

    def fail(self, table: str, path: str, problem: str) -> NoReturn:
        raise NetcError(f"the file is damaged: {path} ({table}): {problem}")

    def spend(self, amount: int, table: str, path: str) -> None:
        self.budget -= amount
        if self.budget < 0:
            self.fail(table, path, "the tables overlap: together they hold more than the file")

    def number(self, form: str, position: int, table: str, path: str) -> int:
        """An integer of the file's structure."""
        code = _CODES[form]
        if not 0 <= position <= self.size - code.size:
            self.fail(table, path, f"byte {position} lies outside the file of {self.size} bytes")
        value: int = code.unpack_from(self.data, position)[0]
        return value

    def offset(self, position: int, table: str, path: str) -> int:
        """Where the offset at `position` points to."""
        target = position + self.number("<u4", position, table, path)
        if target == position or target > self.size - 4:
            self.fail(table, path, f"the offset at byte {position} points to {target}, of {self.size} bytes")
        return target

    def table(self, position: int, table: Table, path: str) -> Record:
        """A table with all its fields."""
        vtable = position - self.number("<i4", position, table.name, path)
        length = self.number("<u2", vtable, table.name, path)
        size = self.number("<u2", vtable + 2, table.name, path)
        if length < 4 or length % 2 or vtable + length > self.size or size < 4 or position + size > self.size:
            self.fail(table.name, path, "its field list is damaged")
        self.spend(1 + len(table.fields), table.name, path)
        places = struct.unpack_from(f"<{length // 2 - 2}H", self.data, vtable + 4)
        values: dict[str, Any] = {}
        kind_code = 0
        for slot, (name, kind) in enumerate(table.fields.items()):
            if kind is None:
                continue
            place = places[slot] if slot < len(places) else 0
            chosen = kind.tables.get(kind_code) if isinstance(kind, Union) else kind
            if place >= size:
                self.fail(table.name, f"{path}.{name}", f"it lies outside its table of {size} bytes")
            if not place or chosen is None:
                values[name] = _absent(kind)
            else:
                values[name] = self.value(position + place, chosen, table.name, f"{path}.{name}")
            kind_code = values[name] if isinstance(kind, Scalar) and kind.format == "<u1" else 0
        return Record(table.name, path, values)

    def value(self, at: int, kind: Scalar | Text | Vector | Table, table: str, path: str) -> Any:
        """The value of a field at byte `at`."""
        if isinstance(kind, Scalar):
            return self.scalar(at, kind, table, path)
        target = self.offset(at, table, path)
        if isinstance(kind, Text):
            return self.text(target, table, path)
        if isinstance(kind, Table):
            return self.table(target, kind, path)
        assert isinstance(kind, Vector)
        return self.vector(target, kind.of, table, path)

    def scalar(self, at: int, kind: Scalar, table: str, path: str) -> int | float | bool:
        """A number; booleans are any byte but 0."""
        code = _CODES[kind.format]
        if at + code.size > self.size:
            self.fail(table, path, "it lies outside the file")
        number: int | float = code.unpack_from(self.data, at)[0]
        return number != 0 if kind.format == "?" else number

    def length(self, position: int, itemsize: int, table: str, path: str) -> int:
        """The length of a vector, whose elements must lie in the file."""
        count = self.number("<u4", position, table, path)
        if count * itemsize > self.size - position - 4:
            self.fail(table, path, f"{count} elements of {itemsize} bytes don't fit a file of {self.size} bytes")
        return count

    def text(self, position: int, table: str, path: str) -> str:
        """A string; bytes that are not UTF-8, and control characters, become escapes that can be shown anywhere."""
        count = self.length(position, 1, table, path)
        self.spend(count, table, path)
        return printable(self.data[position + 4 : position + 4 + count].decode(errors="backslashreplace"))

    def vector(self, position: int, of: Scalar | Text | Table, table: str, path: str) -> Any:
        """The elements of a vector; numbers are a view of the file."""
        if isinstance(of, Scalar):
            dtype = np.dtype(of.format)
            return np.frombuffer(self.data, dtype, self.length(position, dtype.itemsize, table, path), position + 4)
        count = self.length(position, 4, table, path)
        self.spend(count, table, path)
        return tuple(self.value(position + 4 + 4 * i, of, table, f"{path}[{i}]") for i in range(count))
