"""Large tensors of a file stay in it while the rest is decoded, so that each is copied once, to where it is needed.

Protocol buffers are fields one behind the other, each with a number, a kind and, for texts, bytes and messages, a
length (https://protobuf.dev/programming-guides/encoding). Only the way to the bytes of initializers is followed here:
ModelProto.graph, GraphProto.initializer, TensorProto.raw_data. What looks unusual is left to the library.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from ...compiler.graph.ir import Array
from ...compiler.reading import open_file, reading

_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LARGE = 1 << 16
"""Bytes that a tensor has at least to stay in the file."""
_MAX_FIELDS = 1 << 18
"""More fields are left to the library, which is faster at them."""


@dataclass(frozen=True)
class Place:
    """Where the bytes of a tensor lie in a file."""

    path: Path
    offset: int
    length: int

    def read(self) -> Array:
        """The bytes, or as many of them as the file has."""
        with open_file(self.path, "file of tensors") as stream, reading(self.path, "file of tensors"):
            there = max(stream.seek(0, 2) - self.offset, 0)
            stream.seek(self.offset)
            # No memory is taken for what a damaged file only claims to have.
            return np.fromfile(stream, np.uint8, min(self.length, there))


class _UnusualError(Exception):
    """Something that the library should judge."""


def without_large_tensors(path: Path, limit: int) -> tuple[bytes, dict[int, Place]] | None:
    """A ModelProto without the bytes of its large initializers, and where these lie, by the number of the initializer.

    None for what is no file that can be read twice, and for one that is damaged, built in an unusual way, or larger
    than `limit`.
    """
    if not path.is_file():  # what a pipe gives can be read only once
        return None
    with open_file(path) as stream, reading(path):
        walk = _Walk(path, stream)
        size = stream.seek(0, 2)
        if size > limit:
            return None
        stream.seek(0)
        try:
            parts = walk.message(size, (_GRAPH, _INITIALIZER))
        except _UnusualError:
            return None
    return b"".join(parts), walk.places


class _Walk:
    """The way through a file."""

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self.path = path
        self.stream = stream
        self.position = 0
        self.fields = 0
        self.initializers = 0
        self.places: dict[int, Place] = {}

    def message(self, end: int, path: Sequence[int]) -> list[bytes]:
        """The fields of a message up to `end`, without what lies behind the fields of `path` and is large."""
        parts: list[bytes] = []
        for head, number, kind, length in self._heads(end):
            if number != path[0]:
                parts += [head, self._read(length)]
                continue
            if kind != _BYTES:
                raise _UnusualError
            inner = self.message(self.position + length, path[1:]) if len(path) > 1 else self._tensor(length)
            parts += [_varint(number << 3 | _BYTES), _varint(sum(map(len, inner))), *inner]
            self.initializers += len(path) == 1
        return parts

    def _tensor(self, length: int) -> list[bytes]:
        """A TensorProto, without its bytes if they are many."""
        if length < _LARGE:
            return [self._read(length)]
        parts: list[bytes] = []
        for head, number, kind, size in self._heads(self.position + length):
            if number != _RAW_DATA:
                parts += [head, self._read(size)]
                continue
            if kind != _BYTES or self.initializers in self.places:
                raise _UnusualError
            self.places[self.initializers] = Place(self.path, self.position, size)
            self.position += size
            self.stream.seek(self.position)
        return parts

    def _heads(self, end: int) -> Iterator[tuple[bytes, int, int, int]]:
        """Fields up to `end`: the bytes before the contents, number, kind, and how long the contents are."""
        while self.position < end:
            self.fields += 1
            if self.fields > _MAX_FIELDS:
                raise _UnusualError
            head, tag = self._number()
            kind, length = tag & 7, {_VARINT: 0, _FIXED64: 8, _FIXED32: 4}.get(tag & 7)
            if kind == _VARINT:
                head += self._number()[0]
            elif kind == _BYTES:
                more, length = self._number()
                head += more
            if length is None or self.position + length > end:
                raise _UnusualError
            yield head, tag >> 3, kind, length
        if self.position != end:
            raise _UnusualError

    def _number(self) -> tuple[bytes, int]:
        """A number of up to ten bytes, and these."""
        value, data = 0, bytearray()
        while len(data) < 10:
            byte = self._read(1)[0]
            value |= (byte & 0x7F) << 7 * len(data)
            data.append(byte)
            if byte < 0x80:
                return bytes(data), value
        raise _UnusualError

    def _read(self, length: int) -> bytes:
        data = self.stream.read(length)
        if len(data) != length:
            raise _UnusualError
        self.position += length
        return data


def _varint(value: int) -> bytes:
    data = bytearray()
    while value >= 0x80:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*data, value))
