"""What a kind of data source says of itself.

A kind is one class in one file of `sources`: what people write, a line of help, its splits, what its samples are, what
its classes are called, and how it is opened. Training, evaluation, calibration, help and documentation ask it.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from ...compiler.errors import NetcError
from .classes import Names
from .images import Picture
from .source import ArraySource, FileSource, Labels, PictureFiles, Source

SPLITS = ("train", "test")
_AXES = ("height", "width", "channels")


@dataclass(frozen=True, slots=True)
class SampleType:
    """What one sample is: element type, shape [H, W, C] and range; None stands for any."""

    dtype: str | None
    shape: tuple[int | None, ...]
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        sizes = [axis if size is None else str(size) for axis, size in zip(_AXES, self.shape, strict=True)]
        ends = "" if self.low is None else f", {self.low:g} to {self.high:g}"
        return f"{self.dtype or 'pixels'} [{', '.join(sizes)}]{ends}"

    def fits(self, values: NDArray[Any]) -> bool:
        """Whether a sample has this type and shape."""
        pairs = zip(values.shape, self.shape, strict=False)
        right = values.ndim == len(self.shape) and all(wanted in (None, size) for size, wanted in pairs)
        return right and self.dtype in (None, str(values.dtype))


class Kind(ABC):
    """Anything that holds samples."""

    name: ClassVar[str]
    spelling: ClassVar[str]
    """What people write, with capitals for what they choose: `imagefolder:DIR`."""
    summary: ClassVar[str]
    """One line of help."""


class PictureKind(Kind):
    """Pictures without labels, which are good for calibration only."""

    @abstractmethod
    def finds(self, path: Path) -> bool:
        """Whether there is such a thing at `path`."""

    @abstractmethod
    def open(self, path: Path) -> PictureFiles:
        """The pictures; raises `NetcError` if there can be none."""


class SourceKind(Kind):
    """Labelled samples in splits."""

    splits: ClassVar[tuple[str, ...]] = SPLITS
    """One that has a single split gives it for training and for the test."""
    sample: ClassVar[SampleType | None] = None
    """What a sample is; None where the data say so."""
    classes: ClassVar[Names | int | None] = None
    """What the classes are called, or how many there are; None where the data say so."""
    in_memory: ClassVar[bool] = False
    """Whether pictures in files are so small that training keeps them decoded; `sample` must give their size."""

    @abstractmethod
    def open(self, where: Path, split: str) -> Source:
        """One split of what lies at `where`; raises `NetcError` for missing and damaged files."""

    def samples(self, where: Path) -> Source | PictureFiles:
        """What to calibrate with: of a source the first samples are taken, of files every n-th."""
        return self.open(where, "test" if "test" in self.splits else self.splits[0])

    @property
    def names(self) -> Names | None:
        """What the classes are called."""
        return self.classes if isinstance(self.classes, tuple) else None

    @property
    def count(self) -> int | None:
        """How many classes there are."""
        return len(self.classes) if isinstance(self.classes, tuple) else self.classes


class PathKind(SourceKind):
    """A source that is called by a path, with a prefix or an ending that tells its kind."""

    @abstractmethod
    def path(self, text: str) -> Path | None:
        """The path in `text`; None if `text` means something else."""


class FileKind(PathKind):
    """Pictures in files, called by a path behind the prefix `NAME:`."""

    sample = SampleType(None, (None, None, None))

    def path(self, text: str) -> Path | None:
        """What stands behind the prefix."""
        prefix = f"{self.name}:"
        return Path(os.path.expanduser(text.removeprefix(prefix))) if text.startswith(prefix) else None

    @abstractmethod
    def open(self, where: Path, split: str) -> FileSource:
        """One split; no picture is read."""

    def samples(self, where: Path) -> PictureFiles:
        """The pictures without what is known of them, every n-th: in order, the first may all be of one class."""
        source = self.open(where, "test")
        return PictureFiles(source.name, list(source.keys), source.reader, list(source.notes))


class NamedSet(SourceKind):
    """A data set with a name, which lies in the data folder; it can be narrowed, as in `mnist(classes = [0, 1])`."""

    home: ClassVar[str]
    """Its folder in the data folder."""
    origin: ClassVar[str]
    """What to do where it is missing."""

    def find(self, candidates: Sequence[Path]) -> Path:
        """The first file that is there; raises `NetcError` with all places and with `origin`."""
        for path in candidates:
            if os.path.isfile(path):
                return path
        raise NetcError(
            f"data set {self.name} is not there; looked for", details=map(str, candidates), hint=self.origin
        )

    def arrays(self, labels: NDArray[Any], values: NDArray[Any]) -> ArraySource:
        """Samples in memory, with the classes of this set."""
        return ArraySource(self.name, self.count, labels.astype("int32"), values, self.names)

    def files(self, labels: Labels, keys: Sequence[str], reader: Callable[[str], Picture]) -> FileSource:
        """Pictures in files, with the classes of this set."""
        assert self.count is not None, "a set of files says how many classes it has"
        return FileSource(self.name, self.count, labels, keys, reader, self.names)
