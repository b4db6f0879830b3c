"""Pictures with objects in the layout of COCO: Lin et al., "Microsoft COCO: Common Objects in Context", 2014."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ....compiler.errors import NetcError
from ....compiler.reading import lies_below, parse_json, read_bytes
from ..images import decode
from ..kinds import FileKind
from ..objects import Category, ObjectSource, Thing
from ..picture_files import first_few
from ..registry import register

_PREFIX = "coco:"
_LAYOUT = "the layout is DIR/annotations/instances_val2017.json with the pictures in DIR/val2017"
_WHAT = "file of COCO's annotations"
_STEM = "instances_"
_SPLITS = {"train": ("train",), "test": ("val", "test")}
"""How the names of a split's annotations go on."""
_MAX_BYTES = 1 << 30
"""Largest file of annotations, in bytes: those of COCO's 118,287 pictures for training have 470 million."""
_MAX_SIDE = 1 << 15
"""Of a picture."""


@register
class Coco(FileKind):
    """DIR/annotations/instances_NAME.json with pictures in DIR/NAME, DIR/images/NAME or DIR/images.

    NAME begins with `train` or with `val`. `coco:FILE.json` names one of several files of annotations.
    """

    name = "coco"
    spelling = "coco:DIR"
    summary = "pictures with boxes of objects, as COCO has them: DIR/annotations/instances_*.json; for eval"

    def open(self, where: Path, split: str) -> ObjectSource:
        """Read the annotations; no picture is read."""
        file = where if where.suffix == ".json" else _annotations(where, split)
        content = _Content(file, parse_json(read_bytes(file, _WHAT, _MAX_BYTES), file, _WHAT))
        folder = _pictures(file)
        there, notes = list[int](), list[str]()
        for i, name in enumerate(content.files):
            path = folder / name
            if not lies_below(path, (folder,)):
                raise NetcError(f"{file} names the picture {name}, which lies outside of {folder}")
            if os.path.isfile(path):
                there.append(i)
            else:
                notes.append(f"{path} is not there")
        if not there:
            raise NetcError(f"none of the {len(content.files)} pictures of {file} is in {folder}", hint=_LAYOUT)
        return ObjectSource(
            f"{_PREFIX}{where}",
            None,
            np.zeros(0, np.int32),
            [str(folder / content.files[i]) for i in there],
            decode,
            notes=first_few(notes),
            categories=content.categories,
            things=[content.things[i] for i in there],
            sizes=[content.sizes[i] for i in there],
        )


def _annotations(home: Path, split: str) -> Path:
    """The file of a split; raises `NetcError` unless there is exactly one."""
    folder = home / "annotations"
    for start in _SPLITS[split]:
        found = sorted(folder.glob(f"{_STEM}{start}*.json"))
        if len(found) > 1:
            hint = f"name one: --data {_PREFIX}{found[-1]}"
            raise NetcError(f"{folder} has several files for the {split} split", details=map(str, found), hint=hint)
        if found:
            return found[0]
    looked = [str(folder / f"{_STEM}{start}*.json") for start in _SPLITS[split]]
    raise NetcError(f"there is no {split} split in {home}; looked for", details=looked, hint=_LAYOUT)


def _pictures(file: Path) -> Path:
    """The folder of the pictures that belong to a file of annotations."""
    home, name = file.absolute().parent.parent, file.stem.removeprefix(_STEM)
    candidates = [home / name, home / "images" / name, home / "images"]
    found = next((path for path in candidates if os.path.isdir(path)), None)
    if found is None:
        raise NetcError(f"there are no pictures for {file}; looked for", details=map(str, candidates), hint=_LAYOUT)
    return found


class _Content:
    """What a file of annotations says, checked: pictures with their objects, and the categories."""

    def __init__(self, file: Path, data: Any) -> None:
        self.file = file
        self.what = "the file"
        if not isinstance(data, dict):
            raise self._damage("it holds no object with images, annotations and categories")
        try:
            self._read(data)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            text = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise self._damage(text) from None

    def _read(self, data: Mapping[str, Any]) -> None:
        self.categories = [Category(_whole(r["id"]), _text(r["name"])) for r in self._each(data, "categories")]
        if not self.categories:
            raise ValueError("it has no categories")
        category_of = self._places("categories", [category.number for category in self.categories])
        ids = list[Any]()
        self.files, self.sizes = list[str](), list[tuple[int, int]]()
        for record in self._each(data, "images"):
            ids.append(_id(record["id"]))
            self.files.append(_text(record["file_name"]))
            self.sizes.append((_side(record["height"]), _side(record["width"])))
        picture_of = self._places("images", ids)
        self.things: list[list[Thing]] = [[] for _ in ids]
        for record in self._each(data, "annotations"):
            picture, category = _id(record["image_id"]), _whole(record["category_id"])
            if picture not in picture_of or category not in category_of:
                raise ValueError("its image_id or category_id is not in the lists of images and categories")
            place = picture_of[picture]
            self.things[place].append(_thing(record, category_of[category], self.sizes[place]))

    def _each(self, data: Mapping[str, Any], key: str) -> Iterator[Mapping[str, Any]]:
        """Its records; messages say which one was the last."""
        records = data[key]
        if not isinstance(records, list):
            raise ValueError(f"{key} must be a list")
        for number, record in enumerate(records):
            self.what = f"{key}[{number}]"
            if not isinstance(record, dict):
                raise ValueError("it must be an object")
            yield record
        self.what = "the file"

    def _places(self, key: str, ids: Sequence[Any]) -> Mapping[Any, int]:
        places = {each: i for i, each in enumerate(ids)}
        if len(places) < len(ids):
            raise ValueError(f"two of its {key} have the same id")
        return places

    def _damage(self, text: str) -> NetcError:
        return NetcError(f"{self.file} is not a {_WHAT}, or is damaged: {self.what}: {text}")


def _thing(record: Mapping[str, Any], category: int, size: tuple[int, int]) -> Thing:
    box = record["bbox"]
    if not isinstance(box, list) or len(box) != 4:
        raise ValueError("bbox must be [left, top, width, height]")
    left, top, width, height = map(_real, box)
    if width < 0 or height < 0:
        raise ValueError("bbox has a width or height below 0")
    area = _real(record.get("area", width * height))
    outline = record.get("segmentation") or None
    if outline is not None:
        _check_outline(outline, size)
    return Thing(category, (left, top, width, height), area, bool(record.get("iscrowd", 0)), outline)


def _check_outline(outline: Any, size: tuple[int, int]) -> None:
    """Refuse what COCO's tools, which look at nothing, would stumble over."""
    height, width = size
    if isinstance(outline, dict):
        runs = outline["counts"]
        if not isinstance(runs, list):
            raise ValueError("segmentation: counts must be a list of runs, without compression")
        if outline["size"] != [height, width] or any(_whole(r) < 0 for r in runs) or sum(runs) != height * width:
            raise ValueError(f"segmentation: its runs don't fill the {width} x {height} pixels of the picture")
        return
    if not isinstance(outline, list) or not all(isinstance(polygon, list) for polygon in outline):
        raise ValueError("segmentation must be a list of polygons, or runs")
    for polygon in outline:
        if len(polygon) < 6 or len(polygon) % 2:
            raise ValueError("segmentation: a polygon must have three points [x, y, x, y, x, y] or more")
        if not all(math.hypot(height, width) >= abs(_real(value)) for value in polygon):
            raise ValueError("segmentation: a polygon lies far outside of the picture")
        steps = (max(abs(polygon[i] - polygon[i - 2]), abs(polygon[i + 1] - polygon[i - 1])) for i in _pairs(polygon))
        if sum(steps) > height * width + 4 * (height + width):
            raise ValueError("segmentation: a polygon is longer than the picture has pixels")


def _pairs(polygon: Sequence[Any]) -> range:
    """Where the points of a polygon begin; the one before the first is the last."""
    return range(0, len(polygon), 2)


def _real(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r:.40} is not a number")
    return float(value)


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r:.40} is not a whole number")
    return value


def _id(value: object) -> int | str:
    return value if isinstance(value, str) else _whole(value)


def _side(value: object) -> int:
    if not 0 < (side := _whole(value)) <= _MAX_SIDE:
        raise ValueError(f"a picture can't have a side of {side} pixels")
    return side


def _text(value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(f"{value!r:.40} is not a name")
    return value
