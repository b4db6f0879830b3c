"""Reading: whatever a library raises names the file; pipes, devices and large files are no trap."""

from __future__ import annotations

import os
import struct
import threading
import zlib
from pathlib import Path

import pytest

from netc.compiler.errors import NetcError
from netc.compiler.reading import lies_below, read_bytes, read_text, reading


@pytest.mark.parametrize(
    "error",
    [
        ValueError("odd"),
        KeyError("odd"),
        RecursionError("odd"),
        struct.error("odd"),
        zlib.error("odd"),
        NotImplementedError("odd"),
        OSError("odd"),
        OverflowError("odd"),
        AssertionError(),
    ],
)
def test_exceptions_of_libraries_are_errors_in_the_file(error: Exception) -> None:
    with pytest.raises(NetcError, match=r"a\.npz is not a data file, or is damaged: \S"), reading("a.npz", "data file"):
        raise error


def test_other_errors_pass() -> None:
    with pytest.raises(NetcError, match="mine"), reading("a"):
        raise NetcError("mine")
    with pytest.raises(KeyboardInterrupt), reading("a"):
        raise KeyboardInterrupt


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate((1 << 42) + 1)  # takes no place on the disk, but would in memory
    with pytest.raises(NetcError, match="huge is too large"):
        read_bytes(path, limit=1 << 42)


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    assert read_bytes(path) == b""  # nobody writes: it doesn't block
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as stream:
        thread = threading.Timer(0.05, lambda: (stream.write(b"late" * 50_000), stream.close()))
        thread.start()
        assert read_bytes(f"/dev/fd/{reader}") == b"late" * 50_000
        thread.join()
    os.close(reader)


def test_size_and_encoding(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"\xef\xbb\xbfabc")
    assert read_text(path) == "abc"
    assert read_bytes(path, limit=6) == b"\xef\xbb\xbfabc"
    with pytest.raises(NetcError, match="too large"):
        read_bytes(path, limit=5)
    with pytest.raises(NetcError, match="is a device"):
        read_bytes("/dev/zero")
    path.write_bytes(b"\xff")
    with pytest.raises(NetcError, match="not UTF-8"):
        read_text(path)


def test_links_are_followed_before_places_are_judged(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (inside / "link").symlink_to(outside)
    (inside / "loop").symlink_to("loop")
    assert lies_below(inside / "a" / ".." / "b", [inside])
    for path in (inside / ".." / "out", inside / "link" / "x", inside / "loop", tmp_path / "inner", Path("/")):
        assert not lies_below(path, [inside])
    assert lies_below(inside / "link" / "x", [inside, outside])
