"""Pictures to calibrate with: from a folder, from a ZIP archive or from a data set, spread over it evenly.

What can't be read is passed over as if it weren't there, so that the same pictures are taken with and without it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..compiler.errors import NetcError
from ..compiler.graph.ir import Array, Graph
from .datasets import Dataset, load_dataset
from .images import Picture, Preprocess, decode, depth_note, eight_bits
from .picture_files import find_pictures, pictures_in_archive, shortened
from .training.sources import ArchiveReader

Item = TypeVar("Item")

_HEADS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"GIF8", b"II*\0", b"MM\0*", b"RIFF", b"P")
"""How pictures begin."""
_TAILS = {b"\xff\xd8\xff": b"\xff\xd9", b"\x89PNG\r\n\x1a\n": b"IEND\xae\x42\x60\x82"}
"""How those that begin so end, unless they were cut off."""


@dataclass
class PictureFiles:
    """Pictures in files, of which as many as are asked for are taken, evenly spread over those that can be read."""

    origin: str
    keys: list[str]
    """Sorted; those that turn out to be no pictures are taken out."""
    reader: Callable[[str], Picture]
    skipped: list[str] = field(default_factory=list[str])
    """What was passed over and why, in words."""
    suspicious: Callable[[str], bool] = lambda key: False
    """Whether a file that isn't taken should be tried all the same: it counts in the spread only if it is a picture."""
    _sound: set[str] = field(default_factory=set[str])

    def take(self, limit: int) -> list[str]:
        """The keys of up to `limit` pictures, which were all read once."""
        if len(self.keys) > limit:
            self._try_out([key for key in self.keys if key not in self._sound and self.suspicious(key)])
        while True:
            chosen = _spread(self.keys, limit) if self.keys else []
            if not self._try_out([key for key in chosen if key not in self._sound]):
                return chosen

    def _try_out(self, keys: Sequence[str]) -> bool:
        """Take those that can't be read out of the list; true if there were any."""
        bad: set[str] = set()
        for key in keys:
            try:
                self.reader(key)
                self._sound.add(key)
            except NetcError as error:
                self.skipped.append(error.diagnostics[0].message)
                bad.add(key)
        self.keys = [key for key in self.keys if key not in bad]
        return bool(bad)

    def notes(self, limit: int, white: float | None) -> tuple[str, ...]:
        """What was passed over of `limit` pictures, and what is lost of deep ones; see `depth_note` for `white`."""
        chosen = self.take(limit)
        deep = depth_note(self.reader(chosen[0]), chosen[0], white) if chosen else None
        return (*(f"skipped: {reason}" for reason in shortened(self.skipped)), *((deep,) if deep else ()))


CalibrationPictures = PictureFiles | Dataset


def open_pictures(
    source: str | os.PathLike[str], data_dir: str | os.PathLike[str] | None = None
) -> CalibrationPictures:
    """Pictures in a folder or in a ZIP archive, or those of a data set, by name. Raises `NetcError` if there are none.

    A folder may hold an archive in place of pictures.
    """
    path = Path(source)
    if os.path.isdir(path):
        found = find_pictures(path)
        if found.files:
            return PictureFiles(str(path), list(found.files), decode, list(found.skipped), _is_suspicious)
        archives = sorted(path.glob("*.zip"))
        if len(archives) != 1:
            raise NetcError(f"folder {path} holds neither pictures nor one ZIP archive of them")
        path = archives[0]
    if path.suffix == ".npz":
        hint = "hand the array over in Python: netc.quantize(net, calibration=array)"
        raise NetcError(f"{path} holds arrays, not pictures", hint=hint)
    if os.path.isfile(path):
        members = pictures_in_archive(path)
        return PictureFiles(str(path), list(members.files), ArchiveReader(path), list(members.skipped))
    return load_dataset(str(source), data_dir)


def taken(pictures: CalibrationPictures, limit: int) -> Iterator[Picture]:
    """Up to `limit` pictures, as they are: of files every n-th, of a data set the first."""
    if isinstance(pictures, Dataset):
        return (picture for picture, _ in islice(pictures, limit))
    return map(pictures.reader, pictures.take(limit))


def calibration_inputs(graph: Graph, pictures: CalibrationPictures, limit: int = 100) -> Iterator[Array]:
    """Inputs float32 [N, H, W, C] of a graph, made of up to `limit` pictures as its `preprocess` declares.

    A last batch that would not be full is left out, unless it is the only one. Raises `NetcError` if there are no
    pictures.
    """
    preprocess = Preprocess.of(graph)
    size = graph.inputs[0].type.shape[0]
    rest = taken(pictures, limit)
    found = False
    while chunk := [preprocess(eight_bits(picture, preprocess.white)) for picture in islice(rest, size)]:
        if len(chunk) < size and found:
            return
        found = True
        yield np.stack([chunk[i % len(chunk)] for i in range(size)])
    if not found:
        name = pictures.name if isinstance(pictures, Dataset) else pictures.origin
        reasons = "; ".join(pictures.skipped) if isinstance(pictures, PictureFiles) else ""
        raise NetcError(f"there are no pictures in {name}", hint=reasons or None)


def _is_suspicious(path: str) -> bool:
    """Whether a file doesn't begin and end as pictures do, or can't be read."""
    try:
        with open(path, "rb") as file:
            head = file.read(8)
            file.seek(max(0, os.path.getsize(path) - 16))
            tail = file.read()
    except OSError:
        return True  # whoever reads the picture says why
    start = next((known for known in _HEADS if head.startswith(known)), None)
    return start is None or _TAILS.get(start, b"") not in tail


def _spread(items: Sequence[Item], limit: int) -> list[Item]:
    """Up to `limit` items, evenly spaced."""
    count = min(limit, len(items))
    return [items[i * len(items) // count] for i in range(count)]
