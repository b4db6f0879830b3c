"""Files that appear complete or not at all, even if the process is killed or the power fails."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ...compiler.errors import NetcError


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


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn failures of the operating system into a `NetcError` that names the file."""
    try:
        yield
    except OSError as error:
        raise NetcError(f"can't write {path}: {error.strerror or error}") from None
