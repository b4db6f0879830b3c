"""Data sets: found where they should be, read in the right order, damage named."""

import gzip
import hashlib
import json
import zipfile
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netc.compiler.errors import NetcError
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.ir import Graph
from netc.compiler.types import DType, TensorType
from netc.runtime.data.folder import data_folder
from netc.runtime.data.images import Preprocess, decode
from netc.runtime.data.registry import open_source
from netc.runtime.data.sources.cifar10 import Cifar10


def write_mnist(folder: Path, count: int = 3, *, compress: bool = True) -> np.ndarray:
    home = folder / "mnist"
    home.mkdir(parents=True)
    pictures = np.random.default_rng(0).integers(0, 256, (count, 28, 28), np.uint8)
    sizes = b"".join(n.to_bytes(4, "big") for n in (2051, count, 28, 28))
    labels = (2049).to_bytes(4, "big") + count.to_bytes(4, "big") + bytes(range(count))
    for stem, data in [("t10k-images-idx3-ubyte", sizes + pictures.tobytes()), ("t10k-labels-idx1-ubyte", labels)]:
        if compress:
            (home / f"{stem}.gz").write_bytes(gzip.compress(data))
        else:
            (home / stem).write_bytes(data)
    return pictures


@pytest.mark.parametrize("compress", [True, False])
def test_mnist_reads_plain_and_gzipped_files(tmp_path: Path, compress: bool) -> None:
    pictures = write_mnist(tmp_path, compress=compress)
    dataset = open_source("mnist", "test", tmp_path)
    assert len(dataset) == 3
    samples = list(dataset)
    assert [label for _, label in samples] == [0, 1, 2]
    np.testing.assert_array_equal(samples[2][0][:, :, 0], pictures[2])


def test_damaged_mnist_names_the_file(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    path = tmp_path / "mnist" / "t10k-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    raw = gzip.decompress(whole)
    for damaged in (b"", whole[:-20], gzip.compress(raw[:-1]), gzip.compress(b"\1" + raw[1:]), gzip.compress(b"\0\0")):
        path.write_bytes(damaged)
        with pytest.raises(NetcError, match=r"t10k-images-idx3-ubyte\.gz .*damaged"):
            open_source("mnist", "test", tmp_path)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files_that_claim_too_much_are_refused(tmp_path: Path, suffix: str) -> None:
    write_mnist(tmp_path, compress=bool(suffix))
    path = tmp_path / "mnist" / f"t10k-images-idx3-ubyte{suffix}"
    data = b"\0\0\x08\3" + b"\xff" * 12 + bytes(100)
    path.write_bytes(gzip.compress(data) if suffix else data)
    limit = "268,435,456" if suffix else "116"
    claim = (
        f"the array in .*ubyte{suffix} is too large: 79,228,162,458,924,105,385,300,197,375 bytes, of which {limit} may"
    )
    with pytest.raises(NetcError, match=claim):
        open_source("mnist", "test", tmp_path)


def test_mnist_with_too_few_labels_is_refused(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    labels = tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz"
    labels.write_bytes(gzip.compress((2049).to_bytes(4, "big") + (1).to_bytes(4, "big") + b"\0"))
    with pytest.raises(NetcError, match="labels don't fit"):
        open_source("mnist", "test", tmp_path)


@pytest.mark.parametrize("sizes", [(0, 28, 28), (3, 0, 28), (0, 1 << 31, 1 << 31)])
def test_mnist_without_pictures_is_refused(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    write_mnist(tmp_path)
    header = b"".join(n.to_bytes(4, "big") for n in (2051, *sizes))
    (tmp_path / "mnist" / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(header))
    with pytest.raises(NetcError, match="it holds no pictures"):
        open_source("mnist", "test", tmp_path)


def test_cifar10_binary_version(tmp_path: Path) -> None:
    home = tmp_path / "cifar10"
    home.mkdir()
    record = np.zeros((2, 3073), np.uint8)
    record[1, 0] = 9
    record[1, 1 + 1024 + 32 + 5] = 77  # green plane, row 1, column 5
    (home / "test_batch.bin").write_bytes(record.tobytes())
    (_, first), (picture, label) = open_source("cifar10", "test", tmp_path)
    assert (first, label) == (0, 9)
    assert picture[1, 5, 1] == 77
    (home / "test_batch.bin").write_bytes(record.tobytes()[:-1])
    with pytest.raises(NetcError, match=r"test_batch\.bin is damaged"):
        open_source("cifar10", "test", tmp_path)


def test_damaged_archive_names_it(tmp_path: Path) -> None:
    home = tmp_path / "cifar10"
    home.mkdir()
    archive = home / "cifar10_jpeg.zip"
    archive.write_bytes(b"PK not a zip")
    with pytest.raises(NetcError, match=r"cifar10_jpeg\.zip is not a ZIP archive, or is damaged"):
        next(iter(open_source("cifar10", "test", tmp_path)))
    with zipfile.ZipFile(archive, "w") as z:
        z.writestr("test/cat/0000.jpg", b"")
    with pytest.raises(NetcError, match=r"cifar10_jpeg\.zip is damaged"):
        next(iter(open_source("cifar10", "test", tmp_path)))


def test_damaged_label_table_is_named(tmp_path: Path) -> None:
    home = tmp_path / "imagenet_samples"
    home.mkdir()
    (home / "images.zip").write_bytes(b"")
    for text in ("", "file,class\na.jpg,tench\n", "file,class\na.jpg,1000\n", "name\nx\n"):
        (home / "labels.csv").write_text(text)
        with pytest.raises(NetcError, match=r"labels\.csv is damaged"):
            open_source("imagenet-samples", "test", tmp_path)


@pytest.mark.parametrize("name", ["mnist", "cifar10", "imagenet-samples"])
def test_absent_data_set_says_where_it_looked_and_how_to_get_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(NetcError) as caught:
        open_source(name, "test", tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "hint: put" in str(caught.value)


def test_unknown_names_and_splits(tmp_path: Path) -> None:
    with pytest.raises(NetcError, match="did you mean mnist"):
        open_source("mnsit", "test", tmp_path)
    with pytest.raises(NetcError, match="no split `validation`"):
        open_source("mnist", "validation", tmp_path)


def test_data_folder_from_option_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETC_DATA", str(tmp_path))
    assert data_folder() == tmp_path
    with pytest.raises(NetcError, match=r"none \(from --data-dir\)"):
        data_folder(tmp_path / "none")
    monkeypatch.setenv("NETC_DATA", str(tmp_path / "gone"))
    with pytest.raises(NetcError, match=r"gone \(from the environment variable NETC_DATA\)"):
        data_folder()


# ---- real data ------------------------------------------------------------------------------------------------------


def sha256(pixels: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def picture_net(size: int, **preprocess: object) -> Graph:
    builder = GraphBuilder("net", {"preprocess": preprocess})
    return builder.finish([builder.input("image", TensorType(DType.F32, (1, size, size, 3)))])


@pytest.fixture(scope="module")
def expected(data: Path) -> dict[str, Any]:
    path = data.parent / "weights" / "expected.json"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    return json.loads(path.read_text())["files"]


def test_photos_have_the_reference_pixels(data: Path, expected: dict[str, Any]) -> None:
    preprocess = Preprocess.of(picture_net(224, crop=0.875, resize="bilinear", divide=128, mean=1, std=1))
    examples = expected["mobilenet_v2_tf.safetensors"]["examples"]
    assert len(examples) == 3
    for example in examples:
        assert sha256(preprocess.pixels(decode(data / example["input"]))) == example["input_sha256"]


@pytest.mark.parametrize(("name", "weights"), [("mnist", "cnn_mnist"), ("cifar10", "cnn_cifar")])
def test_samples_have_the_reference_pixels_and_labels(
    data: Path, expected: dict[str, Any], name: str, weights: str
) -> None:
    dataset = open_source(name, "test", data)
    assert len(dataset) == 10000
    examples = expected[f"{weights}.safetensors"]["examples"]
    for (picture, label), example in zip(islice(dataset, 3), examples, strict=True):
        assert sha256(picture) == example["input_sha256"]
        assert label == example["label"]


def test_imagenet_samples_are_in_class_order(data: Path) -> None:
    dataset = open_source("imagenet-samples", "test", data)
    assert len(dataset) == 1000
    samples = list(islice(dataset, 3))
    assert [label for _, label in samples] == [0, 1, 2]
    assert all(min(picture.shape[:2]) == 256 for picture, _ in samples)


def test_train_splits(data: Path) -> None:
    assert len(open_source("mnist", "train", data)) == 60000
    cifar = Cifar10().open(data, "train")
    assert len(cifar) == 50000
    assert next(iter(cifar))[0].shape == (32, 32, 3)
