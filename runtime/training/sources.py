"""Where samples come from: arrays in memory, or pictures in files that are decoded when they are needed.

A source gives any of its samples at any time; shuffling, augmentation and batching are built on that. `opening` makes
sources from the names that people write.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...compiler.archives import Archive
from ..classes import Names
from ..images import Picture, decode
from ..interpretation import Facts

Labels = NDArray[np.int32]


@dataclass(frozen=True)
class ArraySource:
    """Samples in memory: numbers [count, ...] of any type; `interpretation` says what they mean to a net."""

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


@dataclass(frozen=True)
class FileSource:
    """Pictures in files: sample i is what `reader` decodes from `keys[i]`; a damaged one raises `NetcError` there."""

    name: str
    classes: int
    labels: Labels
    keys: Sequence[str]
    reader: Callable[[str], Picture]
    """Can be pickled, for worker processes."""
    names: Names | None = None
    """Of the classes."""
    notes: tuple[str, ...] = ()
    """What was noticed when it was opened, for people."""

    def __len__(self) -> int:
        return len(self.labels)


Source = ArraySource | FileSource


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
