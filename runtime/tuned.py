"""What `netc tune` has found: files in the folder `tuned` of the cache, for one network on one kind of machine each.

    NETWORK-MACHINE.measured    what was measured: ratios of times by kernel, decision and setting
    NETWORK-MACHINE.choices     what programs are compiled with: settings by kernel and decision

NETWORK is a hash of the graph without the numbers of its weights, and of threads, precision and passes; MACHINE one of
the processor, its caches and the versions of netc and LLVM. So results of another machine aren't even looked at. A
file is a line with a checksum, then JSON. Compilation notes the files that it looked for (`reading.note_file`), so that
saved programs in the cache are made again when results come or go.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..compiler import VERSION
from ..compiler.errors import NetcError
from ..compiler.lowering.choices import Choice, Chosen, NetworkChoices
from ..compiler.lowering.group import Setting
from ..compiler.reading import note_file
from .cache import ObjectCache

FOLDER = "tuned"
CHOICES, MEASURED = ".choices", ".measured"
_HEAD = "netc tuned 1 "
_CURE = "`netc tune` measures anew"


@dataclass(frozen=True, slots=True)
class Place:
    """Where results for a network and a machine lie."""

    network: str
    machine: str

    @staticmethod
    def of(network: str, settings: Sequence[object], machine: Sequence[object]) -> Place:
        """The place for the key of a network, how it is compiled, and what tells its machine from others."""
        return Place(_hash(network, *settings)[:24], _hash(VERSION, *machine)[:16])

    @property
    def stem(self) -> str:
        """The names of its files without their suffixes."""
        return f"{self.network}-{self.machine}"


def _hash(*facts: object) -> str:
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def cache() -> ObjectCache:
    """The folder of results, as a part of the cache."""
    return ObjectCache.default().part(FOLDER)


def are_there() -> bool:
    """Whether there are results of any network; costs next to nothing where there are none."""
    found = cache()
    if not found.limit:
        return False
    there = found.folder.is_dir()
    if not there:
        note_file(found.folder)
    return there


# ---- what is kept ---------------------------------------------------------------------------------------------------


def kept_choices(place: Place) -> NetworkChoices | None:
    """The choices that are kept for a network; None where there are none. A damaged file gives a warning."""
    note_file(cache().folder / f"{place.stem}{CHOICES}")
    try:
        content = read(place, CHOICES)
        return choices_of(content["kernels"]) if content is not None else None
    except NetcError as error:
        problem = error.diagnostics[0].message
        warnings.warn(f"{problem}: the network is compiled without ({_CURE})", UserWarning, stacklevel=3)
        return None


def choices_of(kernels: Mapping[str, Mapping[str, Sequence[Any]]]) -> NetworkChoices:
    """NetworkChoices from the form that files have."""
    return NetworkChoices(
        {
            problem: Choice({name: Chosen(*map(setting_of, pair)) for name, pair in decisions.items()})
            for problem, decisions in kernels.items()
        }
    )


def plain_choices(choices: NetworkChoices) -> dict[str, dict[str, list[Setting]]]:
    """NetworkChoices in the form that files have."""
    return {
        problem: {name: [chosen.default, chosen.setting] for name, chosen in choice.decisions.items()}
        for problem, choice in choices.by_problem.items()
    }


def setting_of(value: Any) -> Setting:
    """A setting from JSON, which has lists for tuples."""
    if isinstance(value, list):
        return tuple(int(item) for item in value)
    if not isinstance(value, str | int):
        raise TypeError(f"{value!r} is no setting")
    return value


# ---- files ----------------------------------------------------------------------------------------------------------


def read(place: Place, suffix: str) -> dict[str, Any] | None:
    """The contents of a file; None where there is none. `NetcError` if it is damaged."""
    found = cache()
    data = found.read(place.stem + suffix)
    if data is None:
        return None
    path = found.folder / (place.stem + suffix)
    head, _, text = data.partition(b"\n")
    if head.decode("ascii", "replace") != _HEAD + _checksum(place, text):
        raise NetcError(f"the tuning file {path} is damaged", hint=_CURE)
    try:
        content = json.loads(text)
        if suffix == CHOICES:
            choices_of(content["kernels"])
        return dict(content)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise NetcError(f"the tuning file {path} is damaged", hint=_CURE) from None


def write(place: Place, suffix: str, content: Mapping[str, Any]) -> None:
    """Write a file; raises `NetcError` where that is impossible."""
    found = cache()
    if not found.limit:
        raise NetcError("results of tuning are kept in the cache, which NETC_CACHE_BYTES turns off")
    text = json.dumps(content, separators=(",", ":")).encode()
    data = (_HEAD + _checksum(place, text)).encode() + b"\n" + text
    problem = found.write(place.stem + suffix, data)
    if problem is not None:
        raise NetcError(f"results of tuning can't be kept: {problem}", hint="let NETC_CACHE_DIR name another folder")


def _checksum(place: Place, text: bytes) -> str:
    """Of a file at a place: one that was copied from another place doesn't have it."""
    return hashlib.sha256(place.stem.encode() + b"\0" + text).hexdigest()


def forget(place: Place) -> bool:
    """Delete the results of a place; False where there were none.

    Raises `NetcError` if they can't be deleted.
    """
    folder = cache().folder
    there = [path for suffix in (CHOICES, MEASURED) if (path := folder / f"{place.stem}{suffix}").exists()]
    try:
        for path in there:
            path.unlink()
    except OSError as error:
        raise NetcError(
            f"{error.filename}: {error.strerror}", hint="the folder of the cache must be writable"
        ) from None
    return bool(there)


def foreign(place: Place) -> list[Path]:
    """Files with results for the same network on other machines."""
    pattern = f"{place.network}-*"
    return sorted(p for p in cache().folder.glob(pattern) if not p.name.startswith(place.stem))
