"""Files of any size that appear complete or not at all, even if the power fails; see also `compiler.files`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ...compiler.files import writing


def replace_file(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` make a file under another name; then put it, safely on disk, in the place of `path`."""
    part = path.with_name(f".{path.name}.part")
    with writing(path):
        try:
            write(part)
            sync(part)
            part.replace(path)
            sync(path.parent)
        finally:
            part.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file's contents, or a folder's entries, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
