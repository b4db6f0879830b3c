"""Archives that nobody vouches for: limits before unpacking, one message for each kind of damage, right contents."""

from __future__ import annotations

import gzip
import io
import resource
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netc.compiler.archives import MEMBER_BYTES, RATIO, Archive, limit_of, open_packed, parse_array, read_exactly
from netc.compiler.errors import NetcError

TEXT = b"words and words and words, " * 40


def packed(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def changed(path: Path, old: bytes, new: bytes) -> Path:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_are_read(tmp_path: Path, method: int) -> None:
    path = packed(tmp_path / "a.zip", {"a.txt": TEXT, "empty": b"", "../../b.txt": b"b", "/c.txt": b"c"}, method)
    before = set(tmp_path.rglob("*"))
    for archive in (Archive(path), Archive("a model", b"TFL3" + path.read_bytes())):
        with archive:
            assert archive.names == ("a.txt", "empty", "../../b.txt", "/c.txt")
            assert [archive.read(name) for name in archive.names] == [TEXT, b"", b"b", b"c"]
            assert [archive.is_empty(name) for name in archive.names] == [False, True, False, False]
    assert set(tmp_path.rglob("*")) == before, "nothing is unpacked to disk"


def bomb(path: Path) -> Path:
    """A member that says that it has a little more than it may."""
    size = struct.pack("<L", MEMBER_BYTES + 1)
    return changed(packed(path, {"a.png": TEXT}), struct.pack("<L", len(TEXT)), size)


def lying(path: Path) -> Path:
    """A member that has ten times what it says."""
    return changed(packed(path, {"a.png": TEXT * 10}), struct.pack("<L", 10 * len(TEXT)), struct.pack("<L", len(TEXT)))


DAMAGE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "bomb": (bomb, "is too large: 268,435,457 bytes, of which 268,435,456 may be read"),
    "more than it says": (lying, "Bad CRC-32"),
    "encrypted": (
        lambda path: changed(packed(path, {"a.png": TEXT}), b"PK\1\2\x14\3\x14\0\0\0", b"PK\1\2\x14\3\x14\0\1\0"),
        "can't be read: it is encrypted",
    ),
    "unknown method": (
        lambda path: changed(packed(path, {"a.png": TEXT}), b"\x14\0\0\0\x08\0", b"\x14\0\0\0\x63\0"),
        "packed with method 99",
    ),
    "LZMA": (lambda path: packed(path, {"a.png": TEXT}, zipfile.ZIP_LZMA), "packed with LZMA"),
    "bzip2": (lambda path: packed(path, {"a.png": TEXT}, zipfile.ZIP_BZIP2), "packed with bzip2"),
    "broken stream": (
        lambda path: changed(packed(path, {"a.png": TEXT}), b"a.png\x2b", b"a.png\xff"),
        "a.png in .* is not a readable member, or is damaged: Error -3",
    ),
    "broken sum": (
        lambda path: changed(packed(path, {"a.png": TEXT}, 0), TEXT, TEXT[:-1] + b"?"),
        "not a readable member, or is damaged: Bad CRC-32",
    ),
    "other name inside": (
        lambda path: changed(packed(path, {"a.png": TEXT}), b"a.png\x2b", b"b.png\x2b"),
        "File name in directory",
    ),
    "no such member": (lambda path: packed(path, {"b.png": TEXT}), "there is no such member"),
    "cut off": (
        lambda path: changed(packed(path, {"a.png": TEXT}), b"PK\5\6", b"PK\5\7"),
        "is not a ZIP archive, or is damaged: File is not a zip file",
    ),
    "directory elsewhere": (
        lambda path: changed(packed(path, {"a.png": TEXT}, 0), struct.pack("<L", len(TEXT) + 35), b"\xff\xff\xff\x7f"),
        "can't read a.png in .*: Invalid argument",
    ),
    "empty": (lambda path: changed(packed(path, {}), path.read_bytes(), b""), "is not a ZIP archive, or is damaged"),
    "missing": (lambda path: path, "there is no ZIP archive"),
    "folder": (lambda path: path.mkdir() or path, "is a folder, not a ZIP archive"),
    "device": (lambda path: Path("/dev/zero"), "is a device, not a ZIP archive"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_one_message(tmp_path: Path, kind: str) -> None:
    make, message = DAMAGE[kind]
    path = make(tmp_path / "a.zip")

    def read() -> None:
        with Archive(path) as archive:
            archive.read("a.png")

    with pytest.raises(NetcError, match=message) as caught:
        read()
    assert str(path) in str(caught.value)
    assert len(caught.value.diagnostics) == 1


def test_names_that_stand_twice_are_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", {"a.png": b"one", "b.png": b"two", "c.png": b"three"})
    changed(path, b"b.png", b"a.png")
    with Archive(path) as archive:
        assert archive.names == ("a.png", "c.png")
        assert archive.read("c.png") == b"three"
        with pytest.raises(NetcError, match="there are 2 members of that name"):
            archive.read("a.png")


def test_limits_are_kept_in_little_memory(tmp_path: Path) -> None:
    """A bomb of 3 GB in each form, read by a process that may have 1.5 GB of addresses."""
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", array_bytes("<f4", (3 << 28,)))
        archive.writestr("b.npy", array_bytes("<f4", (3 << 28,), TEXT))
    size = len(array_bytes("<f4", (3 << 28,), TEXT))
    changed(tmp_path / "a.npz", struct.pack("<L", size), struct.pack("<L", 3 << 30))
    block = gzip.compress(bytes(10_000_000), 9)
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"head", mtime=0) + block * 300)
    script = """
import sys
from pathlib import Path
from netc.compiler.archives import Archive, open_packed, check_size, read_exactly
from netc.compiler.errors import NetcError
def gz():
    with open_packed(Path("a.gz")) as (stream, limit):
        assert stream.read(4) == b"head"
        read_exactly(stream, 20_000_000, "a.gz")
for read in (lambda: Archive("a.npz").array("a"), lambda: Archive("a.npz").array("b"), gz):
    try:
        read()
    except NetcError as error:
        print(error.diagnostics[0].message)
"""
    limit = 3 << 29
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={"OPENBLAS_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert done.stdout.splitlines() == [
        "a.npy in a.npz is damaged: float32[805306368] doesn't fit its 0 bytes",
        "b.npy in a.npz is too large: 3,221,225,472 bytes, of which 268,435,456 may be read",
        "a.gz is damaged: it has more bytes than 20,000,000",
    ]


# ---- arrays ---------------------------------------------------------------------------------------------------------


def array_bytes(kind: str, shape: object, data: bytes = b"", *, fortran: bool = False) -> bytes:
    """An .npy file whose header says what it likes."""
    header = repr({"descr": kind, "fortran_order": fortran, "shape": shape}).encode()
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header) + 1) + header + b"\n" + data


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        np.asfortranarray(np.arange(24, dtype=np.uint8).reshape(2, 3, 4)),
        np.arange(6, dtype=">i2"),
        np.array(2.5),
        np.zeros((0, 3), np.int64),
        np.array([True, False]),
        np.array(["a", "bc"]),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_what_was_saved(tmp_path: Path, array: Any, save: Callable[..., None]) -> None:
    save(tmp_path / "a.npz", x=array, y=array + 1 if array.dtype.kind not in "bU" else array)
    with Archive(tmp_path / "a.npz") as archive:
        assert archive.arrays == ("x", "y")
        found = archive.array("x")
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not a NumPy array, or is damaged: EOF"),
        (b"no array", "the magic string is not correct"),
        (b"\x93NUMPY\3\0\4\0\0\0{}\n", "it is of version 3.0 of the format"),
        (b"\x93NUMPY\1\0\xff\xff{}", "EOF: reading array header"),
        (b"\x93NUMPY\2\0\xff\xff\xff\xff{}", "EOF: reading array header"),
        (array_bytes("<f4", "[" * 5000), "is not a NumPy array, or is damaged"),
        (b"\x93NUMPY\1\0\x10\x27" + b"[" * 10000, "is not a NumPy array, or is damaged"),
        (array_bytes("|O", (1,), bytes(8)), "holds Python objects, not numbers"),
        (array_bytes([("a", "<f4")], (1,), bytes(4)), "holds records, not numbers"),
        (array_bytes("<f4", (10**12,), bytes(4)), r"float32\[1000000000000\] doesn't fit its 4 bytes"),
        (array_bytes("<f4", (10**30, 0)), "is not a NumPy array, or is damaged"),
        (array_bytes("<f4", (-1, -1), bytes(4)), "doesn't fit its 4 bytes"),
        (array_bytes("<f4", (1,), bytes(3)), "doesn't fit its 3 bytes"),
        (array_bytes("<f4", (1,), bytes(5)), "doesn't fit its 5 bytes"),
        (array_bytes("|V0", (10**9,)), "is not a NumPy array, or is damaged"),
        (array_bytes("<q9", (1,), bytes(9)), "is not a NumPy array, or is damaged"),
        (array_bytes("<f4", [1], bytes(4)), "is not a NumPy array, or is damaged"),
        (array_bytes("<f4", (1.0,), bytes(4)), "is not a NumPy array, or is damaged"),
    ],
)
def test_what_is_no_array_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(NetcError, match=message):
        parse_array(bytearray(data), "x.npy in a.npz")


def test_packed_arrays_may_be_large_if_they_were_not_bombs(tmp_path: Path) -> None:
    assert limit_of(1000) == MEMBER_BYTES
    assert limit_of(MEMBER_BYTES) == RATIO * MEMBER_BYTES
    packed(tmp_path / "a.npz", {"x.npy": array_bytes("<f4", (MEMBER_BYTES,), bytes(8))})
    claimed = struct.pack("<L", 0x7FFFFFFF)  # a member that says it takes two gigabytes packed, and unpacked
    data = (tmp_path / "a.npz").read_bytes()
    place = data.index(b"PK\1\2") + 20
    (tmp_path / "a.npz").write_bytes(data[:place] + claimed + claimed + data[place + 8 :])
    with (
        Archive(tmp_path / "a.npz") as archive,
        pytest.raises(NetcError, match=r"too large(?s:.*)hint: save it with nump"),
    ):
        archive.array("x")


# ---- gzip -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (gzip.compress(TEXT, mtime=0), None),
        (gzip.compress(TEXT[:100], mtime=0) + gzip.compress(TEXT[100:], mtime=0), None),
        (gzip.compress(TEXT, mtime=0)[:-4], "is not a readable file, or is damaged: Compressed file ended"),
        (gzip.compress(TEXT, mtime=0)[:-8] + bytes(8), "CRC check failed"),
        (gzip.compress(TEXT[:-1], mtime=0), "it has fewer bytes than"),
        (gzip.compress(TEXT + b"?", mtime=0), "it has more bytes than"),
        (TEXT, "Not a gzipped file"),
        (b"", "it has fewer bytes than"),
        (gzip.compress(TEXT, mtime=0)[:12] + b"\xff" * 20, "is not a readable file, or is damaged"),
    ],
)
def test_packed_streams(tmp_path: Path, data: bytes, message: str | None) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(data)

    def read() -> bytes:
        with open_packed(path) as (stream, limit):
            assert limit == MEMBER_BYTES
            return bytes(read_exactly(stream, len(TEXT), str(path)))

    if message is None:
        assert read() == TEXT
    else:
        with pytest.raises(NetcError, match=message):
            read()


def test_plain_streams_have_the_size_of_their_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(TEXT)
    with open_packed(tmp_path / "a") as (stream, limit):
        assert (limit, read_exactly(stream, len(TEXT), "a")) == (len(TEXT), TEXT)
    assert read_exactly(io.BytesIO(), 0, "a") == b""
