"""Files are written in one step."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netc.compiler.errors import NetcError
from netc.compiler.files import write_bytes


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
