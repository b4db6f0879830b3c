"""Pictures without labels, to calibrate with: in a folder or in a ZIP archive."""

from __future__ import annotations

import os
from pathlib import Path

from ....compiler.errors import NetcError
from ..images import decode
from ..kinds import PictureKind
from ..picture_files import find_pictures, pictures_in_archive
from ..registry import register
from ..source import ArchiveReader, PictureFiles

_HEADS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"GIF8", b"II*\0", b"MM\0*", b"RIFF", b"P")
"""How pictures begin."""
_TAILS = {b"\xff\xd8\xff": b"\xff\xd9", b"\x89PNG\r\n\x1a\n": b"IEND\xae\x42\x60\x82"}
"""How those that begin so end, unless they were cut off."""


@register
class PictureArchive(PictureKind):
    """Members that are pictures."""

    name = "archive"
    spelling = "FILE.zip"
    summary = "pictures in an archive"

    def finds(self, path: Path) -> bool:
        """Any file: whether it is an archive is found out when it is opened."""
        return os.path.isfile(path)

    def open(self, path: Path) -> PictureFiles:
        """List the members."""
        members = pictures_in_archive(path)
        return PictureFiles(str(path), list(members.files), ArchiveReader(path), list(members.skipped))


@register
class PictureFolder(PictureKind):
    """Pictures in a folder and below; it may hold an archive in place of pictures."""

    name = "folder"
    spelling = "DIR"
    summary = "pictures in a folder and below, or one archive of them"

    def finds(self, path: Path) -> bool:
        """Any folder."""
        return os.path.isdir(path)

    def open(self, path: Path) -> PictureFiles:
        """List the pictures."""
        found = find_pictures(path)
        if found.files:
            return PictureFiles(str(path), list(found.files), decode, list(found.skipped), _is_suspicious)
        archives = sorted(path.glob("*.zip"))
        if len(archives) != 1:
            raise NetcError(f"folder {path} holds neither pictures nor one ZIP archive of them")
        return PictureArchive().open(archives[0])


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
