"""Names of a net's classes: those that lie beside its weights, else those that its `preprocess` declares.

The latter are a list, a text file with one name on each line, or a data set whose classes have names.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from ...compiler.errors import NetcError
from ...compiler.preprocess import declaration
from ...compiler.reading import lies_below, note_file, read_text
from ...compiler.signature import Network, output_names

CLASSES = "classes"
"""Under this name the metadata of weights hold the names of the classes that they were trained for, as a JSON list."""

MAX_BYTES = 1 << 24
"""Largest labels file, in bytes."""
_BY_NUMBER = "classes are given by number"


@dataclass(frozen=True, slots=True)
class Labels:
    """Class names by output index; without names a class is called by its number, and `note` may say why."""

    names: tuple[str, ...] | None = None
    note: str | None = None
    background: bool = False
    """Whether someone said that output 0 stands for none of the classes."""

    def __getitem__(self, index: int) -> str:
        known = self.names is not None and 0 <= index < len(self.names)
        return self.names[index] if self.names is not None and known else f"class {index}"


NO_LABELS = Labels()


def read_labels(
    graph: Network,
    folders: Iterable[Path],
    allowed: Sequence[Path] = (),
    known: Callable[[str], tuple[str, ...] | None] = lambda name: None,
) -> Labels:
    """The class names of `graph`; a labels file is looked for in `folders`, in that order.

    Where there is none, the declaration may be a name for class names that are `known`.

    Folders are only asked for until it is found. A graph may be a stranger's: its file is only read where it lies,
    links followed, in one of these folders or below, or below one of the folders `allowed`. Raises `NetcError` if the
    file is not text or the number of names is not that of the net's outputs.
    """
    declared = declaration(graph).get("labels")
    if declared is None:
        return Labels()
    if isinstance(declared, Sequence) and not isinstance(declared, str):
        return _checked(graph, tuple(str(name) for name in declared), "preprocess")
    others, looked = iter(folders), list[Path]()
    for folder in others:
        looked.append(folder)
        path = folder / str(declared)
        note_file(path)
        if os.path.isfile(path):
            if not lies_below(path, chain(looked, allowed, others)):
                return Labels(note=f"labels file {declared} lies outside the net's folder; {_BY_NUMBER}")
            return _checked(graph, _read_lines(path), str(path))
    if (names := known(str(declared))) is not None:
        return _checked(graph, names, f"data set {declared}")
    places = ", ".join(str(folder / str(declared)) for folder in looked) or "nowhere"
    return Labels(note=f"labels file {declared} not found (looked for {places}); {_BY_NUMBER}")


def saved_labels(weights: str | os.PathLike[str], graph: Network) -> Labels | None:
    """The class names in the metadata of a weights file; None if it has none for as many classes as `graph` has."""
    from ..weights import read_metadata  # brings graphs along, which names of classes do without

    try:
        names = json.loads(read_metadata(weights).get(CLASSES, "null"))
    except (ValueError, RecursionError):
        return None
    count = class_count(graph)
    if (
        not isinstance(names, list)
        or len(names) != (count or len(names))
        or not all(isinstance(name, str) for name in names)
    ):
        return None
    return Labels(tuple(names))


def _read_lines(path: Path) -> tuple[str, ...]:
    return tuple(line.strip() for line in read_text(path, "labels file", MAX_BYTES).splitlines())


def class_count(graph: Network) -> int | None:
    """How many classes a net tells apart; None where its output `classes` holds their numbers.

    Those with scores have a channel for each, but one that has a single score for each pixel tells two apart.
    """
    if "classes" in output_names(graph):
        return None
    first = graph.outputs[0].type
    count = first.shape[-1] if first.rank else 0
    return 2 if first.rank == 4 and count == 1 else count


def _checked(graph: Network, names: tuple[str, ...], origin: str) -> Labels:
    classes = class_count(graph)
    if classes is not None and len(names) != classes:
        hint = "labels of its own stand in a `preprocess`, those of a training run in the weights that it saves"
        raise NetcError(f"{origin} names {len(names)} classes, but net {graph.name} has {classes}", hint=hint)
    return Labels(names)
