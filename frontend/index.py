"""Which file of a folder defines which net. The texts are scanned, not parsed: an answer takes milliseconds."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from ..compiler.errors import NetcError, near_miss
from ..compiler.reading import read_bytes
from ..compiler.text import shortened
from .budget import MAX_FILE
from .roots import models_folder

MAX_SCANNED = 500
"""Most files of a folder that are looked through."""

_NET = re.compile(rb'"(?:\\.|[^"\\\n])*"?|//[^\n]*|\bnet[ \t]+([A-Za-z_][A-Za-z0-9_]*)\s*[(=]')
"""A definition of a net; texts and comments match too, so that what stands in them doesn't."""


def nets_in(folder: Path) -> Mapping[str, Sequence[Path]]:
    """The names of all nets that the `.net` files of a folder define, in order, each with the files that do."""
    found: dict[str, list[Path]] = {}
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix == ".net")
    except (OSError, ValueError):
        return {}
    for path in files[:MAX_SCANNED]:
        for name in _names_in(path):
            found.setdefault(name, []).append(path)
    return dict(sorted(found.items()))


def shipped_nets() -> tuple[str, ...]:
    """Names of the nets that netc ships."""
    return tuple(nets_in(models_folder()))


def file_of(name: str, folder: Path) -> Path | None:
    """The file of a folder that defines the net `name`: the one called so, or the only one; None if there is none.

    Raises `NetcError` if there are two.
    """
    found = nets_in(folder).get(name, ())
    if len(found) > 1:
        if (own := folder / f"{name}.net") in found:
            return own
        files = " and ".join(str(path) for path in found)
        raise NetcError(f"two files define the net `{name}`: {files}", hint=f"give the file, and --net {name}")
    return found[0] if found else None


def locate(source: str | os.PathLike[str]) -> tuple[Path, str]:
    """The file that `source` means, and the net of it: the one named like the file.

    A bare word is a shipped net, in whichever shipped file it stands. Of `nets/resnet50.net`, where there is no such
    file, the net resnet50 in a file of that folder is meant. Raises `NetcError` if there is no such shipped net, and if
    two files define it.
    """
    path = Path(source)
    if os.path.exists(path):
        return path, path.stem
    if path.suffix == ".net":
        return file_of(path.stem, path.parent) or path, path.stem
    if len(path.parts) != 1 or path.suffix:  # a file's name: those of nets have no dots
        return path, path.stem
    name = str(source)
    found = file_of(name, models_folder())
    if found is None:
        names = shipped_nets()
        hint = near_miss(name, names) or "there are " + shortened(", ".join(names), 400)
        raise NetcError(f"there is no model `{name}`", hint=hint)
    return found, name


def _names_in(path: Path) -> tuple[str, ...]:
    try:
        status = path.stat()
        return _scanned(path, status.st_mtime_ns, status.st_size)
    except (NetcError, OSError, ValueError):
        return ()  # who reads the file says what is wrong


@lru_cache(maxsize=2 * MAX_SCANNED)
def _scanned(path: Path, changed: int, size: int) -> tuple[str, ...]:
    """The nets of a file as it was at a time."""
    text = read_bytes(os.fspath(path), limit=MAX_FILE)
    return tuple(dict.fromkeys(match[1].decode() for match in _NET.finditer(text) if match[1]))
