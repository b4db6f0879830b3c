"""Pictures in tar files: what is found in which order, and what is said about the rest."""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from netc.compiler.errors import NetcError
from netc.runtime.data.registry import open_samples, open_source
from netc.runtime.data.source import FileSource, PictureFiles
from netc.runtime.training.random import grouped_permutation


def png(grey: int) -> bytes:
    data = io.BytesIO()
    Image.new("L", (4, 3), grey).save(data, "PNG")
    return data.getvalue()


def tar(path: Path, members: Mapping[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as file:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split, files in (("train", 3), ("val", 1)):
        for number in range(files):
            samples = range(number * 4, number * 4 + 4)
            members = {
                f"a/{i:03}.{e}": d for i in samples for e, d in (("png", png(i)), ("cls", f"{i % 3}\n".encode()))
            }
            tar(tmp_path / f"x-{split}-{number:02}.tar", {**members, "a/README": b"no sample"})
    return tmp_path


def opened(pattern: str, split: str) -> FileSource:
    source = open_source(f"tarshards:{pattern}", split)
    assert isinstance(source, FileSource)
    return source


@pytest.mark.parametrize("files", ["x-SPLIT-*.tar", "x-SPLIT-{00..02}.tar"], ids=["stars", "range"])
def test_samples(folder: Path, files: str) -> None:
    source = opened(str(folder / files), "train")
    assert source.labels.tolist() == [i % 3 for i in range(12)]
    read = pickle.loads(pickle.dumps(source)).reader
    assert [int(read(key)[0, 0, 0]) for key in source.keys] == list(range(12))
    assert source.groups is not None
    assert source.groups.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert len(source.notes) == 3
    assert "a/README in" in source.notes[0]


def test_splits_and_folders(folder: Path) -> None:
    assert len(opened(str(folder / "x-SPLIT-*.tar"), "test")) == 4
    assert len(opened(str(folder / "x-train-01.tar"), "test")) == 4
    tar(folder / "d" / "train" / "0.tar", {"1.jpg": png(1), "1.cls": b"0"})
    assert len(opened(str(folder / "d"), "train").first(1)) == 1
    samples = open_samples(f"tarshards:{folder}/x-SPLIT-*.tar")
    assert isinstance(samples, PictureFiles)
    assert len(samples.take(3)) == 3


def test_what_is_wrong(folder: Path) -> None:
    with pytest.raises(NetcError, match=r"there is no .*x-train-03.tar, which .* names"):
        opened(str(folder / "x-SPLIT-{00..03}.tar"), "train")
    with pytest.raises(NetcError, match="there are no tar files of the train split"):
        opened(str(folder / "y-*.tar"), "train")
    (folder / "z.tar").write_bytes(b"no tar file" * 100)
    with pytest.raises(NetcError, match=r"z\.tar"):
        opened(str(folder / "z.tar"), "train")
    tar(folder / "z.tar", {"1.jpg": png(1), "1.cls": b"cat", "2.jpg": png(1)})
    with pytest.raises(NetcError, match="holds no pictures with classes") as error:
        opened(str(folder / "z.tar"), "train")
    assert "1.cls in" in str(error.value.diagnostics[0].details)
    tar(folder / "z.tar", {"1.jpg": b"no picture", "1.cls": b"1"})
    source = opened(str(folder / "z.tar"), "train")
    with pytest.raises(NetcError, match=r"1\.jpg in .*z\.tar"):
        source.reader(source.keys[0])


def test_groups_stay_together() -> None:
    groups = np.repeat(np.arange(20, dtype=np.int32), 50)
    order = grouped_permutation(groups, 1, 0, window=100)
    assert sorted(order.tolist()) == list(range(1000))
    assert all(len(set(groups[order[start : start + 100]].tolist())) == 2 for start in range(0, 1000, 100))
    assert order[:100].tolist() != sorted(order[:100].tolist())
    other = grouped_permutation(groups, 1, 1, window=100)
    assert groups[order[::100]].tolist() != groups[other[::100]].tolist()
    assert grouped_permutation(groups, 1, 0, window=100).tolist() == order.tolist()
