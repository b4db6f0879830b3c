"""Opening data sets: what is found, and what is said about what isn't."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from netc.compiler.errors import NetcError
from netc.runtime.data.registry import open_samples, open_source
from netc.runtime.data.source import ArchiveReader, ArraySource, FileSource
from netc.runtime.data.sources.cifar10 import Cifar10


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETC_CACHE_DIR", str(tmp_path / "cache"))


# ---- named data sets ------------------------------------------------------------------------------------------------


def write_idx(path: Path, values: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    header = b"".join(n.to_bytes(4, "big") for n in (0x800 + values.ndim, *values.shape))
    path.write_bytes(header + values.tobytes())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with small mnist and cifar10."""
    random = np.random.default_rng(0)
    for name in ("mnist", "cifar10"):
        (tmp_path / "data" / name).mkdir(parents=True)
    for prefix, count in (("train", 40), ("t10k", 20)):
        pixels = random.integers(0, 256, (count, 28, 28), np.uint8)
        write_idx(tmp_path / f"data/mnist/{prefix}-images-idx3-ubyte", pixels)
        write_idx(tmp_path / f"data/mnist/{prefix}-labels-idx1-ubyte", np.arange(count).astype(np.uint8) % 10)
    for name in ("test_batch", *(f"data_batch_{i}" for i in range(1, 6))):
        records = random.integers(0, 256, (7, 3073), np.uint8)
        records[:, 0] %= 10
        (tmp_path / f"data/cifar10/{name}.bin").write_bytes(records.tobytes())
    return tmp_path / "data"


def test_mnist(folder: Path) -> None:
    source = open_source("mnist", "train", folder)
    assert isinstance(source, ArraySource)
    assert (source.values.shape, source.values.dtype, source.classes) == ((40, 28, 28, 1), np.uint8, 10)
    assert source.labels.tolist() == [i % 10 for i in range(40)]
    assert len(open_source("mnist", "test", folder)) == 20


def test_classes_can_be_chosen(folder: Path) -> None:
    whole, source = open_source("mnist", "train", folder), open_source("mnist(classes=[7, 2])", "train", folder)
    assert isinstance(whole, ArraySource)
    assert isinstance(source, ArraySource)
    assert (source.classes, source.labels.tolist()) == (2, [1, 0] * 4)
    np.testing.assert_array_equal(source.values, whole.values[[2, 7, 12, 17, 22, 27, 32, 37]])


@pytest.fixture
def archive(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CIFAR-10 as an archive of pictures: three of each class to train on, one to test."""
    monkeypatch.setattr("netc.runtime.data.sources.cifar10.PER_CLASS", {"train": 3, "test": 1})
    for file in (folder / "cifar10").iterdir():
        file.unlink()
    path = folder / "cifar10" / "cifar10_jpeg.zip"
    write_cifar(path)
    return path


def write_cifar(path: Path, side: int = 32) -> None:
    """Each picture is of one colour: red says its class, green its number."""
    with zipfile.ZipFile(path, "w") as z:
        for label, name in enumerate(Cifar10.classes):
            for split, count in (("train", 3), ("test", 1)):
                for number in range(count):
                    data = io.BytesIO()
                    Image.new("RGB", (side, side), (20 * label, 80 * number, 0)).save(data, "PNG")
                    z.writestr(f"{split}/{name}/{number:04d}.jpg", data.getvalue())


def test_cifar10_comes_back_from_the_cache(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_source("cifar10", "train", archive.parents[1])
    monkeypatch.setattr(ArchiveReader, "__call__", None)
    second = open_source("cifar10", "train", archive.parents[1])
    assert isinstance(first, ArraySource)
    assert isinstance(second, ArraySource)
    assert (first.values.shape, first.names) == ((30, 32, 32, 3), Cifar10.classes)
    np.testing.assert_array_equal(first.values[:, 0, 0, 0], 20 * first.labels)
    assert np.bincount(first.labels).tolist() == [3] * 10
    np.testing.assert_array_equal(first.values, second.values)
    np.testing.assert_array_equal(first.labels, second.labels)


def test_cifar10_is_read_again_when_the_files_change(archive: Path) -> None:
    first = open_source("cifar10", "test", archive.parents[1])
    write_cifar(archive, side=31)
    with pytest.raises(NetcError, match=r"is uint8 \[31, 31, 3\], but this data set has uint8 \[32, 32, 3\]"):
        open_source("cifar10", "test", archive.parents[1])
    assert len(first) == 10


def test_calibration_decodes_an_archive_one_by_one(archive: Path) -> None:
    samples = open_samples("cifar10", archive.parents[1])
    assert isinstance(samples, FileSource)
    assert sorted(samples.labels.tolist()) == list(range(10))


def test_samples_are_what_a_kind_says(folder: Path) -> None:
    write_idx(folder / "mnist/t10k-images-idx3-ubyte", np.zeros((20, 27, 28), np.uint8))
    with pytest.raises(
        NetcError, match=r"samples of mnist are uint8 \[27, 28, 1\], but this data set has uint8 \[28, 28"
    ):
        open_source("mnist", "test", folder)


def test_imagenet_samples(image_folder: Path, tmp_path: Path) -> None:
    home = tmp_path / "data" / "imagenet_samples"
    home.mkdir(parents=True)
    with zipfile.ZipFile(home / "images.zip", "w") as archive:
        for number in range(4):
            archive.write(image_folder / "train" / "ant" / f"{number}.png", f"{number}.png")
    rows = [f"{n}.png,n{n},{10 * n},name" for n in range(4)]
    (home / "labels.csv").write_text("\n".join(["file,wnid,class,name", *rows]))
    source = open_source("imagenet-samples", "train", tmp_path / "data")
    assert isinstance(source, FileSource)
    assert (source.labels.tolist(), source.classes) == ([0, 10, 20, 30], 1000)
    picture = source.reader(source.keys[2])
    again = pickle.loads(pickle.dumps(source.reader))
    np.testing.assert_array_equal(again(source.keys[2]), picture)
    with pytest.raises(NetcError, match=r"9\.png in .*images\.zip is damaged"):
        source.reader("9.png")
    assert isinstance(source.reader, ArchiveReader)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mnits", "did you mean mnist"),
        ("svhn", "imagefolder:DIR"),
        ("mnist(classes=[1])", "two or more"),
        ("mnist(classes=[1, 1])", "two or more"),
        ("mnist(classes=[1, 10])", "0 to 9"),
        ("mnist(digits=[1, 2])", "no argument `digits`"),
        ("mnist, cifar10", "should be one name"),
    ],
)
def test_refuses_other_names(folder: Path, text: str, message: str) -> None:
    with pytest.raises(NetcError, match=message):
        open_source(text, "train", folder)


def test_missing_data_say_where_they_were_looked_for(tmp_path: Path) -> None:
    with pytest.raises(NetcError) as caught:
        open_source("mnist", "train", tmp_path)
    (finding,) = caught.value.diagnostics
    assert str(tmp_path / "mnist" / "train-images-idx3-ubyte.gz") in str(finding)
    assert "idx files" in (finding.hint or "")


def test_a_damaged_idx_file_stops(folder: Path) -> None:
    path = folder / "mnist" / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(NetcError, match="train-images-idx3-ubyte is damaged"):
        open_source("mnist", "train", folder)


def test_there_are_two_splits(folder: Path) -> None:
    with pytest.raises(NetcError, match="no split `val`"):
        open_source("mnist", "val", folder)


# ---- image folders --------------------------------------------------------------------------------------------------


def test_image_folder(image_folder: Path) -> None:
    (image_folder / "train" / "ant" / "notes.txt").write_text("no picture")
    (image_folder / "train" / "README").write_text("no class")
    source = open_source(f"imagefolder:{image_folder}", "train")
    assert isinstance(source, FileSource)
    assert (source.classes, source.labels.tolist()) == (3, [0] * 4 + [1] * 4 + [2] * 4)
    assert [Path(k).parent.name for k in source.keys] == ["ant"] * 4 + ["bee"] * 4 + ["cat"] * 4
    assert len(open_source(f"imagefolder:{image_folder}", "test")) == 6


def test_a_class_may_lack_in_val_but_not_in_train(image_folder: Path) -> None:
    (image_folder / "val" / "ant").rename(image_folder / "val" / "dog")
    with pytest.raises(NetcError, match="lacks: dog"):
        open_source(f"imagefolder:{image_folder}", "test")
    (image_folder / "val" / "dog").rename(image_folder / "elsewhere")
    assert open_source(f"imagefolder:{image_folder}", "test").labels.tolist() == [1, 1, 2, 2]


def test_the_test_split_alone_has_its_own_classes(image_folder: Path) -> None:
    (image_folder / "train").rename(image_folder / "elsewhere")
    source = open_source(f"imagefolder:{image_folder}", "test")
    assert (source.names, source.labels.tolist()) == (("ant", "bee", "cat"), [0, 0, 1, 1, 2, 2])
    with pytest.raises(NetcError, match="no train split"):
        open_source(f"imagefolder:{image_folder}", "train")


def test_pictures_in_deeper_folders_count(image_folder: Path) -> None:
    for split in ("train", "val"):
        (image_folder / split / "bee").rename(image_folder / "moved")
        (image_folder / split / "bee" / "2021").mkdir(parents=True)
        (image_folder / "moved").rename(image_folder / split / "bee" / "2021" / "may")
    (image_folder / "train" / "ant" / "again").symlink_to(image_folder / "train" / "ant")
    source = open_source(f"imagefolder:{image_folder}", "train")
    assert (source.labels.tolist(), source.notes) == ([0] * 4 + [1] * 4 + [2] * 4, ())
    assert open_source(f"imagefolder:{image_folder}", "test").labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_what_is_no_class_and_no_picture_is_said(image_folder: Path) -> None:
    (image_folder / "train" / "__MACOSX" / "ant").mkdir(parents=True)
    (image_folder / "train" / "__MACOSX" / "ant" / "._0.png").write_bytes(b"fork")
    (image_folder / "train" / "bee" / "._0.png").write_bytes(b"fork")
    (image_folder / "train" / "bee" / "empty.jpg").touch()
    for file in (image_folder / "val" / "cat").iterdir():
        file.unlink()
    source = open_source(f"imagefolder:{image_folder}", "train")
    assert (source.classes, len(source)) == (3, 12)
    assert source.notes == (
        f"{image_folder}/train/__MACOSX holds no pictures: it is no class",
        f"{image_folder}/train/bee/._0.png is a hidden file",
        f"{image_folder}/train/bee/empty.jpg is empty or a broken link",
    )
    (note, _) = open_source(f"imagefolder:{image_folder}", "test").notes[::-1]
    assert note == f"{image_folder}/val has no pictures of class cat"


@pytest.mark.parametrize(("make", "message"), [([], "no train split"), (["train"], "no folders of classes")])
def test_incomplete_image_folders(tmp_path: Path, make: list[str], message: str) -> None:
    for name in make:
        (tmp_path / name).mkdir()
    with pytest.raises(NetcError, match=message) as caught:
        open_source(f"imagefolder:{tmp_path}", "train")
    assert "DIR/train/CLASS" in str(caught.value)


def test_empty_classes(tmp_path: Path) -> None:
    (tmp_path / "train" / "ant").mkdir(parents=True)
    with pytest.raises(NetcError, match="holds no pictures"):
        open_source(f"imagefolder:{tmp_path}", "train")


# ---- arrays ---------------------------------------------------------------------------------------------------------


def save(path: Path, **arrays: Any) -> str:
    np.savez(path, **{k: np.asarray(v) for k, v in arrays.items()})
    return str(path)


def test_arrays(tmp_path: Path) -> None:
    pixels = np.zeros((3, 5, 5), np.uint8)
    path = save(tmp_path / "a.npz", x_train=pixels, y_train=[0, 1, 0], x_test=np.ones((2, 4)), y_test=[[2], [0]])
    train, test = open_source(path, "train"), open_source(path, "test")
    assert isinstance(train, ArraySource)
    assert isinstance(test, ArraySource)
    assert (train.values.shape, train.values.dtype, train.classes) == ((3, 5, 5), np.uint8, None)
    assert (test.values.shape, test.values.dtype, test.labels.tolist()) == ((2, 4), np.float64, [2, 0])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": [[1.0]]}, "no y_train"),
        ({"x_train": [[1.0]], "y_train": [0, 1]}, "doesn't fit its 2 labels"),
        ({"x_train": [[1.0]], "y_train": ["a"]}, "must hold numbers, one or more for each sample, not"),
        ({"x_train": [[1.0]], "y_train": 1}, "must hold numbers"),
        ({"x_train": [[1.0], [2.0]], "y_train": [0.0, np.nan]}, "an infinity or a NaN, the first for sample 1"),
        ({"x_train": [[1.0]], "y_train": [1], "y_test": [0.5]}, r"y_train int32\[1\] and y_test float64\[1\]"),
        ({"x_train": [[1.0]], "y_train": [[1.0, 2.0]], "y_test": [0.5]}, "splits don't mean the same"),
        ({"x_train": [["a"]], "y_train": [0]}, "must hold numbers"),
        ({"x_train": [[object()]], "y_train": [0]}, "holds Python objects"),
        ({"x_train": np.zeros((0, 2)), "y_train": np.zeros(0, int)}, "fit its 0 labels"),
    ],
)
def test_unsuitable_arrays(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(NetcError, match=message):
        open_source(save(tmp_path / "a.npz", **arrays), "train")


def test_damaged_arrays(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(b"PK\3\4 not really")
    with pytest.raises(NetcError, match=r"a\.npz is not a data file \(\.npz\), or is damaged"):
        open_source(str(path), "train")
    with pytest.raises(NetcError, match="there is no data file"):
        open_source(str(tmp_path / "b.npz"), "train")
