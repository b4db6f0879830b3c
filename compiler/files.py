"""Files that appear complete or not at all."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import NetcError

_parts: dict[str, str] = {}
"""Files and folders that are being written under another name, with the one that they are to get."""
_SHOWN = 40
"""How much of a file's name its part's name repeats: file systems limit the length of names."""


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn failures of the operating system into a `NetcError` that names the file, by the name that it is to get."""
    try:
        yield
    except OSError as error:
        raise NetcError(f"can't write {_final_name(path)}: {error.strerror or error}") from None


@contextmanager
def part_of(target: Path, path: str | os.PathLike[str] | None = None) -> Iterator[Path]:
    """Another name in the same folder (see `beside`), for what will be `target`, which messages call `path`."""
    part = beside(target)
    _parts[str(part)] = str(target if path is None else path)
    try:
        yield part
    finally:
        del _parts[str(part)]


def _final_name(path: str | os.PathLike[str]) -> str:
    place = Path(path)
    return next((_parts[str(part)] for part in (place, *place.parents) if str(part) in _parts), os.fspath(path))


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file in one step: a reader sees the old one or the new one, never a part.

    What is no regular file (/dev/null, a pipe) is written as it is. Raises `NetcError` if it can't be written.
    """
    with replacing(path) as part:
        part.write_bytes(data)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A new, empty file that takes the place of `path` at the end of the block, unless that raises.

    It may be written or replaced itself, and gets the permissions of the file before it, else the usual ones. What is
    no regular file (/dev/null, a pipe) stays, and is written. Raises `NetcError` if the file can't be written.
    """
    with writing(path):
        target = _resolved(path)
        special = target.exists() and not target.is_file()
        place = _temporary_folder() / target.name if special else target
        with part_of(place, _final_name(path)) as part, _created(part):
            mode = stat.S_IMODE((target if target.exists() and not special else part).stat().st_mode)
            yield part
            if special:
                _copy(part, target)
            else:
                part.chmod(mode)
                part.replace(target)


def beside(path: Path) -> Path:
    """A path in the same folder that nobody else uses: not even a process of the same number that was killed."""
    return path.with_name(f".{path.name[:_SHOWN]}.{os.urandom(8).hex()}.part")


def _resolved(path: str | os.PathLike[str]) -> Path:
    """What links lead to."""
    target = os.path.realpath(path)
    if os.path.islink(target):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return Path(target)


@contextmanager
def _created(path: Path) -> Iterator[None]:
    """A new, empty file, which is gone afterwards unless it has got another name."""
    with path.open("xb"):
        pass
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _temporary_folder() -> Path:
    import tempfile  # seldom needed, and long to import

    return Path(tempfile.gettempdir())


def _copy(source: Path, target: Path) -> None:
    import shutil  # seldom needed, and long to import

    with source.open("rb") as data, target.open("wb") as stream:
        shutil.copyfileobj(data, stream)
