"""Compiled objects and saved programs on disk, so that a network is compiled once for each machine.

Files lie in `$NETC_CACHE_DIR`, else `netc` in the platform's cache folder (`$XDG_CACHE_HOME`, `~/.cache`,
`~/Library/Caches`). A file's name is the hash of everything that decides its contents; it starts with a checksum, so a
damaged or renamed file is noticed and compiled again. Files appear by renaming, so processes may share the folder. The
least recently used go once the folder exceeds `$NETC_CACHE_BYTES` (4 GiB). A folder that can't be used is no error.

What is in the cache runs as code. So only regular files of the user (or of root) in a folder of the user (or of root)
that nobody else may write to are taken from it; anything else is passed over, and said.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ..compiler import VERSION
from ..compiler.errors import NetcError
from ..compiler.text import shortened

if TYPE_CHECKING:
    from ..compiler.targets.target import Target

DEFAULT_BYTES = 4 * 1024 * 1024 * 1024
_MOST_DIGITS = 18
"""Of the number of bytes that a cache may have."""
_SUFFIX = ".netc-object"
_PROGRAM = ".netc"
_PART = ".netc-part"
_MAGIC = b"netc object 2\n"
_HEADER = len(_MAGIC) + hashlib.sha256().digest_size


@dataclass(frozen=True, slots=True)
class CompiledObject:
    """An object file, and how it was come by."""

    code: bytes = field(repr=False)
    hit: bool
    """It was in the cache."""
    problem: str | None = None
    """Why it could not be kept, if so."""


class CacheWarning(UserWarning):
    """Something in the cache was passed over, as it may be somebody else's."""


@dataclass(frozen=True, slots=True)
class ObjectCache:
    """A folder of objects that holds at most `limit` bytes; 0 keeps nothing."""

    folder: Path
    limit: int = DEFAULT_BYTES
    whole: ObjectCache | None = None
    """The cache that this one is a folder of; who writes here must own that, too."""

    @staticmethod
    def default() -> ObjectCache:
        """The cache that the environment asks for."""
        text = os.environ.get("NETC_CACHE_BYTES", "")
        if text and not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
            raise NetcError(
                f"NETC_CACHE_BYTES is `{shortened(text)}`", hint="give a whole number of bytes, 0 for no cache"
            )
        return ObjectCache(default_folder(), int(text) if text else DEFAULT_BYTES)

    def part(self, name: str) -> ObjectCache:
        """A folder of the cache, for files of another kind."""
        return ObjectCache(self.folder / name, self.limit, self)

    def get(self, key: str) -> bytes | None:
        """The object of a key; None where there is none or it is damaged. Marks it as used.

        What others could have written is none, either: that gives a `CacheWarning`.
        """
        if (file := self._entry(_name(key))) is None:
            return None
        with file, contextlib.suppress(OSError):
            data = file.read(max(self.limit, DEFAULT_BYTES) + 1)
            if data.startswith(_MAGIC + _digest(key, data[_HEADER:])):
                return data[_HEADER:]
        return None

    def program(self, key: str) -> IO[bytes] | None:
        """The saved program of a key, opened; None where there is none, or others could have written it.

        Marks it as used. It gives no warning: whoever compiles instead asks for an object, which does.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CacheWarning)
            return self._entry(f"{key}{_PROGRAM}")

    def read(self, name: str) -> bytes | None:
        """The contents of a file of any name; None where there is none. As for `get`, it must be nobody else's."""
        if (file := self._entry(name)) is None:
            return None
        with file:
            return file.read()

    def write(self, name: str, data: bytes) -> str | None:
        """Keep a file of any name; returns as `put` does."""
        return self._keep(name, len(data), lambda file: file.write(data))

    def _entry(self, name: str) -> IO[bytes] | None:
        """A file of the cache, opened and marked as used."""
        if not self.limit:
            return None
        try:
            with self._opened() as folder:
                file = _open_entry(self.folder / name, folder)
            with contextlib.suppress(OSError):
                os.utime(file.fileno())
            return file
        except _ForeignError as error:
            warnings.warn(f"not taken from the cache of compiled objects: {error}", CacheWarning, stacklevel=3)
        except OSError:
            pass
        return None

    def put(self, key: str, code: bytes) -> str | None:
        """Keep an object; returns why that was impossible, or None."""
        return self._keep(_name(key), len(code) + _HEADER, lambda file: file.write(_MAGIC + _digest(key, code) + code))

    def put_program(self, key: str, size: int, write: Callable[[IO[bytes]], object]) -> str | None:
        """Keep a saved program of about `size` bytes, which `write` writes into a file; returns as `put` does."""
        return self._keep(f"{key}{_PROGRAM}", size, write)

    def begin_program(self, size: int) -> Part | None:
        """A file of about `size` bytes that is to become a saved program; None where that is impossible."""
        if size > self.limit:
            return None
        try:
            self._make()
            with self._opened() as folder:
                return Part(self, *_begin_entry(folder))
        except (_ForeignError, OSError):
            return None

    def _keep(self, name: str, size: int, write: Callable[[IO[bytes]], object]) -> str | None:
        if size > self.limit:
            return f"the object is larger than the cache may be ({self.limit} bytes)"
        try:
            self._make()
            with self._opened() as folder:
                _write_entry(name, write, folder)
                self._trim(folder)
        except _ForeignError as error:
            return str(error)
        except OSError as error:
            return f"{self.folder}: {error.strerror or error}"
        return None

    def _make(self) -> None:
        """Make the folder, that of the whole cache first; raises `_ForeignError` unless this is ours alone."""
        if self.whole is not None:
            self.whole._make()
            with self.whole._opened():
                pass
        self.folder.mkdir(0o700, parents=True, exist_ok=True)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        """A descriptor of the folder; raises `_ForeignError` unless it is ours alone."""
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if reason := _foreign(os.fstat(folder)):
                cure = "chmod go-w, or let NETC_CACHE_DIR name a folder of your own"
                raise _ForeignError(f"{self.folder} {reason} ({cure})")
            yield folder
        finally:
            os.close(folder)

    def _trim(self, folder: int) -> None:
        """Delete the least recently used objects beyond the limit; another process may be doing the same."""
        entries = []
        with os.scandir(folder) as found:
            for entry in found:
                if entry.name.endswith((_SUFFIX, _PROGRAM, _PART)):
                    with contextlib.suppress(OSError):
                        status = entry.stat(follow_symlinks=False)
                        entries.append((status.st_mtime_ns, status.st_size, entry.name))
        total = sum(size for _, size, _ in entries)
        for _, size, name in sorted(entries):
            if total <= self.limit:
                break
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=folder)
            total -= size


class _ForeignError(Exception):
    """A folder or an entry may be somebody else's."""


def _foreign(status: os.stat_result) -> str | None:
    """Why somebody else may have written a folder or a file, if so."""
    if status.st_uid not in (0, os.geteuid()):
        return f"belongs to user {status.st_uid}"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "can be written by others"
    return None


def _open_entry(path: Path, folder: int) -> IO[bytes]:
    """Open an entry, which must be a regular file of our own; anything else is not waited for and not followed."""
    try:
        handle = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise _ForeignError(f"{path} is no regular file") from None
        raise
    status = os.fstat(handle)
    reason = _foreign(status) if stat.S_ISREG(status.st_mode) else "is no regular file"
    if reason:
        os.close(handle)
        raise _ForeignError(f"{path} {reason}")
    return os.fdopen(handle, "rb")


class Part:
    """A file of the cache that is being written, under a name that nobody asks for."""

    def __init__(self, cache: ObjectCache, name: str, file: IO[bytes]) -> None:
        """`file` can be written and read."""
        self._cache, self._name, self.file = cache, name, file

    def keep_program(self, key: str) -> None:
        """Make it the saved program of a key, if that is possible."""
        with contextlib.suppress(_ForeignError, OSError), self._cache._opened() as folder:
            self.file.flush()
            os.replace(self._name, f"{key}{_PROGRAM}", src_dir_fd=folder, dst_dir_fd=folder)
            self._cache._trim(folder)

    def close(self) -> None:
        """Close the file, which goes unless it was kept. What of it is mapped stays."""
        with contextlib.suppress(OSError):
            self.file.close()
        with contextlib.suppress(_ForeignError, OSError), self._cache._opened() as folder:
            os.unlink(self._name, dir_fd=folder)


def _begin_entry(folder: int) -> tuple[str, IO[bytes]]:
    """The name of a new file that is to become an entry, and the file."""
    part = f"{os.urandom(8).hex()}{_PART}"
    handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
    return part, os.fdopen(handle, "w+b")


def _write_entry(name: str, write: Callable[[IO[bytes]], object], folder: int) -> None:
    """Write beside the entry, then rename."""
    part, file = _begin_entry(folder)
    try:
        with file:
            write(file)
        os.replace(part, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part, dir_fd=folder)
        raise


def _name(key: str) -> str:
    return f"{key}{_SUFFIX}"


def _digest(key: str, code: bytes) -> bytes:
    """The checksum of an entry, which an entry under another name doesn't have."""
    return hashlib.sha256(key.encode() + b"\0" + code).digest()


def default_folder() -> Path:
    """Where objects are kept unless a caller says otherwise.

    Raises `NetcError` where there is no home.
    """
    if chosen := os.environ.get("NETC_CACHE_DIR"):
        return Path(chosen)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "netc"
    try:
        home = Path.home()
    except RuntimeError:
        raise NetcError("there is no home folder for compiled objects", hint="set NETC_CACHE_DIR to a folder") from None
    return (home / "Library" / "Caches" if sys.platform == "darwin" else home / ".cache") / "netc"


def cache_key(text: str, target: Target, whole: bool = True) -> str:
    """Hash of all that decides the object of an LLVM text."""
    from ..compiler.backends import backend_of

    parts = (VERSION, backend_of(target).fingerprint(target), "" if whole else "loadable", text)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def compile_object(
    text: str,
    target: Target,
    cache: ObjectCache | None = None,
    *,
    verify: Callable[[], object] | None = None,
    whole: bool = True,
) -> CompiledObject:
    """The object of an LLVM text: from the cache (None: the default one), else compiled and kept.

    Unless it must be `whole`, it is only to be loaded, and may be several objects.
    `verify`, which raises if the text must not become code, is called unless an object was made of this text before.
    """
    from concurrent.futures import ThreadPoolExecutor

    from ..compiler.backends import backend_of

    cache = cache or ObjectCache.default()
    key = cache_key(text, target, whole)
    found = cache.get(key)
    if found is not None:
        return CompiledObject(found, True)
    backend = backend_of(target)
    with ThreadPoolExecutor(1) as beside:  # LLVM lets other threads run
        verified = beside.submit(verify or (lambda: None))
        code = (backend.object_code if whole else backend.loadable_code)(text, target)
        verified.result()
    return CompiledObject(code, False, cache.put(key, code))
