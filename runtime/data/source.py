"""Opened data: arrays in memory, or pictures in files that are decoded when they are needed.

`ArraySource` and `FileSource` give labelled samples, any of them at any time; shuffling, augmentation and batching are
built on that. `PictureFiles` are pictures without labels. `registry` makes them from the names that people write.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...compiler.archives import Archive
from ...compiler.errors import NetcError
from .classes import Names
from .images import Mask, Picture, decode, decode_mask, depth_note
from .interpretation import Facts
from .picture_files import first_few

Labels = NDArray[Any]
"""Targets [n, ...]: mostly class numbers int32 [n]."""
Sample = tuple[NDArray[Any], Any]
"""Numbers [...], mostly a picture [H, W, C], and what belongs to it: mostly a class number."""
IGNORED = 255
"""The number in a mask that stands for no class: such pixels don't count."""
Item = TypeVar("Item")


@dataclass(frozen=True)
class ArraySource:
    """Samples in memory: numbers [count, ...] of any type; `interpretation` says what they mean to a net.

    `labels` are class numbers int32 [count], or targets of other kinds [count, ...]: see `targets`.
    """

    name: str
    classes: int | None
    """How many there are by the data's own list; None where it has none."""
    labels: Labels
    values: NDArray[Any]
    names: Names | None = None
    """Of the classes."""
    facts: Facts | None = None
    """About all samples, where this is a part of them."""
    notes: tuple[str, ...] = ()
    """What was noticed when it was opened, for people."""

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[Sample]:
        """Samples in their order; grey pictures [H, W] get a channel."""
        values = self.values[..., np.newaxis] if self.values.ndim == 3 else self.values
        return ((value, label) for value, label in zip(values, self.labels, strict=True))

    def first(self, limit: int | None) -> ArraySource:
        """The first samples; None: all."""
        return replace(self, labels=self.labels[:limit], values=self.values[:limit])

    @cached_property
    def digest(self) -> str:
        """What tells these samples from others: a hash of their numbers and targets."""
        return _digest(self.labels.tobytes(), np.ascontiguousarray(self.values).reshape(-1).view(np.uint8).data)


@dataclass(frozen=True)
class FileSource:
    """Pictures in files: sample i is what `reader` decodes from `keys[i]`; a damaged one raises `NetcError` there.

    Its class is `labels[i]`; where there are `masks`, it is in `masks[i]` that each pixel has one.
    """

    name: str
    classes: int | None
    labels: Labels
    keys: Sequence[str]
    reader: Callable[[str], Picture]
    """Can be pickled, for worker processes."""
    names: Names | None = None
    """Of the classes."""
    notes: tuple[str, ...] = ()
    """What was noticed when it was opened, for people."""
    masks: Sequence[str] = ()
    mask_reader: Callable[[str], Mask] = decode_mask
    groups: NDArray[np.int32] | None = None
    """Which file a sample lies in, int32 [n], where many lie in one: training reads these one after the other."""

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[Sample]:
        """Samples in their order, decoded one by one."""
        if self.masks:
            return ((self.reader(k), self.mask_reader(m)) for k, m in zip(self.keys, self.masks, strict=True))
        return ((self.reader(key), label) for key, label in zip(self.keys, self.labels, strict=True))

    def first(self, limit: int | None) -> FileSource:
        """The first samples; None: all."""
        groups = None if self.groups is None else self.groups[:limit]
        return replace(
            self, labels=self.labels[:limit], keys=self.keys[:limit], masks=self.masks[:limit], groups=groups
        )

    @cached_property
    def digest(self) -> str:
        """What tells these samples from others: a hash of their files' names, without folders, and of their classes."""
        return _digest(self.labels.tobytes(), _names((*self.keys, *self.masks)))


def _names(keys: Iterable[str]) -> bytes:
    """The names of files, without folders."""
    return "\n".join(map(os.path.basename, keys)).encode(errors="surrogateescape")


def _digest(*parts: bytes | memoryview) -> str:
    found = 0
    for part in parts:
        found = zlib.crc32(part, found)
    return f"{found:08x}"


Source = ArraySource | FileSource


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

    @property
    def digest(self) -> str:
        """What tells these pictures from others: a hash of the names of those that aren't known to be damaged."""
        return _digest(_names(self.keys))

    def notes(self, limit: int, white: float | None) -> tuple[str, ...]:
        """What was passed over of `limit` pictures, and what is lost of deep ones; see `depth_note` for `white`."""
        chosen = self.take(limit)
        deep = depth_note(self.reader(chosen[0]), chosen[0], white) if chosen else None
        return (*(f"skipped: {reason}" for reason in first_few(self.skipped)), *((deep,) if deep else ()))


@dataclass
class ArchiveReader:
    """Decodes members of a zip file, which each process opens for itself."""

    path: Path
    archive: Archive | None = field(default=None, repr=False)

    def __call__(self, member: str) -> Picture:
        """Decode one member; raises `NetcError` if it is damaged."""
        if self.archive is None:
            self.archive = Archive(self.path)
        return decode(self.archive.read(member), f"{member} in {self.path}")

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "archive": None}


def _spread(items: Sequence[Item], limit: int) -> list[Item]:
    """Up to `limit` items, evenly spaced."""
    count = min(limit, len(items))
    return [items[i * len(items) // count] for i in range(count)]
