"""Which output of a net stands for which class of the data.

Data have their classes from a list of their own: folders, or what a data set is defined as. Where data and net both
have names, names decide; else the position in the lists does. Arrays have no list: their labels are outputs' numbers.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ...compiler.errors import NetcError
from ...compiler.signature import Network
from .labels import NO_LABELS, Labels

Names = tuple[str, ...]

_BACKGROUND = "background"
_SHOWN = 6
"""How many names a message lists."""


@dataclass(frozen=True, slots=True)
class Classes:
    """The classes of data: how many by their own list, and what they are called; None where there is no such list."""

    origin: str
    """What they belong to, in messages."""
    count: int | None = None
    names: Names | None = None

    def __str__(self) -> str:
        return f"{self.count} classes" + (f" ({listed(self.names)})" if self.names else "")


@dataclass(frozen=True, slots=True)
class ClassMap:
    """The output for each class of the data, and what the outputs are called, if that is known."""

    outputs: tuple[int, ...] | None = None
    """By the number of the class; None: the numbers are the same."""
    names: Names | None = None
    notes: tuple[str, ...] = ()

    def __call__(self, labels: NDArray[np.int32]) -> NDArray[np.int32]:
        """Labels as numbers of outputs."""
        return labels if self.outputs is None else np.array(self.outputs, np.int32)[labels]


SAME_CLASSES = ClassMap()
"""Labels are the numbers of outputs."""


def match_classes(graph: Network, classes: Classes, highest: int, labels: Labels = NO_LABELS) -> ClassMap:
    """Find the output of each class.

    `highest` is the largest label, `labels` are the names that the net has. Output 0 stands for none of the classes
    where the net calls it background, or `labels` say so. Raises `NetcError` where outputs and classes don't fit.
    """
    columns = _columns(graph, classes)
    names = labels.names if columns > 1 else None
    if labels.background or (names and classes.count == columns - 1 and plain_name(names[0]) == _BACKGROUND):
        return _behind_background(graph, classes, columns, highest, names)
    if classes.count is None:
        return _by_number(graph, classes, columns, highest, names)
    if columns == 1 and classes.count == 2:
        return ClassMap()
    if classes.names and names and (found := _by_name(classes.names, names)) is not None:
        return _named(graph, classes, found, names)
    if classes.count != columns:
        raise _misfit(graph, classes, columns)
    return _by_position(graph, classes, names)


def _columns(graph: Network, classes: Classes) -> int:
    type_ = graph.outputs[0].type
    if len(graph.outputs) == 1 and type_.rank == 2:
        return type_.shape[1]
    gives = ", ".join(str(v.type) for v in graph.outputs)
    has = f" {classes.count} classes" if classes.count else ""
    raise NetcError(f"net {graph.name} gives {gives}, but {classes.origin} has{has or ' class numbers'}")


def _by_number(graph: Network, classes: Classes, columns: int, highest: int, names: Names | None) -> ClassMap:
    if highest >= max(columns, 2):
        gives = f"{columns} classes, 0 to {columns - 1}" if columns > 1 else "one score, for classes 0 and 1"
        hint = f"--set classes={highest + 1}, if the net has this hyperparameter"
        if columns == 1:
            hint += "; --loss mean_squared_error, if these are values"
        raise NetcError(f"{classes.origin} has the label {highest}, but net {graph.name} gives {gives}", hint=hint)
    return ClassMap(names=names)


def _behind_background(graph: Network, classes: Classes, columns: int, highest: int, names: Names | None) -> ClassMap:
    """All classes one output further on; those of the data may have names of their own."""
    count = classes.count if classes.count is not None else columns - 1
    if count != columns - 1 or highest >= count:
        message = f"behind a background class net {graph.name} gives {columns - 1} classes"
        raise NetcError(f"{message}, but {classes.origin} has {classes.count or f'the label {highest}'}")
    own = (_BACKGROUND, *classes.names) if classes.names else None
    if names and classes.names and (found := _by_name(classes.names, names)) is not None:
        return _named(graph, classes, found, names)
    return ClassMap(tuple(range(1, columns)), names or own)


def _named(graph: Network, classes: Classes, outputs: tuple[int, ...], names: Names) -> ClassMap:
    if outputs == tuple(range(len(names))):
        return ClassMap(names=names)
    if outputs == tuple(range(1, len(names))) and plain_name(names[0]) == _BACKGROUND:
        return ClassMap(outputs, names)
    has = "the classes" if len(outputs) == len(names) else f"{len(outputs)} of the {len(names)} classes"
    place = "in another order" if outputs != tuple(sorted(outputs)) or len(outputs) == len(names) else "by name"
    note = f"{classes.origin} has {has} of net {graph.name} {place}: numbered as the net's labels are"
    return ClassMap(outputs, names, (note,))


def _by_position(graph: Network, classes: Classes, names: Names | None) -> ClassMap:
    """Both have as many classes; names that contradict the order are an error, other names a warning."""
    if classes.names is None or names is None:
        return ClassMap(names=names or classes.names, notes=() if names else _order_notes(classes))
    own, declared = (list(map(plain_name, each)) for each in (classes.names, names))
    if displaced := [n for i, n in enumerate(own) if n in declared and declared[i] != n]:
        number, place = own.index(displaced[0]), declared.index(displaced[0])
        message = f"{classes.origin} has `{classes.names[number]}` as class {number}, the labels of net {graph.name}"
        raise NetcError(f"{message} as class {place}", hint="make the folders' names and the labels the same")
    if own == declared:
        return ClassMap(names=names)
    note = f"{classes.origin} calls its classes {listed(classes.names)}, net {graph.name} calls them {listed(names)}"
    return ClassMap(names=names, notes=(f"{note}: taken in this order", *_order_notes(classes)))


def _order_notes(classes: Classes) -> tuple[str, ...]:
    """Numbers sort otherwise as names."""
    names = classes.names or ()
    if not all(name.isdecimal() for name in names) or list(map(int, names)) == sorted(map(int, names)):
        return ()
    number = next(i for i, (a, b) in enumerate(pairwise(names)) if int(a) > int(b))
    after = f"`{names[number + 1]}` is class {number + 1}, after `{names[number]}`"
    return (f"classes of {classes.origin} are numbered in the order of their names: {after}",)


def _by_name(own: Sequence[str], names: Names) -> tuple[int, ...] | None:
    """Where the net has each of the data's classes; None unless it has all of them, each once."""
    plain = list(map(plain_name, names))
    wanted = list(map(plain_name, own))
    if len(set(wanted)) < len(wanted) or any(plain.count(name) != 1 for name in wanted):
        return None
    return tuple(map(plain.index, wanted))


def plain_name(name: str) -> str:
    """A name without what differs between folders and lists: case, and what stands between words."""
    return " ".join(unicodedata.normalize("NFC", name).casefold().replace("_", " ").replace("-", " ").split())


def _misfit(graph: Network, classes: Classes, columns: int) -> NetcError:
    hint = f"--set classes={classes.count}, if the net has this hyperparameter"
    if columns - 1 == classes.count:
        hint += "; --background, if output 0 stands for none of the classes"
    message = f"net {graph.name} gives {graph.outputs[0].type}, but {classes.origin} has {classes}"
    return NetcError(message, hint=hint)


def listed(names: Sequence[str]) -> str:
    """The first few names."""
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
