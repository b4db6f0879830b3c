"""Members of archives, read within limits: ZIP archives, the arrays of NumPy's .npz, streams packed with gzip.

An archive of a few megabytes may claim to hold terabytes. So how large a member may get is settled before it is
unpacked, its own word for its size is checked against that, and what comes out is counted while it comes. Nothing is
ever unpacked to disk, so names of members are only names. Memory is bounded by the limit, and by a small multiple of
the archive's own size. Source for arrays: the documentation of numpy.lib.format.
"""

from __future__ import annotations

import gzip
import io
import math
import os
import warnings
import weakref
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .errors import NetcError
from .reading import open_file, reading

MEMBER_BYTES = 1 << 28
"""What a member may unpack to."""
RATIO = 32
"""What arrays may unpack to, too: so many times what they take packed. Data seldom shrinks more, bombs do."""

Stream = IO[bytes] | gzip.GzipFile

_CHUNK = 1 << 20
_METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflate", zipfile.ZIP_BZIP2: "bzip2", 14: "LZMA"}
_READ = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""The only methods whose unpacking Python's library can stop at a limit."""
_ENCRYPTED = 0x1
_SUFFIX = ".npy"


def limit_of(packed: int) -> int:
    """How large an array may get that takes `packed` bytes, or comes from a file of so many."""
    return max(MEMBER_BYTES, RATIO * packed)


class Archive:
    """A ZIP archive, or an .npz file, of which single members are read: from a file, or from its contents.

    Raises `NetcError`, with the names of archive and member, for whatever is wrong with them.
    """

    def __init__(self, path: str | os.PathLike[str], contents: bytes | None = None, what: str = "ZIP archive") -> None:
        self.path = os.fspath(path)
        stream: IO[bytes] = open_file(path, what) if contents is None else io.BytesIO(contents)
        self._close = weakref.finalize(self, stream.close)
        with reading(path, what):
            self._size = stream.seek(0, os.SEEK_END)
            self._zip = zipfile.ZipFile(stream)
        self._members: dict[str, list[zipfile.ZipInfo]] = {}
        for info in self._zip.infolist():
            self._members.setdefault(info.filename, []).append(info)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all members, each once, in the archive's order; folders end with /."""
        return tuple(self._members)

    @property
    def arrays(self) -> tuple[str, ...]:
        """The names of all members of an .npz file, as NumPy gives them."""
        return tuple(dict.fromkeys(name.removesuffix(_SUFFIX) for name in self._members))

    def is_empty(self, name: str) -> bool:
        """Whether a member says that it holds nothing."""
        return not any(info.file_size for info in self._members[name])

    def read(self, name: str, limit: int = MEMBER_BYTES) -> bytes:
        """The contents of a member; `NetcError` if there is none, it has more than `limit` bytes, or is damaged."""
        return bytes(self._unpack(self._member(name), limit, ""))

    def array(self, name: str) -> NDArray[Any]:
        """An array of an .npz file, which is packed into so many bytes that `limit_of` allows its size."""
        member = self._member(f"{name}{_SUFFIX}" if f"{name}{_SUFFIX}" in self._members else name)
        limit = limit_of(min(member.compress_size, self._size))
        data = self._unpack(member, limit, "save it with numpy.savez, which doesn't pack")
        return parse_array(data, self._where(member.filename))

    def close(self) -> None:
        """Close the file."""
        self._close()

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _where(self, name: str) -> str:
        return f"{name} in {self.path}"

    def _member(self, name: str) -> zipfile.ZipInfo:
        found = self._members.get(name, [])
        if len(found) != 1:
            count = f"there are {len(found)} members of that name" if found else "there is no such member"
            raise NetcError(f"{self._where(name)} is damaged: {count}")
        return found[0]

    def _unpack(self, member: zipfile.ZipInfo, limit: int, hint: str) -> bytearray:
        where = self._where(member.filename)
        if member.flag_bits & _ENCRYPTED:
            raise NetcError(f"{where} can't be read: it is encrypted", hint="pack it without a password")
        if member.compress_type not in _READ:
            method = _METHODS.get(member.compress_type, f"method {member.compress_type}")
            raise NetcError(f"{where} can't be read: it is packed with {method}", hint="pack it with deflate")
        check_size(where, member.file_size, limit, hint)
        with reading(where, "readable member"), self._zip.open(member) as stream:
            return read_exactly(stream, member.file_size, where)


def parse_array(data: bytearray, where: str) -> NDArray[Any]:
    """The array in the contents of an .npy file, as a view of them; `NetcError` if they hold none of plain numbers."""
    stream = io.BytesIO(data)
    with reading(where, "NumPy array"), warnings.catch_warnings(action="ignore"):
        shape, fortran, dtype = _array_header(stream, where)
        start = stream.tell()
        if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(data) - start:
            raise NetcError(f"{where} is damaged: {dtype}{list(shape)} doesn't fit its {len(data) - start:,} bytes")
        flat = np.frombuffer(data, dtype, math.prod(shape), start) if math.prod(shape) else np.empty(0, dtype)
        return flat.reshape(shape, order="F" if fortran else "C")


def _array_header(stream: IO[bytes], where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran's order, and type."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(stream)
    if version not in readers:
        raise NetcError(f"{where} can't be read: it is of version {version[0]}.{version[1]} of the format")
    shape, fortran, dtype = readers[version](stream)
    if dtype.hasobject or dtype.names is not None:
        kind = "Python objects" if dtype.hasobject else "records"
        raise NetcError(f"{where} can't be read: it holds {kind}, not numbers")
    return shape, fortran, dtype


@contextmanager
def open_packed(path: Path) -> Iterator[tuple[Stream, int]]:
    """The contents of a file, unpacked if its name ends in .gz, and how many bytes may be read of them."""
    with open_file(path) as file:
        packed = os.fstat(file.fileno()).st_size
        with reading(path, "readable file"):
            if path.suffix == ".gz":
                with gzip.GzipFile(fileobj=file) as stream:
                    yield stream, limit_of(packed)
            else:
                yield file, packed


def read_exactly(stream: Stream, size: int, where: str) -> bytearray:
    """All of a stream of `size` bytes; raises `NetcError` if it has fewer or more."""
    data = bytearray(size)
    view, done = memoryview(data), 0
    while done < size and (chunk := stream.read(min(_CHUNK, size - done))):
        view[done : done + len(chunk)] = chunk
        done += len(chunk)
    if done < size or stream.read(1):
        raise NetcError(f"{where} is damaged: it has {'fewer' if done < size else 'more'} bytes than {size:,}")
    return data


def check_size(where: str, size: int, limit: int, hint: str = "") -> None:
    """Raise `NetcError` if something that should be read is larger than is allowed."""
    if size > limit:
        raise NetcError(f"{where} is too large: {size:,} bytes, of which {limit:,} may be read", hint=hint or None)
