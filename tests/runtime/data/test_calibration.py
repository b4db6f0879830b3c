"""Pictures to calibrate with: what is no picture counts as if it weren't there."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from netc.compiler.errors import NetcError
from netc.runtime.data.calibration import taken
from netc.runtime.data.registry import open_samples
from netc.runtime.data.source import ArraySource, PictureFiles


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight pictures of two kinds, each of one grey, in two folders."""
    for i in range(8):
        path = tmp_path / "cal" / f"{i % 2}" / f"{i}.{'png' if i % 3 else 'TIF'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 6), 10 * i, np.uint8)).save(path)
    return tmp_path / "cal"


def opened(path: Path) -> PictureFiles:
    pictures = open_samples(path)
    assert isinstance(pictures, PictureFiles)
    return pictures


def greys(pictures: PictureFiles, limit: int) -> list[int]:
    return [int(p[0, 0, 0]) for p in taken(pictures, limit)]


def add_junk(folder: Path) -> None:
    whole = (folder / "1" / "1.png").read_bytes()
    (folder / "0" / "._0.jpg").write_bytes(b"\0\5\26\7\0\2")
    (folder / "0" / "1cut.png").write_bytes(whole[:45])
    (folder / "0" / "3.jpg").write_bytes(b"no picture")
    (folder / "0" / "empty.png").touch()
    (folder / "1" / "dir.jpg").mkdir()
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "0.png").write_bytes(whole)
    (folder / "photo.heic").write_bytes(b"ftypheic")
    (folder / "gone.png").symlink_to(folder / "nothing")
    (folder / "notes.txt").write_text("no picture")


@pytest.mark.parametrize("limit", [1, 3, 5, 8, 100])
def test_junk_changes_nothing(folder: Path, limit: int) -> None:
    expected = greys(opened(folder), limit)
    assert len(expected) == min(limit, 8)
    add_junk(folder)
    pictures = opened(folder)
    assert greys(pictures, limit) == expected
    reasons = "\n".join(pictures.notes(limit, None))
    for name in ("._0.jpg", "1cut.png", "3.jpg", "empty.png", "dir.jpg", "__MACOSX/0.png", "photo.heic", "gone.png"):
        assert reasons.count(f"{name}") == 1, reasons
    assert "notes.txt" not in reasons


def test_junk_in_an_archive(folder: Path, tmp_path: Path) -> None:
    expected = greys(opened(folder), 100)
    add_junk(folder)
    (folder / "gone.png").unlink()
    shutil.make_archive(str(tmp_path / "all"), "zip", folder)
    with zipfile.ZipFile(tmp_path / "all.zip", "a") as archive:
        archive.writestr("__MACOSX/._1.png", b"x")
    pictures = opened(tmp_path / "all.zip")
    assert greys(pictures, 100) == expected
    assert any("__MACOSX/._1.png" in note for note in pictures.notes(100, None))


def test_pictures_that_disappear_are_passed_over(folder: Path) -> None:
    expected = greys(opened(folder), 3)
    path = folder / "0" / "2.5.png"
    path.write_bytes(b"x")
    pictures = opened(folder)
    path.unlink()
    assert greys(pictures, 3) == expected
    assert any("2.5.png" in reason for reason in pictures.skipped)


def test_nothing_but_junk(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    assert greys(opened(tmp_path), 10) == []
    np.savez(tmp_path / "x.npz", x=np.zeros(3))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(NetcError, match=r"has no x_test\n"):
        open_samples(tmp_path / "x.npz")
    with pytest.raises(NetcError, match="neither pictures nor one ZIP archive"):
        open_samples(empty)


def test_arrays_need_no_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x_test=np.arange(12, dtype=np.uint8).reshape(3, 2, 2))
    samples = open_samples(tmp_path / "x.npz")
    assert isinstance(samples, ArraySource)
    assert [sample[:, :, 0].tolist() for sample in taken(samples, 2)] == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]


def test_image_folders_are_spread(image_folder: Path) -> None:
    samples = open_samples(f"imagefolder:{image_folder}")
    assert isinstance(samples, PictureFiles)
    assert [Path(key).parent.name for key in samples.take(3)] == ["ant", "bee", "cat"]


def test_deep_pictures_are_said(tmp_path: Path) -> None:
    Image.fromarray(np.arange(16, dtype=np.uint16).reshape(4, 4) * 256).save(tmp_path / "a.png")
    (note,) = opened(tmp_path).notes(10, None)
    assert "16-bit grey from 0 to 3840: 65535 counts as white, so that its 16 values become 16" in note
    assert opened(tmp_path).notes(10, 4095) == ()
