"""Files that appear complete or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import NetcError


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn failures of the operating system into a `NetcError` that names the file."""
    try:
        yield
    except OSError as error:
        raise NetcError(f"can't write {path}: {error.strerror or error}") from None


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file in one step: a reader sees the old one or the new one, never a part.

    What is no regular file (/dev/null, a pipe) is written as it is. Raises `NetcError` if it can't be written.
    """
    with writing(path):
        target = Path(path).resolve()
        if target.exists() and not target.is_file():
            target.write_bytes(data)
        else:
            _replace(target, data)


def _replace(target: Path, data: bytes) -> None:
    """Write beside the file, then rename."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as stream:
            stream.write(data)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
