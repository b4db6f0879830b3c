"""Labelled pictures for evaluation: mnist, cifar10 and imagenet-samples, read from a data folder.

The folder is the one given, else the environment variable NETC_DATA, else `../shared/data` seen from the repository
or from the current folder. A data set yields (picture, label) pairs lazily and in a fixed order.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..compiler.archives import Archive, check_size, open_packed, read_exactly
from ..compiler.errors import NetcError, near_miss
from ..compiler.reading import read_bytes
from .images import Picture, decode

Sample = tuple[Picture, int]


@dataclass(frozen=True)
class Dataset:
    """Labelled pictures: `len` of them, iterated as (uint8 [H, W, C], label in 0..classes - 1)."""

    name: str
    classes: int
    count: int
    samples: Callable[[], Iterator[Sample]]
    names: tuple[str, ...] | None = None
    """Of the classes."""

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Sample]:
        return self.samples()


def data_folder(given: str | os.PathLike[str] | None = None) -> Path:
    """The folder that holds the data sets; raises `NetcError` that tells where it was looked for."""
    chosen = given or os.environ.get("NETC_DATA")
    if chosen:
        if os.path.isdir(chosen):
            return Path(chosen)
        origin = "--data-dir" if given else "the environment variable NETC_DATA"
        raise NetcError(f"there is no data folder {chosen} (from {origin})")
    candidates = _default_folders()
    for folder in candidates:
        if os.path.isdir(folder):
            return folder
    looked = ", ".join(str(c) for c in candidates)
    raise NetcError(f"there is no data folder; looked for {looked}", hint="set NETC_DATA or give --data-dir")


def load_dataset(name: str, folder: str | os.PathLike[str] | None = None, split: str = "test") -> Dataset:
    """Open the data set called `name`.

    `split` is "test" or "train"; imagenet-samples only has the former. Raises `NetcError` for an unknown name, and for
    missing or damaged files (while iterating, for pictures inside an archive).
    """
    if name not in _LOADERS:
        hint = near_miss(name, _LOADERS) or "known: " + ", ".join(_LOADERS)
        raise NetcError(f"there is no data set `{name}`", hint=hint)
    if split not in ("test", "train") or (name, split) == ("imagenet-samples", "train"):
        raise NetcError(f"data set {name} has no split `{split}`")
    return _LOADERS[name](data_folder(folder), split)


def _default_folders() -> list[Path]:
    """`../shared/data` from the current folder and, unless netc is installed elsewhere, from its repository."""
    repository = Path(__file__).resolve().parents[1]
    roots = [Path.cwd(), *([repository] if (repository / "pyproject.toml").is_file() else [])]
    return list(dict.fromkeys(root.parent / "shared" / "data" for root in roots))


def _find(name: str, candidates: Sequence[Path]) -> Path:
    for path in candidates:
        if os.path.isfile(path):
            return path
    raise NetcError(f"data set {name} is not there; looked for", details=map(str, candidates), hint=_SOURCES[name])


# ---- mnist ----------------------------------------------------------------------------------------------------------


def _mnist(folder: Path, split: str) -> Dataset:
    prefix = "t10k" if split == "test" else "train"
    pictures = _read_idx(folder, f"{prefix}-images-idx3-ubyte", 3)
    labels = _read_idx(folder, f"{prefix}-labels-idx1-ubyte", 1)
    if pictures.size == 0:
        raise NetcError(f"data set mnist in {folder} is damaged: it holds no pictures")
    if len(pictures) != len(labels) or labels.max(initial=0) > 9:
        raise NetcError(f"data set mnist in {folder} is damaged: its labels don't fit its pictures")

    def samples() -> Iterator[Sample]:
        return ((picture[:, :, np.newaxis], int(label)) for picture, label in zip(pictures, labels, strict=True))

    return Dataset("mnist", 10, len(labels), samples, tuple(map(str, range(10))))


def _read_idx(folder: Path, stem: str, rank: int) -> NDArray[np.uint8]:
    """Read an IDX file of bytes, plain or gzipped: magic number 0x08RR, RR sizes, all big-endian, then the values."""
    names = (f"mnist/{stem}.gz", f"mnist/{stem}", f"{stem}.gz", stem)
    path = _find("mnist", [folder / name for name in names])
    with open_packed(path) as (stream, limit):
        start = 4 * (1 + rank)
        header = np.frombuffer(stream.read(start).ljust(start, b"\0"), ">u4")
        if header[0] != 0x800 + rank:
            raise NetcError(f"{path} is damaged: it does not start like an IDX file of {rank} dimensions")
        shape = tuple(int(size) for size in header[1:])
        check_size(f"the array in {path}", math.prod(shape), limit)
        return np.frombuffer(read_exactly(stream, math.prod(shape), str(path)), np.uint8).reshape(shape)


# ---- cifar10 --------------------------------------------------------------------------------------------------------

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_CIFAR_PER_CLASS = {"train": 5000, "test": 1000}
_CIFAR_RECORD = 1 + 3 * 32 * 32


def _cifar10(folder: Path, split: str) -> Dataset:
    """The binary version where it lies; else the archive of JPEG files, in the order of its conversion to binary."""
    names = ["test_batch.bin"] if split == "test" else [f"data_batch_{i}.bin" for i in range(1, 6)]
    homes = [folder / "cifar10", folder / "cifar10" / "cifar-10-batches-bin", folder / "cifar-10-batches-bin"]
    for home in homes:
        if all(os.path.isfile(home / name) for name in names):
            return _cifar10_binary([home / name for name in names])
    archive = folder / "cifar10" / "cifar10_jpeg.zip"
    _find("cifar10", [*(home / names[0] for home in homes), archive])
    return _cifar10_archive(archive, split)


def _cifar10_binary(paths: Sequence[Path]) -> Dataset:
    """Records of a label byte and the red, green and blue planes of 32 x 32 pixels."""
    batches = []
    for path in paths:
        data = np.frombuffer(read_bytes(path, "batch of pictures"), np.uint8)
        if data.size == 0 or data.size % _CIFAR_RECORD or data[::_CIFAR_RECORD].max() > 9:
            raise NetcError(f"{path} is damaged: it does not hold CIFAR-10 records of {_CIFAR_RECORD} bytes")
        batches.append(data.reshape(-1, _CIFAR_RECORD))
    records = np.concatenate(batches)

    def samples() -> Iterator[Sample]:
        return ((record[1:].reshape(3, 32, 32).transpose(1, 2, 0), int(record[0])) for record in records)

    return Dataset("cifar10", 10, len(records), samples, CIFAR10_CLASSES)


def _cifar10_archive(path: Path, split: str) -> Dataset:
    """SPLIT/CLASS/0000.jpg ..., shuffled as the conversion to binary does: one generator, train split first."""
    per_class = _CIFAR_PER_CLASS[split]
    shuffle = np.random.RandomState(0)
    order = shuffle.permutation(10 * _CIFAR_PER_CLASS["train"])
    if split == "test":
        order = shuffle.permutation(10 * _CIFAR_PER_CLASS["test"])

    def samples() -> Iterator[Sample]:
        members = (divmod(int(i), per_class) for i in order)
        names = ((f"{split}/{CIFAR10_CLASSES[label]}/{i:04d}.jpg", label) for label, i in members)
        return _archived_pictures(path, names)

    return Dataset("cifar10", 10, len(order), samples, CIFAR10_CLASSES)


def _archived_pictures(path: Path, members: Iterator[tuple[str, int]]) -> Iterator[Sample]:
    with Archive(path) as archive:
        for member, label in members:
            yield decode(archive.read(member), f"{member} in {path}"), label


# ---- imagenet-samples -----------------------------------------------------------------------------------------------


def _imagenet_samples(folder: Path, split: str) -> Dataset:
    """images.zip, and labels.csv with the columns file, wnid, class, name."""
    home = folder / "imagenet_samples"
    archive = _find("imagenet-samples", [home / "images.zip"])
    table = _find("imagenet-samples", [home / "labels.csv"])
    try:
        with table.open(encoding="utf-8", newline="") as stream:
            labels = [(row["file"], int(row["class"])) for row in csv.DictReader(stream)]
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        labels = []
    if not labels or not all(0 <= label < 1000 for _, label in labels):
        raise NetcError(f"{table} is damaged: it must have the columns file,wnid,class,name and classes 0 to 999")
    return Dataset("imagenet-samples", 1000, len(labels), lambda: _archived_pictures(archive, iter(labels)))


_LOADERS: dict[str, Callable[[Path, str], Dataset]] = {
    "mnist": _mnist,
    "cifar10": _cifar10,
    "imagenet-samples": _imagenet_samples,
}
_SOURCES = {
    "mnist": "put the four official idx files, gzipped or not, into DATA/mnist",
    "cifar10": "put the files of cifar-10-binary.tar.gz into DATA/cifar10",
    "imagenet-samples": "put images.zip and labels.csv (file,wnid,class,name) into DATA/imagenet_samples",
}
