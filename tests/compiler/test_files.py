"""Files are written in one step."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from netc.compiler.errors import NetcError
from netc.compiler.files import replacing, write_bytes
from tests.surroundings import files_of_at_most


def test_files_are_written_in_one_step(tmp_path: Path) -> None:
    target = tmp_path / "net.tflite"
    write_bytes(target, b"old")
    write_bytes(target, b"new")
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]
    with pytest.raises(NetcError, match="can't write"):
        write_bytes(tmp_path / "missing" / "net.tflite", b"")


def test_links_and_devices_stay_what_they_are(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "net.tflite")
    write_bytes(link, b"new")
    assert link.is_symlink()
    assert (tmp_path / "net.tflite").read_bytes() == b"new"
    write_bytes(os.devnull, b"gone")
    assert not Path(os.devnull).is_file()
    with pytest.raises(NetcError, match="can't write /dev/full: No space left on device"):
        write_bytes("/dev/full", bytes(10))


def test_links_that_lead_to_themselves_are_refused(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    for path in (loop, loop / "net.ir"):
        with pytest.raises(NetcError, match=r"can't write .*loop"):
            write_bytes(path, b"new")
    assert list(tmp_path.iterdir()) == [loop]


@pytest.mark.parametrize("name", ["n" * 255, "\u00e9" * 127, ".", "folder", "file/below"])
def test_names_are_taken_as_they_are_or_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    if len(name) > 100:
        write_bytes(tmp_path / name, b"new")
        assert (tmp_path / name).read_bytes() == b"new"
    else:
        with pytest.raises(NetcError, match=r"can't write .*: (Is|Not) a directory"):
            write_bytes(tmp_path / name, b"new")
    assert len(list(tmp_path.iterdir())) == 2 + (len(name) > 100)


def test_permissions_stay_as_they_were(tmp_path: Path) -> None:
    target = tmp_path / "private"
    target.touch(0o600)
    write_bytes(target, b"new")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    write_bytes(tmp_path / "new", b"new")
    (tmp_path / "usual").touch()
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_failures_leave_the_file_and_no_part(tmp_path: Path) -> None:
    target = tmp_path / "net.tflite"
    write_bytes(target, b"old")
    with pytest.raises(ZeroDivisionError), replacing(target) as part:
        part.write_bytes(bytes([1 // 0]))
    with pytest.raises(NetcError, match=r"can't write .*net\.tflite: File too large"), files_of_at_most(1000):
        write_bytes(target, bytes(5000))
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_messages_name_a_file_as_it_will_be_called(tmp_path: Path) -> None:
    outer, other = tmp_path / "outer", tmp_path / "other"
    writes: tuple[Callable[[Path], None], ...] = (
        lambda part: write_bytes(part, bytes(5000)),
        lambda part: write_bytes(part / "below", b""),
    )
    for write in writes:
        with pytest.raises(NetcError, match=f"can't write {outer}: "), files_of_at_most(1000), replacing(outer) as part:
            write(part)
    with pytest.raises(NetcError, match=f"can't write {other}: "), files_of_at_most(1000), replacing(outer):
        write_bytes(other, bytes(5000))


def test_killed_writers_leave_a_whole_file_and_block_nobody(tmp_path: Path) -> None:
    target = tmp_path / "net.tflite"
    script = f"""
import itertools
from netc.compiler.files import write_bytes
for i in itertools.count():
    write_bytes({str(target)!r}, bytes([i % 256]) * 3_000_000)
"""
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", script])
        while not list(tmp_path.glob(".*.part")):
            time.sleep(0.0005)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        data = target.read_bytes() if target.exists() else b""
        assert data == data[:1] * (3_000_000 if data else 0)
    for number in range(os.getpid() - 5, os.getpid() + 5):
        (tmp_path / f".{target.name}.{number}.part").touch()
    write_bytes(target, b"new")
    assert target.read_bytes() == b"new"
