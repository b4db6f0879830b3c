"""Detection: outputs named boxes [N, K, 4], scores [N, K] and classes [N, K], of instances also masks [N, K, h, w].

Boxes are (x1, y1, x2, y2) in pixels of the net's input. A class below 0 is a place that holds no box. Masks cover the
box of their instance: probabilities that a point belongs to it. Source: He et al., "Mask R-CNN", 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..compiler.signature import Array, Network
from ..compiler.text import printable
from ..runtime.data.labels import Labels
from .answer import Answer, Choices, Outputs, Task, View, named_shapes
from .drawing import Canvas, colour_of

LIKELY = 0.5
"""A point belongs to an instance if its mask says more than this."""


@dataclass(frozen=True)
class Box:
    """A thing that was found; `sides` (x1, y1, x2, y2) are pixels of the picture."""

    index: int
    name: str
    score: float
    sides: Array
    mask: Array | None = None
    """Which pixels of the picture belong to it: bool [height, width]."""


@dataclass(frozen=True)
class Found(Answer):
    """The things in a picture, the most certain first."""

    boxes: list[Box]
    best_score: float
    least: float

    def text(self) -> str:
        """A line for each thing: score, name, corners."""
        if not self.boxes:
            best = f"the best has {self.best_score:.2%}" if self.best_score > 0 else "there is none at all"
            return f"no box has a score of {self.least:.0%} or more ({best})\n"
        return "".join(f"{b.score:8.2%}  {printable(b.name)}  {_corners(b)}{_pixels(b)}\n" for b in self.boxes)

    def data(self) -> list[dict[str, Any]]:
        """A record for each thing; a mask is spelled as COCO's tools do."""
        return [_record(box) for box in self.boxes]

    def draw(self, canvas: Canvas) -> None:
        """Masks, and above them boxes, the best on top."""
        for box in reversed(self.boxes):
            if box.mask is not None:
                canvas.fill(box.mask, colour_of(box.index))
        for box in reversed(self.boxes):
            canvas.box(box.sides, f"{box.name} {box.score:.0%}", colour_of(box.index))


class Instances(Task):
    """What is in the picture, and which pixels each thing has."""

    name = "instance segmentation"

    @staticmethod
    def knows(graph: Network) -> bool:
        """Boxes with masks."""
        masks = named_shapes(graph).get("masks", ())
        return _has_boxes(graph) and len(masks) == 3

    @staticmethod
    def answer(outputs: Outputs, view: View, choices: Choices) -> Answer:
        """The things, with their masks."""
        return _found(outputs, view, choices, outputs["masks"])


class Detection(Task):
    """What is in the picture, and where."""

    name = "detection"

    @staticmethod
    def knows(graph: Network) -> bool:
        """Boxes, scores and classes."""
        return _has_boxes(graph)

    @staticmethod
    def answer(outputs: Outputs, view: View, choices: Choices) -> Answer:
        """The things."""
        return _found(outputs, view, choices, None)


TASKS = (Instances, Detection)


def _has_boxes(graph: Network) -> bool:
    shapes = named_shapes(graph)
    count = shapes.get("scores", ())
    return len(count) == 1 and shapes.get("boxes") == (*count, 4) and shapes.get("classes") == count


def _found(outputs: Outputs, view: View, choices: Choices, masks: Array | None) -> Found:
    scores, classes = outputs["scores"], np.rint(outputs["classes"]).astype(np.int64)
    order = np.argsort(-scores, kind="stable")
    order = order[classes[order] >= 0]
    best = float(scores[order[0]]) if len(order) else 0.0
    sides = view.to_picture(outputs["boxes"])
    order = order[scores[order] >= choices.least][: choices.top]
    boxes = [
        _box(choices.labels, int(classes[k]), float(scores[k]), sides[k], _pasted(masks, int(k), sides[k], view))
        for k in order
    ]
    return Found(boxes, best, choices.least)


def _box(labels: Labels, index: int, score: float, sides: Array, mask: Array | None) -> Box:
    return Box(index, labels[index], score, sides, mask)


def _pasted(masks: Array | None, number: int, sides: Array, view: View) -> Array | None:
    """The pixels of the picture that a mask [h, w] over a box says yes to, between its points by straight lines."""
    if masks is None:
        return None
    mask = masks[number]
    height, width = view.picture.shape[:2]
    x1, y1, x2, y2 = sides
    rows, columns = (
        np.arange(int(np.floor(a)), min(int(np.ceil(b)), n)) for a, b, n in ((y1, y2, height), (x1, x2, width))
    )
    whole = np.zeros((height, width), bool)
    if len(rows) and len(columns):
        padded = np.pad(mask, 1)  # outside of the box nothing belongs to the instance
        v, u = (
            np.clip((places + 0.5 - start) / max(end - start, 1e-9) * n + 0.5, 0, n + 1)
            for places, start, end, n in ((rows, y1, y2, mask.shape[0]), (columns, x1, x2, mask.shape[1]))
        )
        whole[np.ix_(rows, columns)] = _bilinear(padded, v, u) > LIKELY
    return whole


def _bilinear(image: Array, rows: Array, columns: Array) -> Array:
    """Samples of [h, w] at all pairs of rows and columns; whole numbers are its points."""
    top, left = (
        np.minimum(np.floor(p).astype(np.int64), n - 2) for p, n in zip((rows, columns), image.shape, strict=True)
    )
    v, u = (rows - top)[:, np.newaxis], columns - left
    upper = image[np.ix_(top, left)] * (1 - u) + image[np.ix_(top, left + 1)] * u
    lower = image[np.ix_(top + 1, left)] * (1 - u) + image[np.ix_(top + 1, left + 1)] * u
    sampled: Array = upper * (1 - v) + lower * v
    return sampled


def _corners(box: Box) -> str:
    x1, y1, x2, y2 = (f"{side:.1f}" for side in box.sides)
    return f"({x1}, {y1}) to ({x2}, {y2})"


def _pixels(box: Box) -> str:
    return "" if box.mask is None else f", {int(box.mask.sum()):,} pixels"


def _record(box: Box) -> dict[str, Any]:
    sides = [round(float(side), 3) for side in box.sides]
    record: dict[str, Any] = {"index": box.index, "name": box.name, "score": box.score, "box": sides}
    if box.mask is not None:
        record["pixels"] = int(box.mask.sum())
        record["mask"] = {"size": list(box.mask.shape), "counts": encoded(box.mask)}
    return record


def encoded(mask: Array) -> str:
    """A mask as COCO's tools write it: runs of equal values down the columns, in letters of five bits each.

    The first run is of False; from the fourth on the difference to the last run of the same value is written.
    """
    values = np.concatenate([[False], mask.reshape(-1, order="F")])
    ends = np.flatnonzero(np.concatenate([values[1:] != values[:-1], [True]]))
    runs = [int(n) for n in np.diff(np.concatenate([[0], ends]))]
    return "".join(_letters(run - (runs[i - 2] if i > 2 else 0)) for i, run in enumerate(runs))


def _letters(number: int) -> str:
    """Five bits in each letter, the lowest first; the sixth bit says that more follow."""
    letters = ""
    more = True
    while more:
        bits, number = number & 31, number >> 5
        more = number != (-1 if bits & 16 else 0)
        letters += chr(48 + bits + 32 * more)
    return letters
