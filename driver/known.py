"""Networks that this machine has compiled before: their saved programs in the cache, found without the compiler.

A program is found by what was asked for, and taken if the files that it was made of are as they were: short ones by
their contents, long ones by place, size and times. The hash of what was asked for covers netc's own files and the
processor.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import netc

from .compiler.errors import Diagnostic, NetcError
from .compiler.reading import absolute
from .frontend.roots import allowed_folders, models_folder
from .readings import layout_read, reads_float_weights
from .runtime.cache import CacheWarning, ObjectCache
from .runtime.data.folder import data_folder
from .runtime.processor import description
from .runtime.saved import SavedFile

SHORT = 1 << 20
"""Bytes of a file that is compared by its contents."""
SETTLED = 2_000_000_000
"""Nanoseconds after which a change of a file shows in its times, whatever the file system."""

Files = Mapping[str, os.stat_result | None]
"""What a program was made of, as `reading.noting_files` notes it."""
Heard = list[tuple[str, str, Any]]
"""Module and name of the category of each warning, and what one is made of anew: its text, or a diagnostic as data."""


@contextmanager
def heeding_warnings() -> Iterator[Heard]:
    """Warnings are given at the end of the context, and are in its list then, to be given again with what was made."""
    heard: Heard = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield heard
    for warning in caught:
        if not issubclass(warning.category, CacheWarning):  # that is about this machine's cache
            heard.append((warning.category.__module__, warning.category.__qualname__, _content(warning.message)))
        warnings.warn(warning.message, warning.category, stacklevel=4)


def _content(message: Warning | str) -> Any:
    """What a warning is made of, in types that JSON has."""
    match message:
        case Warning(args=(Diagnostic() as finding,)):
            return finding.as_data()
        case _:
            return str(message)


def warn_again(saved: SavedFile) -> None:
    """Give the warnings that were given when a known network was compiled."""
    for module, name, content in saved.facts["warnings"]:
        known = module == "builtins" or module.startswith("netc.")
        category = getattr(importlib.import_module(module), name, UserWarning) if known else UserWarning
        warnings.warn(category(Diagnostic.from_data(content) if isinstance(content, dict) else content), stacklevel=3)


def key_of(model: str, weights: str | None, asked: Mapping[str, Any]) -> str | None:
    """The key of what is asked for; None where names don't tell which files are meant, and without a cache."""
    if not ObjectCache.default().limit or not description():
        return None
    if (meant := _meant(model)) is None:
        return None
    try:
        data = str(data_folder())
    except NetcError:
        data = ""
    parts = {
        "netc": _own_files(),
        "processor": description(),
        "model": meant,
        "weights": absolute(weights) if weights is not None else None,
        "folders": [absolute(folder) for folder in allowed_folders()],
        "reading": [reads_float_weights(), layout_read()],
        "data": absolute(data),
        **asked,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _meant(model: str) -> list[Any] | None:
    """What tells which file `frontend.index.locate` finds; None where names don't."""
    path = Path(model)
    if os.path.isfile(model):
        return [absolute(model)]
    if os.path.exists(model):
        return None
    if len(path.parts) == 1 and not path.suffix:
        return [model]
    if path.suffix != ".net":
        return None
    try:  # a net of one of these files
        with os.scandir(path.parent) as entries:
            found = [(entry.name, entry.stat()) for entry in entries if entry.name.endswith(".net")]
    except (OSError, ValueError):
        return None
    nets = sorted([name, status.st_size, status.st_mtime_ns] for name, status in found)
    return [absolute(model), *nets]


def find(key: str) -> SavedFile | None:
    """The saved program of a key, if there is one and its files are as they were."""
    cache = ObjectCache.default()
    file = cache.program(key)
    if file is None:
        return None
    try:
        saved = SavedFile(cache.folder / f"{key}.netc", file)
        return saved if all(map(_is_unchanged, saved.facts["files"])) else None
    except (NetcError, ValueError, TypeError, KeyError, OSError):  # damaged: it is made anew
        return None


def records(files: Files) -> list[list[Any]] | None:
    """What is to be known of files to tell whether they have changed; None where that can't be told."""
    own = [os.path.abspath(folder) + os.sep for folder in _folders()]
    found = []
    for path, status in sorted(files.items()):
        if any(path.startswith(folder) for folder in own):
            continue  # the key covers them
        record = _record(path)
        if record is None or (status is None) != (record[1] is None):
            return None
        if status is not None and [status.st_size, status.st_mtime_ns] != record[1:3]:
            return None
        found.append(record)
    return found


def _record(path: str) -> list[Any] | None:
    """Path, size, time of change, number of the file, and hash of a short file; None if the times don't tell enough."""
    try:
        status = os.stat(path)
    except OSError:
        return [path, None, None, None, None]
    if not os.path.isfile(path):
        return None
    digest = _hash(path) if status.st_size <= SHORT else None
    if digest is None and time.time_ns() - status.st_mtime_ns < SETTLED:
        return None
    return [path, status.st_size, status.st_mtime_ns, status.st_ino, digest]


def _is_unchanged(record: list[Any]) -> bool:
    path, size, changed, number, digest = record
    try:
        status = os.stat(path)
    except OSError:
        return size is None
    if digest is not None:
        return bool(status.st_size == size and _hash(path) == digest)
    return (status.st_size, status.st_mtime_ns, status.st_ino) == (size, changed, number)


def _hash(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.sha256(file.read(SHORT + 1)).hexdigest()


def _folders() -> Iterator[Path]:
    """Where netc's own files lie."""
    home = Path(netc.__path__[0])
    if not (home / "compiler").is_dir():  # a repository, where the parts lie side by side
        yield from (home.parent / part for part in ("compiler", "frontend", "runtime"))
    yield home
    yield models_folder()


def _own_files() -> str:
    """A hash of sizes and times of netc's own files: a netc that was changed makes other code."""
    lines = [line for folder in _folders() for line in _listing(os.fspath(folder))]
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _listing(folder: str) -> list[str]:
    """A line for the folder, one for each file in it, and those of the folders in it."""
    files, folders = list[str](), list[str]()
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_dir():
                status = entry.stat()
                files.append(f"{entry.name}\0{status.st_size}\0{status.st_mtime_ns}")
            elif entry.name != "__pycache__":
                folders.append(entry.path)
    return [folder, *sorted(files), *(line for path in sorted(folders) for line in _listing(path))]
