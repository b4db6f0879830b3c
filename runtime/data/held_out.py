"""Samples that calibration has not seen: accuracy is only worth something on others.

A picture is known by its pixels, so it is found again whatever it is called and wherever it lies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from ...compiler.errors import NetcError
from .images import Picture
from .source import ArraySource, Source

SEEN = "seen in calibration"
"""Why a sample was skipped."""


def fingerprints(pictures: Iterable[Picture]) -> frozenset[bytes]:
    """What pictures are known by."""
    return frozenset(map(_fingerprint, pictures))


def _fingerprint(picture: Picture) -> bytes:
    return hashlib.sha256(repr(picture.shape).encode() + np.ascontiguousarray(picture).tobytes()).digest()


def unseen(source: Source, seen: frozenset[bytes]) -> Source:
    """A source without the pictures in `seen`: in memory they are gone, files are skipped when they are read."""
    if not isinstance(source, ArraySource):
        return replace(source, reader=_Unseen(source.reader, seen))
    kept = np.array([_fingerprint(sample) not in seen for sample, _ in source])
    return replace(source, labels=source.labels[kept], values=source.values[kept])


@dataclass(frozen=True)
class _Unseen:
    """Reads pictures, but not those in `seen`."""

    reader: Callable[[str], Picture]
    seen: frozenset[bytes]

    def __call__(self, key: str) -> Picture:
        """A picture; raises `NetcError` for one of those."""
        picture = self.reader(key)
        if _fingerprint(picture) in self.seen:
            raise NetcError(SEEN)
        return picture
