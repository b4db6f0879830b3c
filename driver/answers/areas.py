"""Semantic segmentation: scores of classes at each pixel, [N, height, width, classes].

Files that take pictures with channels first give maps in that order, too: [N, classes, height, width].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..compiler.signature import Array, Network, output_names
from ..compiler.text import printable
from ..runtime.data.labels import Labels
from ..runtime.data.layout import map_channels_first, sample_shape
from .answer import Answer, Choices, Outputs, Task, View
from .drawing import Canvas, colour_of

OUTPUT = "out"
"""What the output is called that holds the scores, where there are several."""


@dataclass(frozen=True)
class Area:
    """The pixels of a class."""

    index: int
    name: str
    share: float


@dataclass(frozen=True)
class Areas(Answer):
    """How much of the picture belongs to each class, the largest share first."""

    areas: list[Area]
    view: View
    pixels: Array
    """The class of each pixel that the net sees: [rows, columns]."""
    middle: bool
    """Whether the pixels are those of the middle of what the net sees, not of all of it."""

    def text(self) -> str:
        """A line for each class that occurs."""
        return "".join(f"{a.share:8.2%}  {printable(a.name)}\n" for a in self.areas)

    def data(self) -> list[dict[str, Any]]:
        """A record for each class that occurs."""
        return [{"index": a.index, "name": a.name, "share": a.share} for a in self.areas]

    def draw(self, canvas: Canvas) -> None:
        """Colour every class but the first, which is the background or what was not asked for."""
        picture = self.in_picture()
        for area in self.areas:
            if area.index > 0:
                canvas.fill(picture == area.index, colour_of(area.index))

    def in_picture(self) -> Array:
        """The class of each pixel of the picture, -1 where the net doesn't see it."""
        height, width = self.view.picture.shape[:2]
        left, top, columns, rows = self.view.region
        whole = np.full((height, width), -1)
        sizes = (self.view.preprocess.height, self.view.preprocess.width)
        places = [
            _places(seen, size, n, self.middle)
            for seen, size, n in zip((rows, columns), sizes, self.pixels.shape, strict=True)
        ]
        known = [(place >= 0) & (place < n) for place, n in zip(places, self.pixels.shape, strict=True)]
        inside = np.ix_(*(place[k] for place, k in zip(places, known, strict=True)))
        y, x = (np.flatnonzero(k) + start for k, start in zip(known, (top, left), strict=True))
        whole[np.ix_(y, x)] = self.pixels[inside]
        return whole


class Segmentation(Task):
    """What each pixel belongs to."""

    name = "semantic segmentation"

    @staticmethod
    def knows(graph: Network) -> bool:
        """A map of scores for each picture: the only output, or the one that is called so."""
        is_told = len(graph.results) == 1 or OUTPUT in output_names(graph)
        return is_told and graph.results[_number(graph)].type.rank == 4

    @staticmethod
    def guess(graph: Network) -> str | None:
        """That the channels are scores of classes."""
        number = _number(graph)
        if output_names(graph) and output_names(graph)[number] == OUTPUT:
            return _about_size(graph)
        guess = f"{graph.results[number].type} of net {graph.name} is taken for scores of classes at each pixel"
        return "; ".join(filter(None, (guess, _about_size(graph))))

    @staticmethod
    def answer(outputs: Outputs, view: View, choices: Choices) -> Answer:
        """The class with the highest score at each pixel; a single score is that of class 1 against class 0."""
        number = _number(outputs.graph)
        scores = outputs.arrays[number]
        if map_channels_first(outputs.graph, number):
            scores = np.moveaxis(scores, 0, -1)
        pixels = (scores[..., 0] > 0).astype(np.int64) if scores.shape[-1] == 1 else scores.argmax(axis=-1)
        areas = _areas(pixels, choices.labels)[: choices.top]
        return Areas(areas, view, pixels, _is_middle(outputs.graph))


TASKS = (Segmentation,)


def _number(graph: Network) -> int:
    """Which output holds the scores: the one that is called so, else the first."""
    names = output_names(graph)
    return names.index(OUTPUT) if OUTPUT in names else 0


def _map_size(graph: Network) -> tuple[int, int]:
    """Height and width of the map."""
    number = _number(graph)
    _, *sizes = graph.results[number].type.shape
    height, width = sizes[1:] if map_channels_first(graph, number) else sizes[:2]
    return height, width


def _areas(pixels: Array, labels: Labels) -> list[Area]:
    indices, counts = np.unique(pixels, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [Area(int(indices[k]), labels[int(indices[k])], float(counts[k] / pixels.size)) for k in order]


def _is_middle(graph: Network) -> bool:
    """A map that is smaller than the input, but not by a whole factor, shows its middle: borders were not padded."""
    seen, given = sample_shape(graph)[:2], _map_size(graph)
    return any(s > g and s % g for s, g in zip(seen, given, strict=True))


def _about_size(graph: Network) -> str | None:
    if not _is_middle(graph):
        return None
    seen, given = (f"{h} x {w}" for h, w in (sample_shape(graph)[:2], _map_size(graph)))
    return f"a map of {given} pixels is taken for the middle of the {seen} that net {graph.name} sees"


def _places(seen: int, size: int, given: int, middle: bool) -> Array:
    """For each of `seen` pixels of the picture the nearest one of a map of `given` pixels, which may lie outside."""
    at = (np.arange(seen) + 0.5) / seen
    places: Array = np.floor(at * size - (size - given) / 2 if middle else at * given).astype(np.int64)
    return places
