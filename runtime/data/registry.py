"""The registry of data sources, and the way from the names that people write to opened sources.

A kind registers itself by the decorator `register`; netc's own stand in `sources`. Whoever trains, evaluates or
calibrates, and whoever explains what there is, asks here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TypeVar

from ...compiler.errors import NetcError, near_miss
from ...compiler.spec import Spec, Value, parse_spec
from .classes import Names
from .folder import data_folder
from .kinds import SPLITS, Kind, NamedSet, PathKind, PictureKind, SourceKind
from .objects import ObjectSource
from .opened import checked, in_memory, narrowed
from .source import FileSource, PictureFiles, Source

KindT = TypeVar("KindT", bound=Kind)

_KINDS: dict[str, Kind] = {}
_OF_SPECS = "(),="
"""What tells a specification from a name or a path."""


def register(kind: type[KindT]) -> type[KindT]:
    """Class decorator: put a kind of source into the registry."""
    if kind.name in _KINDS:
        raise ValueError(f"data source {kind.name} is defined twice")
    _KINDS[kind.name] = kind()
    return kind


@cache
def _load() -> None:
    """Import netc's own kinds, which register themselves."""
    import_module(".sources", __package__)


def _kinds() -> Iterable[Kind]:
    _load()
    return _KINDS.values()


def source_kinds() -> Sequence[SourceKind]:
    """All kinds with labels, data sets with names first."""
    return (*named_sets(), *path_kinds())


def named_sets() -> Sequence[NamedSet]:
    """The data sets that lie in the data folder."""
    return [kind for kind in _kinds() if isinstance(kind, NamedSet)]


def path_kinds() -> Sequence[PathKind]:
    """The kinds that are called by a path."""
    return [kind for kind in _kinds() if isinstance(kind, PathKind)]


def picture_kinds() -> Sequence[PictureKind]:
    """What else pictures for calibration may lie in."""
    return [kind for kind in _kinds() if isinstance(kind, PictureKind)]


def class_names(name: str) -> Names | None:
    """What a data set calls its classes; None if there is no such set or it has no names."""
    return next((kind.names for kind in named_sets() if kind.name == name), None)


# ---- from names to sources ------------------------------------------------------------------------------------------


def open_source(text: str, split: str = "train", folder: str | os.PathLike[str] | None = None) -> Source:
    """Open one split, "train" or "test", of a data set; one that has a single split gives that for both.

    `text` is a name or a path with what tells its kind (see `source_kinds`); named sets can be narrowed, as in
    `mnist(classes = [0, 1])`, whose classes are then numbered from 0. `folder` is where named data sets lie (see
    `data_folder`). Raises `NetcError` for unknown names and for missing or damaged files, with the places that were
    searched.
    """
    if split not in SPLITS:
        raise NetcError(f"there is no split `{split}`", hint="there are train and test")
    meant = _meaning(text)
    kind = meant.kind
    source = checked(kind, kind.open(meant.place(folder), split if split in kind.splits else kind.splits[0]))
    if kind.in_memory and isinstance(source, FileSource):
        source = in_memory(kind, source)
    return meant.narrow(source)


def open_samples(text: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None) -> Source | PictureFiles:
    """What to calibrate with: samples as for `open_source`, or pictures without labels in a folder or an archive.

    What lies at the path `text` goes before a data set with that name.
    """
    text = os.fspath(text)
    if (found := _pictures(text)) is not None:
        return found.open(Path(text))
    meant = _meaning(text, picture_kinds())
    samples = meant.kind.samples(meant.place(folder))
    return samples if isinstance(samples, PictureFiles) else meant.narrow(checked(meant.kind, samples))


def labelled_source(text: str, split: str = "test") -> Source | None:
    """The labelled samples that `text` means when it is calibrated with: None for pictures without labels,
    or with objects in place of them.

    A folder has labels if it is the one in which a named data set lies.
    """
    path = Path(text)
    if os.path.isdir(path):
        named = next((kind for kind in named_sets() if kind.home == path.name), None)
        return open_source(named.name, split, path.resolve().parent) if named else None
    try:
        source = None if _pictures(text) else open_source(text, split)
    except NetcError:
        return None  # what is wrong with it is said when it is opened for calibration
    return None if isinstance(source, ObjectSource) else source


def check_name(text: str) -> None:
    """Raise `NetcError` if `text` names no data set that there could be; files are not looked for."""
    _meaning(text)


def path_of(text: str) -> Path | None:
    """The file or folder that the name of a source contains; None for a set in the data folder."""
    return next((path for kind in path_kinds() if (path := kind.path(text)) is not None), None)


@dataclass(frozen=True)
class _Meaning:
    """A kind, and what a text says about it."""

    kind: SourceKind
    path: Path | None = None
    """None: in the data folder."""
    spec: Spec | None = None
    classes: Value = None
    """To which ones a set is narrowed; None: all."""

    def place(self, folder: str | os.PathLike[str] | None) -> Path:
        return data_folder(folder) if self.path is None else self.path

    def narrow(self, source: Source) -> Source:
        if self.spec is None or self.classes is None:
            return source
        return narrowed(source, self.spec, self.classes)


def _meaning(text: str, others: Sequence[Kind] = ()) -> _Meaning:
    """What a text means; raises `NetcError`, which lists the `others`, too, if it is nothing that there could be."""
    for kind in path_kinds():
        if (path := kind.path(text)) is not None:
            return _Meaning(kind, path)
    known = _named()
    spec = parse_spec(_as_words(text)) if set(text) & set(_OF_SPECS) else Spec(_as_words(text))
    if spec.name not in known:
        there_are = ", ".join(kind.spelling for kind in (*source_kinds(), *others))
        raise NetcError(
            f"there is no data set `{spec.name}`", hint=near_miss(spec.name, known) or f"there are {there_are}"
        )
    return _Meaning(known[spec.name], None, spec, spec.bind({"classes": None})["classes"])


def _pictures(text: str) -> PictureKind | None:
    """The kind of the pictures without labels that lie at a path."""
    path = Path(text)
    if not os.path.isdir(path) and path_of(text) is not None:
        return None
    return next((kind for kind in picture_kinds() if kind.finds(path)), None)


def _named() -> Mapping[str, NamedSet]:
    """Named data sets by the words that specifications take for their names."""
    return {kind.name.replace("-", "_"): kind for kind in named_sets()}


def _as_words(text: str) -> str:
    """A specification's text, in which the names of data sets are words."""
    for kind in named_sets():
        text = text.replace(kind.name, kind.name.replace("-", "_"))
    return text
