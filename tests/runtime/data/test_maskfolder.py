"""Folders of pictures with masks: what is found, and what is said about the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from netc.compiler.errors import NetcError
from netc.runtime.data.images import decode_mask
from netc.runtime.data.registry import open_samples, open_source
from netc.runtime.data.source import FileSource, PictureFiles


def picture(path: Path, size: tuple[int, int] = (6, 5)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (10, 20, 30)).save(path)


def mask(path: Path, number: int = 1, size: tuple[int, int] = (6, 5), mode: str = "P") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new(mode, size, number)
    if mode == "P":
        image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0] + [99] * 759)
    image.save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "data"
    for split, count in (("train", 3), ("val", 2)):
        for i in range(count):
            picture(home / split / "images" / "a" / f"{i}.jpg")
            mask(home / split / "masks" / "a" / f"{i}.png", i)
    return home


def opened(folder: Path, split: str) -> FileSource:
    source = open_source(f"maskfolder:{folder}", split)
    assert isinstance(source, FileSource)
    return source


def test_pictures_and_masks(folder: Path) -> None:
    (folder / "classes.txt").write_text("ground\ncar\n\ntree\n")
    source = opened(folder, "train")
    assert (len(source), source.classes, source.names, source.notes) == (3, 3, ("ground", "car", "tree"), ())
    pairs = list(source)
    assert [(p.shape, m.shape, int(m[0, 0])) for p, m in pairs] == [((5, 6, 3), (5, 6), i) for i in range(3)]
    assert len(opened(folder, "test").first(1)) == 1
    samples = open_samples(f"maskfolder:{folder}")
    assert isinstance(samples, PictureFiles)
    assert len(samples.keys) == 2


def test_partners_that_lack(folder: Path) -> None:
    (folder / "train/masks/a/0.png").unlink()
    (folder / "train/images/a/2.jpg").unlink()
    (folder / "train/images/a/1.jpg").rename(folder / "train/images/a/1.png")
    source = opened(folder, "train")
    assert [Path(key).name for key in source.keys] == ["1.png"]
    assert [note.split(str(folder))[1] for note in source.notes] == [
        "/train/images/a/0.jpg has no mask ",
        "/train/masks/a/2.png has no picture",
    ]
    (folder / "train/masks/a/1.png").unlink()
    with pytest.raises(NetcError, match="holds no pictures with masks"):
        opened(folder, "train")


def test_two_of_one_name(folder: Path) -> None:
    picture(folder / "train/images/a/0.png")
    with pytest.raises(NetcError, match=r"0\.jpg and .*0\.png have the same name"):
        opened(folder, "train")


@pytest.mark.parametrize(("gone", "message"), [("train/masks", "no folder `masks`"), ("val", "no test split")])
def test_folders_that_lack(folder: Path, gone: str, message: str) -> None:
    (folder / gone).rename(folder / "elsewhere")
    with pytest.raises(NetcError, match=message) as caught:
        opened(folder, "test" if gone == "val" else "train")
    assert "masks/*.png" in (caught.value.diagnostics[0].hint or "")


def test_pascal_voc(tmp_path: Path) -> None:
    home = tmp_path / "VOC2012"
    lists = home / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for i in range(3):
        picture(home / "JPEGImages" / f"2007_{i}.jpg")
        mask(home / "SegmentationClass" / f"2007_{i}.png", 20 if i else 255)
    (lists / "train.txt").write_text("2007_0\n2007_2\n2007_9\n")
    (lists / "val.txt").write_text("2007_1\n")
    source = opened(home, "train")
    assert [Path(key).stem for key in source.keys] == ["2007_0", "2007_2"]
    assert (source.classes, (source.names or ())[20]) == (21, "tvmonitor")
    assert [note.split("/")[-1] for note in source.notes] == ["2007_9.jpg is not there", "2007_9.png is not there"]
    assert [int(m.max()) for _, m in opened(home, "test")] == [20]
    (lists / "val.txt").write_text("../../../../etc/passwd\n")
    with pytest.raises(NetcError, match="is no name of a picture"):
        opened(home, "test")
    (lists / "val.txt").unlink()
    with pytest.raises(NetcError, match=r"val\.txt"):
        opened(home, "test")


@pytest.mark.parametrize(("mode", "number"), [("P", 2), ("L", 200), ("1", 1), ("I;16", 254)])
def test_numbers_in_a_mask(tmp_path: Path, mode: str, number: int) -> None:
    mask(tmp_path / "m.png", number, mode=mode)
    found = decode_mask(tmp_path / "m.png")
    assert (found.dtype, found.shape, set(found.ravel().tolist())) == (np.uint8, (5, 6), {number})


@pytest.mark.parametrize(
    ("mode", "number", "message"),
    [("RGB", 0, "grey or indexed, with class numbers, not RGB"), ("I;16", 256, "from 0 to 255, not to 256")],
)
def test_what_is_no_mask(tmp_path: Path, mode: str, number: int, message: str) -> None:
    mask(tmp_path / "m.png", number, mode=mode)
    with pytest.raises(NetcError, match=message):
        decode_mask(tmp_path / "m.png")
