"""Pictures with the objects in them: boxes, categories and, of some, outlines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .source import FileSource, Sample


@dataclass(frozen=True, slots=True)
class Category:
    """A kind of object, by the number and the name that the data give it."""

    number: int
    name: str


@dataclass(frozen=True, slots=True)
class Thing:
    """An object in a picture, in pixels of the picture."""

    category: int
    """Its place in the list of categories."""
    box: tuple[float, float, float, float]
    """Left, top, width and height."""
    area: float
    crowd: bool
    """Whether it stands for many of its kind: what is found there is neither right nor wrong."""
    outline: Any = None
    """Polygons, or runs of pixels, as COCO's tools take them; None if it has none."""


@dataclass(frozen=True)
class ObjectSource(FileSource):
    """Pictures in files, with the objects in each; they evaluate detectors."""

    categories: Sequence[Category] = ()
    things: Sequence[Sequence[Thing]] = ()
    """For each picture."""
    sizes: Sequence[tuple[int, int]] = ()
    """Height and width of each picture, as its objects take them to be."""

    def __iter__(self) -> Iterator[Sample]:
        """Pictures in their order, decoded one by one, with their objects."""
        return ((self.reader(key), things) for key, things in zip(self.keys, self.things, strict=True))

    def first(self, limit: int | None) -> ObjectSource:
        """The first pictures; None: all."""
        return replace(self, keys=self.keys[:limit], things=self.things[:limit], sizes=self.sizes[:limit])

    @property
    def outlined(self) -> bool:
        """Whether there are objects, and all have outlines."""
        return any(self.things) and all(thing.outline is not None for things in self.things for thing in things)
