"""Folders of pictures in the layout of ImageNet."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ....compiler.errors import NetcError
from ..images import decode
from ..kinds import FileKind
from ..picture_files import find_pictures, first_few, holds_pictures
from ..registry import register
from ..source import FileSource

_PREFIX = "imagefolder:"
_LAYOUT = "the layout is DIR/train/CLASS/*.jpg and DIR/val/CLASS/*.jpg"
_FOLDERS = {"train": ("train",), "test": ("val", "validation", "test")}
"""What an image folder may call each split."""


@register
class ImageFolder(FileKind):
    """DIR/train/CLASS/*.jpg and DIR/val/CLASS/*.jpg; classes are numbered in sorted order.

    Classes are the folders of the training split that hold pictures, also in folders below them; where there is no
    training split, those of the test split.
    """

    name = "imagefolder"
    spelling = "imagefolder:DIR"
    summary = "pictures in folders DIR/train/CLASS and DIR/val/CLASS"

    def open(self, where: Path, split: str) -> FileSource:
        """List the pictures of each class."""
        chosen = _split_folder(where, split)
        own_classes = split == "test" and not os.path.isdir(where / _FOLDERS["train"][0])
        listed = chosen if own_classes else _split_folder(where, "train")
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
        skipped = first_few([reason for each in found for reason in each.skipped])
        return FileSource(f"{_PREFIX}{where}", len(classes), labels, keys, decode, tuple(classes), (*notes, *skipped))


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
