"""Pictures in tar files, in the layout of webdataset."""

from __future__ import annotations

import glob
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from ....compiler.errors import NetcError
from ....compiler.reading import reading
from ..images import Picture, decode
from ..kinds import FileKind
from ..picture_files import first_few
from ..registry import register
from ..source import FileSource

_PREFIX = "tarshards:"
_SPLIT = "SPLIT"
_SPLITS = {"train": ("train",), "test": ("val", "validation", "test")}
"""What stands for SPLIT in a pattern."""
_PICTURES = ("jpg", "jpeg", "png", "webp", "bmp", "ppm", "pgm", "gif", "tif", "tiff")
_CLASS = "cls"
_LAYOUT = "members are NAME.jpg (or .png, ...) and NAME.cls, one after the other; the latter is the number of the class"
_LONGEST_CLASS = 32
"""Bytes of a number."""
_OPEN = 16
"""Files that a process keeps open."""


@register
class TarShards(FileKind):
    """Tar files that match a pattern such as `DIR/train-{000..015}.tar` or `DIR/SPLIT-*.tar`.

    A sample is a picture with its class, members with the same name up to the first dot. A pattern without SPLIT gives
    the same samples for training and for the test; a folder stands for FOLDER/SPLIT/*.tar. In training the order of the
    files is drawn anew in each epoch and samples are mixed within a window, so that files are read one after the other.
    """

    name = "tarshards"
    spelling = "tarshards:PATTERN"
    summary = (
        "pictures in tar files as webdataset has them: a folder, or SPLIT-{000..015}.tar, where SPLIT is train or val"
    )

    def open(self, where: Path, split: str) -> FileSource:
        """List the members of all files; no picture is read."""
        files = _files(where, split)
        keys, labels, groups, skipped = list[str](), list[int](), list[int](), list[str]()
        for number, file in enumerate(files):
            for found in _members(file):
                if isinstance(found, str):
                    skipped.append(found)
                    continue
                keys.append(f"{number}:{found.offset}:{found.size}:{found.name}")
                labels.append(found.label)
                groups.append(number)
        if not keys:
            raise NetcError(f"{files[0]} holds no pictures with classes", details=first_few(skipped), hint=_LAYOUT)
        reader = TarReader(tuple(files))
        array, notes = np.asarray(labels, np.int32), tuple(first_few(skipped))
        origin = f"{_PREFIX}{where}"
        return FileSource(origin, None, array, keys, reader, notes=notes, groups=np.asarray(groups, np.int32))


@dataclass
class TarReader:
    """Decodes members of tar files, which each process opens for itself; can be pickled.

    A key is `FILE:OFFSET:BYTES:NAME`, where FILE is the number of the file.
    """

    files: tuple[str, ...]
    _open: dict[int, int] = field(default_factory=dict[int, int], repr=False)

    def __call__(self, key: str) -> Picture:
        """Decode one member; raises `NetcError` if it is damaged."""
        number, offset, size, name = key.split(":", 3)
        shown = f"{name} in {self.files[int(number)]}"
        try:
            data = os.pread(self._descriptor(int(number)), int(size), int(offset))
        except OSError as error:
            raise NetcError(f"can't read {shown}: {error.strerror}") from None
        return decode(data, shown)

    def _descriptor(self, number: int) -> int:
        """The open file, which the system is asked to read ahead from its beginning to its end."""
        if number not in self._open:
            while len(self._open) >= _OPEN:
                os.close(self._open.pop(next(iter(self._open))))
            descriptor = os.open(self.files[number], os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
            self._open[number] = descriptor
        return self._open[number]

    def __getstate__(self) -> dict[str, Any]:
        return {"files": self.files, "_open": {}}

    def __del__(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    offset: int
    size: int
    label: int


def _members(file: str) -> Iterator[_Member | str]:
    """The samples of a file in their order; of what can't be used, why."""
    with reading(file, "tar file"), open(file, "rb") as raw, tarfile.open(fileobj=raw, mode="r:") as tar:
        stem: str | None = None
        parts: dict[str, tarfile.TarInfo] = {}
        for member in tar:
            if not member.isfile():
                continue
            folder, name = os.path.split(member.name)
            base, _, ending = name.partition(".")
            if os.path.join(folder, base) != stem:
                if stem is not None:
                    yield _sample(file, stem, parts, raw.fileno())
                stem, parts = os.path.join(folder, base), {}
            parts[ending.lower()] = member
        if stem is not None:
            yield _sample(file, stem, parts, raw.fileno())


def _sample(file: str, stem: str, parts: dict[str, tarfile.TarInfo], descriptor: int) -> _Member | str:
    picture = next((parts[ending] for ending in _PICTURES if ending in parts), None)
    label = parts.get(_CLASS)
    if picture is None or label is None:
        return f"{stem} in {file} has no {'picture' if picture is None else f'.{_CLASS}'}"
    text = os.pread(descriptor, min(label.size, _LONGEST_CLASS), label.offset_data).decode("ascii", "replace").strip()
    if not re.fullmatch(r"\d{1,9}", text):
        return f"{label.name} in {file} is no number of a class: {text!r}"
    return _Member(picture.name, picture.offset_data, picture.size, int(text))


# ---- patterns -------------------------------------------------------------------------------------------------------


def _files(where: Path, split: str) -> list[str]:
    """The files of a split; raises `NetcError` if there are none, or if one of a range is missing."""
    pattern = os.path.join(where, _SPLIT, "*.tar") if os.path.isdir(where) else str(where)
    tried = [pattern.replace(_SPLIT, name) for name in _SPLITS[split]] if _SPLIT in pattern else [pattern]
    for each in tried:
        files = [file for plain in _expanded(each) for file in _matching(plain)]
        if missing := next((file for file in files if not os.path.isfile(file)), None):
            if len(files) > 1 and any(map(os.path.isfile, files)):
                raise NetcError(f"there is no {missing}, which {each} names")
            continue
        if files:
            return files
    raise NetcError(f"there are no tar files of the {split} split; looked for", details=tried, hint=_LAYOUT)


def _matching(pattern: str) -> Sequence[str]:
    return sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [pattern]


def _expanded(pattern: str) -> list[str]:
    """A pattern with each range `{000..015}` written out."""
    parts = re.split(r"\{(\d+)\.\.(\d+)\}", pattern)
    ranges = [
        [f"{number:0{len(low)}d}" for number in range(int(low), int(high) + 1)]
        for low, high in zip(parts[1::3], parts[2::3], strict=True)
    ]
    return ["".join(_woven(parts[::3], chosen)) for chosen in product(*ranges)]


def _woven(texts: Sequence[str], numbers: Sequence[str]) -> Iterator[str]:
    for text, number in zip(texts, (*numbers, ""), strict=True):
        yield text + number
