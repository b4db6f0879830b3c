"""Compiled objects on disk, so that a network is compiled once for each machine.

Files lie in `$NETC_CACHE_DIR`, else `netc` in the platform's cache folder (`$XDG_CACHE_HOME`, `~/.cache`,
`~/Library/Caches`). A file's name is the hash of everything that decides its contents; it starts with a checksum, so a
damaged file is noticed and compiled again. Files appear by renaming, so processes may share the folder. The least
recently used go once the folder exceeds `$NETC_CACHE_BYTES` (512 MiB). A folder that can't be used is no error.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from ..compiler.codegen import machine
from ..compiler.codegen.target import Target
from ..compiler.errors import NetcError

DEFAULT_BYTES = 512 * 1024 * 1024
_SUFFIX = ".netc-object"
_MAGIC = b"netc object 1\n"
_HEADER = len(_MAGIC) + hashlib.sha256().digest_size


@dataclass(frozen=True, slots=True)
class CompiledObject:
    """An object file, and how it was come by."""

    code: bytes = field(repr=False)
    hit: bool
    """It was in the cache."""
    problem: str | None = None
    """Why it could not be kept, if so."""


@dataclass(frozen=True, slots=True)
class ObjectCache:
    """A folder of objects that holds at most `limit` bytes; 0 keeps nothing."""

    folder: Path
    limit: int = DEFAULT_BYTES

    @staticmethod
    def default() -> ObjectCache:
        """The cache that the environment asks for."""
        text = os.environ.get("NETC_CACHE_BYTES", "")
        if text and not text.isdecimal():
            raise NetcError(f"NETC_CACHE_BYTES is `{text}`", hint="give a whole number of bytes, 0 for no cache")
        return ObjectCache(default_folder(), int(text) if text else DEFAULT_BYTES)

    def get(self, key: str) -> bytes | None:
        """The object of a key; None where there is none or it is damaged. Marks it as used."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        code = data[_HEADER:]
        if data[:_HEADER] != _MAGIC + hashlib.sha256(code).digest():
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return code

    def put(self, key: str, code: bytes) -> str | None:
        """Keep an object; returns why that was impossible, or None."""
        if len(code) + _HEADER > self.limit:
            return f"the object is larger than the cache may be ({self.limit} bytes)"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._write(self._path(key), _MAGIC + hashlib.sha256(code).digest() + code)
            self._trim()
        except OSError as error:
            return f"{self.folder}: {error.strerror or error}"
        return None

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{_SUFFIX}"

    def _write(self, path: Path, data: bytes) -> None:
        handle, temporary = tempfile.mkstemp(dir=self.folder, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise

    def _trim(self) -> None:
        """Delete the least recently used objects beyond the limit; another process may be doing the same."""
        entries = []
        for path in self.folder.iterdir():
            if path.suffix in (_SUFFIX, ".tmp"):
                with contextlib.suppress(OSError):
                    status = path.stat()
                    entries.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries, key=lambda entry: entry[0]):
            if total <= self.limit:
                break
            with contextlib.suppress(OSError):
                path.unlink()
            total -= size


def default_folder() -> Path:
    """Where objects are kept unless a caller says otherwise."""
    if chosen := os.environ.get("NETC_CACHE_DIR"):
        return Path(chosen)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "netc"
    home = Path.home()
    return (home / "Library" / "Caches" if sys.platform == "darwin" else home / ".cache") / "netc"


def cache_key(text: str, target: Target) -> str:
    """Hash of all that decides the object of an LLVM text."""
    parts = (version("netc"), machine.fingerprint(target), text)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def compile_object(text: str, target: Target, cache: ObjectCache | None = None) -> CompiledObject:
    """The object of an LLVM text: from the cache (None: the default one), else compiled and kept."""
    cache = cache or ObjectCache.default()
    key = cache_key(text, target)
    found = cache.get(key)
    if found is not None:
        return CompiledObject(found, True)
    code = machine.object_code(text, target)
    return CompiledObject(code, False, cache.put(key, code))
