"""From the names of data sets to sources: mnist, cifar10, imagenet-samples, `imagefolder:DIR`, `FILE.npz`.

What is missing is reported with the places that were searched and how to get it; damaged files are named.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray

from ...compiler.archives import Archive
from ...compiler.errors import NetcError, near_miss
from ...compiler.spec import Spec, Value, parse_spec
from ..cache import ObjectCache
from ..datasets import CIFAR10_CLASSES, data_folder, load_dataset
from ..images import decode
from ..interpretation import Facts
from ..picture_files import find_pictures, holds_pictures, shortened
from .sources import ArchiveReader, ArraySource, FileSource, Labels, Source

SPLITS = ("train", "test")
_FOLDERS = {"train": ("train",), "test": ("val", "validation", "test")}
"""What an image folder may call each split."""


def open_source(text: str, split: str = "train", folder: str | os.PathLike[str] | None = None) -> Source:
    """Open one split, "train" or "test", of a data set.

    `text` is `mnist`, `cifar10`, `imagenet-samples` (both splits are the same pictures), `imagefolder:DIR` or a path
    to an `.npz` file; the first two can be narrowed, as in `mnist(classes = [0, 1])`, whose classes are then numbered
    from 0. `folder` is where named data sets lie (see `data_folder`). Raises `NetcError` for unknown names and for
    missing or damaged files, with the places that were searched.
    """
    if split not in SPLITS:
        raise NetcError(f"there is no split `{split}`", hint="there are train and test")
    if text.startswith("imagefolder:"):
        return _image_folder(Path(os.path.expanduser(text.removeprefix("imagefolder:"))), split)
    if text.endswith(".npz"):
        return _arrays(Path(os.path.expanduser(text)), split)
    spec, classes = _named_set(text)
    source = _NAMED[spec.name](split, folder)
    return source if classes is None else _narrowed(source, spec, classes)


def check_name(text: str) -> None:
    """Raise `NetcError` if `text` names no data set that there could be; files are not looked for."""
    if not text.startswith("imagefolder:") and not text.endswith(".npz"):
        _named_set(text)


def _named_set(text: str) -> tuple[Spec, Value]:
    """A named data set, and the classes that it is narrowed to."""
    spec = parse_spec(text.replace("imagenet-samples", "imagenet_samples"))
    if spec.name not in _NAMED:
        hint = near_miss(spec.name, _NAMED) or "there are " + ", ".join([*_NAMED, "imagefolder:DIR", "FILE.npz"])
        raise NetcError(f"there is no data set `{spec.name}`", hint=hint)
    return spec, spec.bind({"classes": None})["classes"]


def labelled_source(text: str, split: str = "test") -> Source | None:
    """The data set that `text` means, if it has labels: its name, or its folder; None for pictures without labels."""
    path = Path(text)
    if os.path.isdir(path):
        return open_source(path.name, split, path.resolve().parent) if path.name in _NAMED else None
    known = text.replace("imagenet-samples", "imagenet_samples") in _NAMED
    return open_source(text, split) if known else None


def _narrowed(source: Source, spec: Spec, classes: Value) -> Source:
    given = classes if isinstance(classes, tuple) else (classes,)
    count = source.classes or 0
    chosen = [c for c in given if isinstance(c, int) and not isinstance(c, bool) and 0 <= c < count]
    if len(chosen) < max(2, len(given)) or len(set(chosen)) < len(chosen):
        raise NetcError(f"`{spec}`: `classes` must be two or more different ones of 0 to {count - 1}")
    numbers = np.full(count, -1, np.int32)
    numbers[chosen] = np.arange(len(chosen))
    labels = numbers[source.labels]
    kept = np.flatnonzero(labels >= 0).tolist()
    names = tuple(source.names[c] for c in chosen) if source.names else None
    if isinstance(source, ArraySource):
        values = source.values[kept]
        return replace(source, classes=len(chosen), names=names, labels=labels[kept], values=values)
    keys = [source.keys[i] for i in kept]
    return replace(source, classes=len(chosen), names=names, labels=labels[kept], keys=keys)


# ---- named data sets ------------------------------------------------------------------------------------------------


def _mnist(split: str, folder: str | os.PathLike[str] | None) -> Source:
    return _in_memory("mnist", split, folder)


def _cifar10(split: str, folder: str | os.PathLike[str] | None) -> Source:
    """The archive of JPEG files takes a while to decode; the result is kept in the cache of compiled objects."""
    home = data_folder(folder) / "cifar10"
    files = sorted((str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in home.glob("*.*"))
    key = hashlib.sha256(repr((split, files, PIL.__version__)).encode()).hexdigest()
    cache = ObjectCache.default()
    data = np.frombuffer(cache.get(f"cifar10-{key}") or b"", np.uint8).reshape(-1, 1 + 32 * 32 * 3)
    if len(data):
        labels, pictures = data[:, 0].astype(np.int32), data[:, 1:].reshape(-1, 32, 32, 3)
        return ArraySource("cifar10", 10, labels, pictures, CIFAR10_CLASSES)
    source = _in_memory("cifar10", split, folder)
    records = np.concatenate([source.labels[:, np.newaxis], source.values.reshape(len(source), -1)], axis=1)
    cache.put(f"cifar10-{key}", records.astype(np.uint8).tobytes())
    return source


def _in_memory(name: str, split: str, folder: str | os.PathLike[str] | None) -> ArraySource:
    dataset = load_dataset(name, folder, split)
    pictures, labels = zip(*dataset, strict=True)
    return ArraySource(name, dataset.classes, np.array(labels, np.int32), np.stack(pictures), dataset.names)


def _imagenet_samples(split: str, folder: str | os.PathLike[str] | None) -> Source:
    dataset = load_dataset("imagenet-samples", folder)  # checks that the files are there and fit
    home = data_folder(folder) / "imagenet_samples"
    with (home / "labels.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    labels = np.array([int(row["class"]) for row in rows], np.int32)
    reader = ArchiveReader(home / "images.zip")
    return FileSource("imagenet-samples", dataset.classes, labels, [row["file"] for row in rows], reader)


_NAMED: Mapping[str, Callable[[str, str | os.PathLike[str] | None], Source]] = {
    "mnist": _mnist,
    "cifar10": _cifar10,
    "imagenet_samples": _imagenet_samples,
}


# ---- image folders --------------------------------------------------------------------------------------------------


def _image_folder(home: Path, split: str) -> Source:
    """The ImageNet layout: DIR/train/CLASS/*.jpg and DIR/val/CLASS/*.jpg; classes are numbered in sorted order.

    Classes are the folders of the training split that hold pictures, also in folders below them; where there is no
    training split, those of the test split.
    """
    chosen = _split_folder(home, split)
    listed = (
        chosen if split == "test" and not os.path.isdir(home / _FOLDERS["train"][0]) else _split_folder(home, "train")
    )
    classes, empty = _class_folders(listed)
    if unknown := sorted(set(_class_folders(chosen)[0]) - set(classes)):
        raise NetcError(f"{chosen} has classes that {listed} lacks: {', '.join(unknown[:10])}")
    found = [find_pictures(chosen / name) for name in classes]
    keys = [key for each in found for key in each.files]
    if not keys:
        raise NetcError(f"{chosen} holds no pictures", hint=_LAYOUT)
    labels = np.repeat(np.arange(len(classes), dtype=np.int32), [len(each.files) for each in found])
    notes = [f"{listed / name} holds no pictures: it is no class" for name in empty]
    notes += [f"{chosen} has no pictures of class {c}" for c, f in zip(classes, found, strict=True) if not f.files]
    skipped = shortened([reason for each in found for reason in each.skipped])
    return FileSource(f"imagefolder:{home}", len(classes), labels, keys, decode, tuple(classes), (*notes, *skipped))


_LAYOUT = "the layout is DIR/train/CLASS/*.jpg and DIR/val/CLASS/*.jpg"


def _class_folders(split: Path) -> tuple[list[str], list[str]]:
    """The names of a split's folders that hold pictures, and of those that hold none."""
    folders = sorted(entry.name for entry in split.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not folders:
        raise NetcError(f"{split} holds no folders of classes", hint=_LAYOUT)
    full = [name for name in folders if holds_pictures(split / name)]
    return full, [name for name in folders if name not in full]


def _split_folder(home: Path, split: str) -> Path:
    candidates = [home / name for name in _FOLDERS[split]]
    for path in candidates:
        if os.path.isdir(path):
            return path
    raise NetcError(f"there is no {split} split in {home}; looked for", details=map(str, candidates), hint=_LAYOUT)


# ---- arrays ---------------------------------------------------------------------------------------------------------


def _arrays(path: Path, split: str) -> Source:
    """`x_train`, `y_train`, `x_test` and `y_test`; `interpretation` says what the numbers mean to a net."""
    if not os.path.exists(path):
        raise NetcError(f"there is no data file {path}", hint=f"looked for {path.absolute()}")
    with Archive(path, what="data file (.npz)") as archive:
        names = archive.arrays
        missing = [name for name in (f"x_{split}", f"y_{split}") if name not in names]
        if missing:
            raise NetcError(f"{path} has no {' and no '.join(missing)}", hint="it has " + ", ".join(names))
        values = archive.array(f"x_{split}")
        labels = {s: archive.array(f"y_{s}") for s in SPLITS if f"y_{s}" in names}
    checked = {s: _class_numbers(f"y_{s} in {path}", array) for s, array in labels.items()}
    facts = _facts(f"x_{split} in {path}", values, checked[split])
    return ArraySource(path.name, None, checked[split], values, facts=facts)


def _class_numbers(name: str, array: NDArray[Any]) -> Labels:
    labels = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if labels.ndim == 1 and labels.dtype.kind == "i" and labels.min(initial=0) < 0:
        place = int(np.argmin(labels))
        raise NetcError(f"{name} holds {labels[place]} at {place}: classes are numbered from 0 on")
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        hint = "labels of other kinds are for Python: netc.compile_training(...).step(x, labels)"
        raise NetcError(f"{name} must hold one class number for each sample, not {_described(array)}", hint=hint)
    if labels.max(initial=0) > np.iinfo(np.int32).max:
        raise NetcError(f"{name} holds class numbers as large as {labels.max()}")
    return labels.astype(np.int32)


def _facts(name: str, values: NDArray[Any], labels: Labels) -> Facts:
    if values.ndim < 2 or len(values) != len(labels) or len(values) == 0:
        raise NetcError(f"{name} is {_described(values)}, which doesn't fit its {len(labels)} labels")
    return Facts.of(name, values)


def _described(array: NDArray[Any]) -> str:
    return f"{array.dtype}[{','.join(map(str, array.shape))}]"
