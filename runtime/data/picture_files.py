"""Which files of a folder or an archive are pictures: endings, and what is passed over, alike for all who read them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ...compiler.archives import Archive

SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".ppm", ".pgm", ".pbm", ".pnm"),
        *(".tif", ".tiff", ".webp", ".jp2", ".tga", ".avif"),
    )
)
"""Endings of files that are taken for pictures; whether Pillow can read one is found out when it is read."""
_OTHER = frozenset((".heic", ".heif", ".jxl", ".svg", ".psd", ".raw", ".dng", ".cr2", ".nef", ".arw", ".exr", ".dcm"))
"""Endings of pictures that are not read."""
_MACOS = "__MACOSX"
"""The folder in which macOS archives keep what isn't theirs to show."""


@dataclass(frozen=True, slots=True)
class Found:
    """Files that are pictures by their names, in sorted order, and why others are passed over."""

    files: tuple[str, ...]
    skipped: tuple[str, ...] = ()


def find_pictures(folder: Path) -> Found:
    """The pictures in a folder and in those below it; links are followed."""
    return _sorted_out((path, *_state(path)) for path in _candidates(folder))


def holds_pictures(folder: Path) -> bool:
    """Whether there are any."""
    return any(_reason(path, *_state(path)) is None for path in _candidates(folder))


def pictures_in_archive(path: Path) -> Found:
    """The members of a ZIP archive that are pictures; raises `NetcError` if it isn't one."""
    with Archive(path, what="archive of pictures") as archive:
        members = [(name.rstrip("/"), name.endswith("/"), archive.is_empty(name)) for name in archive.names]
    found = _sorted_out(member for member in members if _ending(member[0]) in SUFFIXES | _OTHER)
    return Found(found.files, tuple(f"{reason} (in {path})" for reason in found.skipped))


def first_few(reasons: Sequence[str], shown: int = 10) -> tuple[str, ...]:
    """The first few, and how many more there are."""
    more = (f"... and {len(reasons) - shown} more files",) if len(reasons) > shown else ()
    return (*reasons[:shown], *more)


def _candidates(folder: Path) -> Iterator[str]:
    """Whatever has the ending of a picture, folders included; no folder twice, so that links can't go in circles."""
    seen: set[str] = set()
    for home, folders, files in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(home)) in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from (os.path.join(home, n) for n in (*folders, *files) if _ending(n) in SUFFIXES | _OTHER)


def _state(path: str) -> tuple[bool, bool]:
    """Whether a path is a folder or the like, and whether it is empty or gone."""
    if not os.path.isfile(path):
        return os.path.exists(path), True
    return False, os.path.getsize(path) == 0


def _sorted_out(candidates: Iterable[tuple[str, bool, bool]]) -> Found:
    reasons = {path: _reason(path, is_folder, empty) for path, is_folder, empty in candidates}
    files = sorted((p for p, reason in reasons.items() if reason is None), key=lambda p: PurePosixPath(p).parts)
    return Found(tuple(files), tuple(f"{path} {reason}" for path, reason in sorted(reasons.items()) if reason))


def _reason(path: str, is_folder: bool, empty: bool) -> str | None:
    """Why something with the ending of a picture is none."""
    if is_folder:
        return "is no file"
    if any(part.startswith(".") for part in PurePosixPath(path).parts[-1:]) or _MACOS in PurePosixPath(path).parts:
        return "is a hidden file"
    if _ending(path) in _OTHER:
        return f"is passed over: pictures in {_ending(path)} files aren't read"
    return "is empty or a broken link" if empty else None


def _ending(name: str) -> str:
    return PurePosixPath(name).suffix.lower()
