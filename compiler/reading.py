"""Reading what strangers wrote: whatever goes wrong becomes a `NetcError` that names the file.

Libraries raise what they stumble over: besides OSError and ValueError, zlib.error, RecursionError of nested brackets,
OverflowError of long numbers, struct.error, KeyError ... No list of them is ever complete. So calls of libraries on
files and texts of users stand inside `reading`, which turns any of them into an error of the user's; code of netc
itself stays outside, so that its bugs are not taken for damaged files.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any

from .errors import NetcError
from .text import with_article

MAX_TEXT = 1 << 28
"""Largest text that is read, in bytes."""

_NOTED: ContextVar[dict[str, os.stat_result | None] | None] = ContextVar("noted files", default=None)


@contextmanager
def noting_files() -> Iterator[dict[str, os.stat_result | None]]:
    """While the context is open, note the files that are read, as they are then; None of those that weren't there."""
    noted: dict[str, os.stat_result | None] = {}
    token = _NOTED.set(noted)
    try:
        yield noted
    finally:
        _NOTED.reset(token)


def absolute(path: str | os.PathLike[str]) -> str:
    """The whole path. `os.path.abspath` takes `link/..` for the folder of the link, not of what it leads to."""
    if os.pardir not in Path(path).parts:
        return os.path.abspath(path)
    folder, name = os.path.split(path)
    return os.path.realpath(path) if name == os.pardir else os.path.join(os.path.realpath(folder), name)


def note_file(path: str | os.PathLike[str]) -> None:
    """Note a file that decides about a result; `open_file` and `require_file` do so by themselves."""
    noted = _NOTED.get()
    if noted is not None and (name := absolute(path)) not in noted:
        noted[name] = None
        with suppress(OSError):
            noted[name] = os.stat(path)


@contextmanager
def reading(path: str | os.PathLike[str], what: str = "file", hint: str | None = None) -> Iterator[None]:
    """Around calls of libraries that read `path`, which should be a `what`: their exceptions become `NetcError`."""
    try:
        yield
    except (NetcError, KeyboardInterrupt):
        raise
    except FileNotFoundError:
        raise NetcError(f"there is no {what} {os.fspath(path)}", hint=hint) from None
    except IsADirectoryError:
        raise NetcError(f"{os.fspath(path)} is a folder, not {with_article(what)}", hint=hint) from None
    except MemoryError:
        raise NetcError(f"can't read {os.fspath(path)}: not enough memory") from None
    except UnicodeDecodeError:
        raise NetcError(f"{os.fspath(path)} is not UTF-8 text", hint=hint) from None
    except OSError as error:
        if error.errno is not None:
            raise NetcError(f"can't read {os.fspath(path)}: {error.strerror or error}", hint=hint) from None
        raise _damaged(path, what, error, hint) from error
    except Exception as error:  # whatever a library stumbles over in a file that is no such thing
        raise _damaged(path, what, error, hint) from error


def _damaged(path: str | os.PathLike[str], what: str, error: Exception, hint: str | None) -> NetcError:
    return NetcError(f"{os.fspath(path)} is not {with_article(what)}, or is damaged: {reason(error)}", hint=hint)


def reason(error: BaseException) -> str:
    """What an exception of a library says, in a few words."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    text = " ".join((str(error) or type(error).__name__).split())
    return text if len(text) <= 200 else text[:200] + "..."


def open_file(path: str | os.PathLike[str], what: str = "file") -> IO[bytes]:
    """Open a file or a pipe for reading. Raises `NetcError` if that is impossible, and for folders and devices.

    A named pipe into which nobody writes is empty; it doesn't block.
    """
    with reading(path, what):
        handle = os.open(_checked(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        mode = os.fstat(handle).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
            os.close(handle)
            kind = "folder" if stat.S_ISDIR(mode) else "device"
            raise NetcError(f"{os.fspath(path)} is a {kind}, not {with_article(what)}")
        os.set_blocking(handle, True)
        return os.fdopen(handle, "rb")


def first_bytes(path: str | os.PathLike[str], count: int) -> bytes:
    """The first bytes of a regular file; none of anything else, as who reads a pipe needs all of what comes."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return b""
        with open(path, "rb", buffering=0) as file:
            return file.read(count)
    except (OSError, ValueError):  # who reads the file says what is wrong
        return b""


def _checked(path: str | os.PathLike[str]) -> str | os.PathLike[str]:
    if "\0" in os.fspath(path):
        raise NetcError(f"can't read {os.fspath(path)}: the name holds a null character")
    note_file(path)
    return path


def require_file(path: str | os.PathLike[str], what: str = "file") -> None:
    """Raise `NetcError` unless `path` is a regular file; for libraries that open files themselves."""
    with reading(path, what):
        mode = os.stat(_checked(path)).st_mode
    if not stat.S_ISREG(mode):
        kind = "folder" if stat.S_ISDIR(mode) else "pipe or a device"
        raise NetcError(f"{os.fspath(path)} is a {kind}, not {with_article(what)}")


def read_bytes(path: str | os.PathLike[str], what: str = "file", limit: int = MAX_TEXT) -> bytes:
    """The contents of a file or a pipe; raises `NetcError` if it can't be read or has more than `limit` bytes."""
    with open_file(path, what) as stream, reading(path, what):
        size = os.fstat(stream.fileno()).st_size  # 0 of a pipe, which shows its length by being read
        data = stream.read(limit + 1) if size <= limit else b""
    if max(size, len(data)) > limit:
        raise NetcError(f"{os.fspath(path)} is too large", hint=f"{with_article(what)} may have {limit:,} bytes")
    return data


def read_text(path: str | os.PathLike[str], what: str = "file", limit: int = MAX_TEXT) -> str:
    """The contents of a file of UTF-8 text, without a byte order mark; errors as for `read_bytes`."""
    data = read_bytes(path, what, limit)
    with reading(path, what):
        return data.decode("utf-8-sig")


def parse_json(text: str | bytes, path: str | os.PathLike[str], what: str) -> Any:
    """The value of a JSON text that came from `path`; raises `NetcError` if it isn't one."""
    with reading(path, what):
        return json.loads(text)


def lies_below(path: Path, folders: Iterable[Path]) -> bool:
    """Whether a path, its links followed, lies in one of the folders or below."""
    try:
        real = path.resolve()
        return any(real.is_relative_to(folder.resolve()) for folder in folders)
    except (OSError, ValueError, RuntimeError):  # such as links that lead in a circle
        return False
