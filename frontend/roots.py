"""The folders that a network's text may read from: its own and those below, the shipped models, and what is allowed.

A `.net` file of a stranger names other files (imports, labels, data); what these hold may end up in messages and
results. So no name leads out of these folders, not even through links.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from pathlib import Path

from ..compiler.errors import Location, NetcError
from ..compiler.reading import lies_below

_ALLOWED: ContextVar[tuple[Path, ...]] = ContextVar("allowed", default=())


def models_folder() -> Path:
    """Where the shipped models and their label files lie."""
    return Path(import_module("netc.models").__path__[0])


@contextmanager
def allowing(folders: Iterable[str | os.PathLike[str]]) -> Iterator[None]:
    """While the context is open, networks may also read from these folders and below."""
    token = _ALLOWED.set((*_ALLOWED.get(), *map(Path, folders)))
    try:
        yield
    finally:
        _ALLOWED.reset(token)


def allowed_folders() -> Sequence[Path]:
    """The folders that `allowing` has added."""
    return _ALLOWED.get()


def roots_of(folder: Path) -> Sequence[Path]:
    """The folders that a network in `folder` may read from."""
    return folder, models_folder(), *_ALLOWED.get()


def require_allowed(path: Path, roots: Sequence[Path], location: Location | None) -> None:
    """Raise `NetcError` if a path, its links followed, lies outside all roots; whether it exists is not told."""
    if not lies_below(path, roots):
        problem = f"{path} lies outside the folder of the network, {roots[0]}"
        raise NetcError(problem, location=location, hint="--allow-import DIR lets networks read from DIR as well")
