"""Tasks and their answers: what they have in common, and where a net's task is found."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..compiler.errors import NetcError
from ..compiler.signature import Array, Network, output_names, real
from ..runtime.data.images import Pixels, Preprocess, as_rgb
from ..runtime.data.labels import NO_LABELS, Labels
from ..runtime.program import all_outputs

if TYPE_CHECKING:
    from .drawing import Canvas


@dataclass(frozen=True)
class View:
    """A picture, and which part of it a net sees."""

    picture: Pixels
    preprocess: Preprocess

    @property
    def region(self) -> tuple[int, int, int, int]:
        """Left, top, width and height of the part, in pixels of the picture."""
        return self.preprocess.region(self.picture.shape[0], self.picture.shape[1])

    def to_picture(self, boxes: Array) -> Array:
        """Boxes [K, 4] (x1, y1, x2, y2) in pixels of the net's input, as they lie in the picture and inside it."""
        left, top, width, height = self.region
        scale = np.array([width / self.preprocess.width, height / self.preprocess.height] * 2)
        moved = np.asarray(boxes, np.float64) * scale + np.array([left, top] * 2)
        inside: Array = np.clip(moved, 0, np.array([self.picture.shape[1], self.picture.shape[0]] * 2))
        return inside


@dataclass(frozen=True)
class Outputs:
    """What a net gives for one picture: real numbers, without the batch, by output."""

    graph: Network
    arrays: tuple[Array, ...]

    @staticmethod
    def of(graph: Network, given: Array | tuple[Array, ...], sample: int = 0) -> Outputs:
        """Those of one sample; raises `NetcError` if they hold infinities or NaNs."""
        arrays = all_outputs(given)
        if any(v.type.rank == 0 for v in graph.results):
            raise NetcError(f"{gives(graph)}, which is no answer for each picture", hint="call it from Python instead")
        numbers = tuple(real(np.asarray(a)[sample], v) for a, v in zip(arrays, graph.results, strict=True))
        if not all(np.isfinite(each).all() for each in numbers):
            raise NetcError(f"net {graph.name} gives infinities or NaNs", hint="are these the net's weights?")
        return Outputs(graph, numbers)

    def __getitem__(self, name: str) -> Array:
        """By the name that the graph's signature gives it."""
        return self.arrays[output_names(self.graph).index(name)]


@dataclass(frozen=True)
class Choices:
    """What the caller wants of an answer."""

    labels: Labels = NO_LABELS
    top: int | None = None
    """How much is listed at most; None: as much as is usual."""
    least: float = 0.5
    """Boxes with a lower score are left out."""


class Answer(ABC):
    """What a net says about a picture."""

    @abstractmethod
    def text(self) -> str:
        """Lines for people."""

    @abstractmethod
    def data(self) -> list[dict[str, Any]]:
        """Records for tools."""

    def draw(self, canvas: Canvas) -> None:
        """Draw it on the picture."""
        raise NotImplementedError


class Task(ABC):
    """A kind of answer. Nets have it whose outputs it knows."""

    name: ClassVar[str]
    drawn: ClassVar[bool] = True
    """Whether its answers can be drawn on the picture."""

    @staticmethod
    @abstractmethod
    def knows(graph: Network) -> bool:
        """Whether the outputs are such that this task can read them."""

    @staticmethod
    def guess(graph: Network) -> str | None:
        """What is taken for granted without being declared, in words."""
        return None

    @staticmethod
    @abstractmethod
    def answer(outputs: Outputs, view: View, choices: Choices) -> Answer:
        """What the outputs say."""


_MODULES = ("classes", "areas", "boxes")
"""What has tasks, in `TASKS`: earlier ones go first. Each is only imported for nets that the ones before don't know."""


def task_of(graph: Network) -> type[Task]:
    """The task whose outputs a net has; raises `NetcError` if there is none."""
    for module in _MODULES:
        tasks: tuple[type[Task], ...] = importlib.import_module(f"{__package__}.{module}").TASKS
        for task in tasks:
            if task.knows(graph):
                return task
    hint = (
        "call it from Python instead; outputs that are known: scores [N, classes], scores of pixels [N, height, width, "
        "classes], and those named boxes, scores, classes and masks"
    )
    raise NetcError(f"{gives(graph)}, not scores of classes", hint=hint)


def gives(graph: Network) -> str:
    """The outputs, in words."""
    names = output_names(graph) or ("",) * len(graph.results)
    named = zip(names, graph.results, strict=True)
    return f"net {graph.name} gives " + ", ".join(f"{n}: {v.type}" if n else str(v.type) for n, v in named)


def named_shapes(graph: Network) -> Mapping[str, tuple[int, ...]]:
    """The shapes of the outputs by their names, without the batch."""
    return {n: v.type.shape[1:] for n, v in zip(output_names(graph), graph.results, strict=False)}


def drawn_on(picture: Pixels, draw: Callable[[Canvas], None]) -> bytes:
    """The picture with an answer drawn on it, as a PNG file."""
    from .drawing import Canvas

    canvas = Canvas.of(as_rgb(picture))
    draw(canvas)
    return canvas.png()
