"""Folders of pictures with masks, which give each pixel a class."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ....compiler.errors import NetcError
from ....compiler.reading import read_text
from ..classes import Names
from ..images import decode
from ..kinds import FileKind
from ..picture_files import Found, find_pictures, first_few
from ..registry import register
from ..source import FileSource

_PREFIX = "maskfolder:"
_LAYOUT = "the layout is DIR/train/images/*.jpg with DIR/train/masks/*.png, and DIR/val, or that of Pascal VOC"
_FOLDERS = {"train": ("train",), "test": ("val", "validation", "test")}
"""What a folder may call each split."""
_PICTURES, _MASKS, _LISTS = "JPEGImages", "SegmentationClass", Path("ImageSets", "Segmentation")
"""The folders of Pascal VOC."""
_CLASSES = "classes.txt"
_VOC = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""The classes of Pascal VOC 2012, in the order of their numbers in masks."""


@register
class MaskFolder(FileKind):
    """DIR/train/images/NAME.jpg with DIR/train/masks/NAME.png, and DIR/val; or the folders of Pascal VOC.

    Masks are grey or indexed pictures of class numbers, in which 255 marks pixels that don't count. The file
    DIR/classes.txt may name the classes, one on each line.
    """

    name = "maskfolder"
    spelling = "maskfolder:DIR"
    summary = "pictures in DIR/train/images and DIR/val/images, with a class for each pixel in masks beside them"

    def open(self, where: Path, split: str) -> FileSource:
        """List the pictures that have masks; none is read."""
        pairs = _voc(where, split) if os.path.isdir(where / _PICTURES) else _folders(where, split)
        if not pairs.pictures:
            details = first_few(pairs.notes)
            raise NetcError(f"{pairs.place} holds no pictures with masks", details=details, hint=_LAYOUT)
        names = _names(where)
        labels = np.zeros(0, np.int32)
        count = len(names) if names else None
        origin, notes = f"{_PREFIX}{where}", first_few(pairs.notes)
        return FileSource(origin, count, labels, pairs.pictures, decode, names, notes, masks=pairs.masks)


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Pictures and their masks, and what was passed over."""

    place: Path
    pictures: Sequence[str]
    masks: Sequence[str]
    notes: Sequence[str]


def _folders(home: Path, split: str) -> _Pairs:
    """Pictures and masks of one split, which have the same path below their folders but for the ending."""
    candidates = [home / name for name in _FOLDERS[split]]
    place = next((path for path in candidates if os.path.isdir(path)), None)
    if place is None:
        raise NetcError(f"there is no {split} split in {home}; looked for", details=map(str, candidates), hint=_LAYOUT)
    for part in ("images", "masks"):
        if not os.path.isdir(place / part):
            raise NetcError(f"{place} has no folder `{part}`", hint=_LAYOUT)
    pictures, masks = (find_pictures(place / part) for part in ("images", "masks"))
    known, own = _stems(masks, place / "masks"), _stems(pictures, place / "images")
    notes = [*pictures.skipped, *masks.skipped]
    notes += [f"{path} has no mask {place / 'masks' / stem}.png" for stem, path in own.items() if stem not in known]
    notes += [f"mask {path} has no picture" for stem, path in known.items() if stem not in own]
    both = [stem for stem in own if stem in known]
    return _Pairs(place, [own[stem] for stem in both], [known[stem] for stem in both], notes)


def _stems(found: Found, folder: Path) -> Mapping[str, str]:
    """Files by their path below a folder, without the ending; raises `NetcError` if two have the same."""
    stems: dict[str, str] = {}
    for path in found.files:
        stem = os.path.splitext(os.path.relpath(path, folder))[0]
        if stem in stems:
            raise NetcError(f"{stems[stem]} and {path} have the same name", hint="a mask belongs to one picture")
        stems[stem] = path
    return stems


def _voc(home: Path, split: str) -> _Pairs:
    """The pictures that ImageSets/Segmentation/train.txt or val.txt lists, one name on each line."""
    file = home / _LISTS / ("train.txt" if split == "train" else "val.txt")
    names = [line.strip() for line in read_text(file, "list of pictures").splitlines() if line.strip()]
    if outside := next((name for name in names if os.path.basename(name) != name), None):
        raise NetcError(f"{file} lists `{outside}`, which is no name of a picture")
    pictures, masks = ([str(home / f / f"{n}{e}") for n in names] for f, e in ((_PICTURES, ".jpg"), (_MASKS, ".png")))
    both = [i for i in range(len(names)) if os.path.isfile(pictures[i]) and os.path.isfile(masks[i])]
    notes = [f"{path} is not there" for path in _missing((*pictures, *masks))]
    return _Pairs(file, [pictures[i] for i in both], [masks[i] for i in both], notes)


def _missing(paths: Iterable[str]) -> list[str]:
    return [path for path in paths if not os.path.isfile(path)]


def _names(home: Path) -> Names | None:
    """What the classes are called."""
    if os.path.isfile(home / _CLASSES):
        lines = read_text(home / _CLASSES, "list of classes").splitlines()
        return tuple(line.strip() for line in lines if line.strip()) or None
    return _VOC if os.path.isdir(home / _PICTURES) else None
