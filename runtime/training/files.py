"""Files of any size that appear complete or not at all, even if the power fails; see also `compiler.files`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ...compiler.files import replacing, writing


def replace_file(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` make a file under another name; then put it, safely on disk, in the place of `path`."""
    with replacing(path) as part:
        write(part)
        sync(part)
    with writing(path):
        sync(path.parent)


def sync(path: Path) -> None:
    """Wait until a file's contents, or a folder's entries, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
