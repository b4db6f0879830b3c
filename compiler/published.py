"""How the dimensions of a parameter lie in published weights, where they lie otherwise than in the graph.

`oihw->hwio` names the dimensions in the file, then in the graph; 1 is a dimension of that size, which need not be in
both: `c11->c`. Without `->`, input and output channels (i, o) come last in the graph: `oihw` is `oihw->hwio`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import NetcError

Array = np.ndarray[Any, np.dtype[Any]]

_LETTERS = re.compile(r"[a-z1]*")


@dataclass(frozen=True, slots=True)
class Order:
    """The dimensions in the file and in the graph, by letter; 1 is a dimension of that size."""

    file: Sequence[str]
    graph: Sequence[str]

    def shape_in_file(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape in the file of a parameter that has `shape` in the graph."""
        sizes = dict(zip(self.graph, shape, strict=True))
        return tuple(1 if letter == "1" else sizes[letter] for letter in self.file)

    def read(self, array: Array) -> Array:
        """A tensor of the file as the graph has it; a view."""
        return _moved(array, self.file, self.graph)

    def write(self, array: Array) -> Array:
        """A tensor of the graph as the file has it; a view."""
        return _moved(array, self.graph, self.file)


def _moved(array: Array, old: Sequence[str], new: Sequence[str]) -> Array:
    kept = [letter for letter in old if letter != "1"]
    squeezed = array.squeeze(tuple(i for i, letter in enumerate(old) if letter == "1"))
    ordered = squeezed.transpose([kept.index(letter) for letter in new if letter != "1"])
    return np.expand_dims(ordered, tuple(i for i, letter in enumerate(new) if letter == "1"))


def parse_order(text: str | None, rank: int) -> Order:
    """Read an order of a parameter of `rank` dimensions; None is that of the graph. Raises `NetcError`."""
    if text is None:
        same = tuple(map(str, range(2, rank + 2)))
        return Order(same, same)
    file, arrow, graph = text.partition("->")
    if not arrow:
        graph = "".join(c for c in file if c not in "io") + "".join(c for c in "io" if c in file)
    kept = [sorted(letters.replace("1", "")) for letters in (file, graph)]
    if not (_LETTERS.fullmatch(file) and _LETTERS.fullmatch(graph)) or kept[0] != kept[1]:
        raise NetcError(
            f"`{text}` is no order of dimensions", hint="name each in the file and in the graph: oihw->hwio"
        )
    if len(set(kept[0])) != len(kept[0]):
        raise NetcError(f"`{text}` names a dimension twice")
    if len(graph) != rank:
        raise NetcError(f"`{text}` names {len(graph)} dimensions of the graph, but the parameter has {rank}")
    return Order(tuple(file), tuple(graph))
