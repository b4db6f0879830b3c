"""The data folder, in which named data sets lie.

It is the folder given, else the environment variable NETC_DATA, else `../shared/data` seen from the repository or from
the current folder.
"""

from __future__ import annotations

import os
from pathlib import Path

from ...compiler.errors import NetcError


def data_folder(given: str | os.PathLike[str] | None = None) -> Path:
    """The folder that holds the data sets; raises `NetcError` that tells where it was looked for."""
    chosen = given or os.environ.get("NETC_DATA")
    if chosen:
        if os.path.isdir(chosen):
            return Path(chosen)
        origin = "--data-dir" if given else "the environment variable NETC_DATA"
        raise NetcError(f"there is no data folder {chosen} (from {origin})")
    candidates = _default_folders()
    for folder in candidates:
        if os.path.isdir(folder):
            return folder
    looked = ", ".join(str(c) for c in candidates)
    raise NetcError(f"there is no data folder; looked for {looked}", hint="set NETC_DATA or give --data-dir")


def _default_folders() -> list[Path]:
    """`../shared/data` from the current folder and, unless netc is installed elsewhere, from its repository."""
    repository = Path(__file__).resolve().parents[2]
    roots = [Path.cwd(), *([repository] if (repository / "pyproject.toml").is_file() else [])]
    return list(dict.fromkeys(root.parent / "shared" / "data" for root in roots))
