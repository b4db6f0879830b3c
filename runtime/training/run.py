"""A training run on disk: `runs/NAME-20260131-120000/`.

    run.json             recipe, exact command, versions; written once, before anything else
    metrics.jsonl        one record for every log step, epoch and skipped picture
    checkpoints/         the newest states, see `checkpoint`
    best.safetensors     weights with the best result so far
    last.safetensors     weights at the end of the newest epoch

A folder that lacks `run.json` is not a run: it gets its name only when that file is in it.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO

from ...compiler.errors import NetcError, near_miss
from ...compiler.files import part_of, writing
from ...compiler.reading import parse_json, read_text, require_file
from ..closing import Closing
from .checkpoint import CheckpointFolder
from .files import replace_file, sync

Record = Mapping[str, Any]

_DESCRIPTION = "run.json"
_METRICS = "metrics.jsonl"
_FORMAT = 1


class Run(Closing):
    """An open run folder, which one process may have open at a time."""

    def __init__(self, path: Path, description: Record, keep: int = 2) -> None:
        self.path = path
        self.description = description
        """What `run.json` holds."""
        self.checkpoints = CheckpointFolder(path / "checkpoints", keep)
        self.best = path / "best.safetensors"
        self.last = path / "last.safetensors"
        if os.path.exists(path / _METRICS):
            require_file(path / _METRICS, "file of metrics")
        self._lock = _lock(path)
        with writing(path / _METRICS):
            self._metrics: TextIO = (path / _METRICS).open("a", encoding="utf-8")

    @staticmethod
    def create(path: Path, recipe: Record, keep: int = 2) -> Run:
        """Make a folder for a new run, which must not exist or be empty."""
        check_free(path)
        text = json.dumps(_describe(recipe), indent=1) + "\n"
        with writing(path), part_of(path) as part:
            part.mkdir(parents=True)
            try:
                replace_file(part / _DESCRIPTION, lambda file: _write_text(file, text))
                part.replace(path)
                sync(path.parent)
            finally:
                shutil.rmtree(part, ignore_errors=True)
        return Run(path, json.loads(text), keep)

    @staticmethod
    def open(path: Path, keep: int = 2) -> Run:
        """Open an existing run to continue it."""
        return Run(path, read_description(path), keep)

    @property
    def recipe(self) -> Record:
        """The resolved recipe."""
        recipe: Record = self.description["recipe"]
        return recipe

    def log(self, record: Record) -> None:
        """Append a record to the metrics; it outlives this process from now on."""
        with writing(self.path / _METRICS):
            self._metrics.write(json.dumps(record) + "\n")
            self._metrics.flush()

    def log_position(self) -> int:
        """Bytes of metrics so far, all of them on disk."""
        with writing(self.path / _METRICS):
            os.fsync(self._metrics.fileno())
            return os.fstat(self._metrics.fileno()).st_size

    def rewind_log(self, position: int) -> None:
        """Forget records beyond `position`: the run goes on from there and will write them again."""
        with writing(self.path / _METRICS):
            if self._metrics.tell() > position:
                self._metrics.truncate(position)

    def records(self) -> Iterator[Record]:
        """The records written so far."""
        return read_records(self.path)

    def close(self) -> None:
        """Let other processes open the run."""
        with suppress(OSError):  # of a record that `log` could not write, and has said so
            self._metrics.close()
        os.close(self._lock)


def check_free(path: Path) -> None:
    """Raise `NetcError` if there is something where a new run is to be."""
    if os.path.exists(path) and (not os.path.isdir(path) or any(path.iterdir())):
        hint = (
            f"continue it with --resume {path}" if os.path.exists(path / _DESCRIPTION) else "choose another --run-dir"
        )
        raise NetcError(f"{path} exists already", hint=hint)


def new_run_path(net: str, parent: Path = Path("runs")) -> Path:
    """A folder for a run that starts now: `runs/NAME-20260131-120000`, with a number if that exists."""
    base = parent / f"{net}-{time.strftime('%Y%m%d-%H%M%S')}"
    path, number = base, 1
    while path.exists():
        number += 1
        path = base.with_name(f"{base.name}-{number}")
    return path


def read_description(path: Path) -> Record:
    """What `run.json` of a run holds; raises `NetcError` if `path` is not a run."""
    file = path / _DESCRIPTION
    if not os.path.exists(file):
        raise _not_a_run(path)
    description: Record = parse_json(read_text(file, "description of a run"), file, "description of a run")
    if not isinstance(description, dict) or not isinstance(description.get("recipe"), dict):
        raise NetcError(f"{file} is damaged: it holds no recipe")
    if description.get("format") != _FORMAT:
        raise NetcError(f"{file} was written by another version of netc")
    return description


def read_records(path: Path) -> Iterator[Record]:
    """The records of a run's metrics; a last line that was cut off is left out. Raises `NetcError` if damaged."""
    file = path / _METRICS
    if not os.path.exists(file):
        return
    lines = read_text(file, "file of metrics").split("\n")
    for number, line in enumerate(lines[:-1], 1):
        try:
            record = parse_json(line, file, "file of metrics")
        except NetcError:
            record = None
        if not isinstance(record, dict):
            raise NetcError(f"{file} is damaged at line {number}")
        yield record


def _not_a_run(path: Path) -> NetcError:
    if not os.path.exists(path):
        siblings = [p.name for p in path.parent.iterdir()] if os.path.isdir(path.parent) else []
        return NetcError(f"there is no run {path}", hint=near_miss(path.name, siblings))
    return NetcError(f"{path} is not a run: it has no {_DESCRIPTION}")


def _describe(recipe: Record) -> Record:
    return {
        "format": _FORMAT,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": sys.argv,
        "folder": os.getcwd(),
        "versions": {
            **{name: _version(name) for name in ("netc", "numpy", "llvmlite", "pillow")},
            "python": platform.python_version(),
            "platform": platform.platform(),
            "machine": platform.machine(),
        },
        "recipe": recipe,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _lock(path: Path) -> int:
    """Take the run for this process; the lock ends with it, however it ends."""
    with writing(path / ".lock"):
        handle = os.open(path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise NetcError(f"run {path} is in use by another process") from None
    return handle
