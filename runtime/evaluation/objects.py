"""Average precision of detected objects, as COCO defines it; its own tools (pycocotools) compute it.

A detection is right if it overlaps an object of its category enough: their intersection over union (IoU) decides.
Precision is averaged over 101 recalls, over categories, and over ten least IoUs from 0.50 to 0.95.
Source: https://cocodataset.org/#detection-eval
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

from ...compiler.errors import NetcError
from ..data.objects import ObjectSource

RESULTS = (
    *("average_precision", "average_precision_50", "average_precision_75"),
    *("average_precision_small", "average_precision_medium", "average_precision_large"),
    *("average_recall_1", "average_recall_10", "average_recall_100"),
    *("average_recall_small", "average_recall_medium", "average_recall_large"),
)
"""Names of the results, in the order in which COCO's tools give them."""

Results = Mapping[str, float | None]
"""Shares of 1; None where there are no objects of that size."""


@dataclass(frozen=True, slots=True)
class Detected:
    """An object that a net found, in pixels of the picture."""

    category: int
    """Its place in the list of categories."""
    box: tuple[float, float, float, float]
    """Left, top, width and height."""
    score: float
    mask: Any = None
    """Its pixels as runs, {size, counts}."""
    pixels: int = 0


def require_coco_tools() -> None:
    """Raise `NetcError` with a cure if COCO's tools aren't installed."""
    try:
        importlib.import_module("pycocotools")
    except ModuleNotFoundError:
        message = "evaluating a detector needs pycocotools, which is not installed"
        raise NetcError(message, hint="pip install 'netc[coco]'") from None


def box_precision(source: ObjectSource, found: Mapping[int, Sequence[Detected]]) -> Results:
    """How well boxes fit; `found` holds what was found by the number of the picture, which has to count."""
    return _results(source, found, "bbox")


def mask_precision(source: ObjectSource, found: Mapping[int, Sequence[Detected]]) -> Results:
    """How well masks fit; the objects of the source must have outlines."""
    return _results(source, found, "segm")


def _results(source: ObjectSource, found: Mapping[int, Sequence[Detected]], kind: str) -> Results:
    tools = importlib.import_module("pycocotools.cocoeval")
    images = [{"id": i, "height": source.sizes[i][0], "width": source.sizes[i][1]} for i in found]
    with redirect_stdout(io.StringIO()):  # the tools tell how they get on
        truth = _index(source, images, _objects(source, found))
        evaluation = tools.COCOeval(truth, _index(source, images, _detections(found, kind)), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    values = [float(value) for value in evaluation.stats]
    return {name: value if value >= 0 else None for name, value in zip(RESULTS, values, strict=True)}


def _index(source: ObjectSource, images: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> Any:
    index = importlib.import_module("pycocotools.coco").COCO()
    categories = [{"id": i, "name": category.name} for i, category in enumerate(source.categories)]
    # Numbers begin with 1: the tools take a match with number 0 for none.
    numbered = [{"id": i, **annotation} for i, annotation in enumerate(annotations, 1)]
    index.dataset = {"images": images, "categories": categories, "annotations": numbered}
    index.createIndex()
    return index


def _objects(source: ObjectSource, pictures: Mapping[int, Any]) -> list[dict[str, Any]]:
    return [
        {
            "image_id": i,
            "category_id": thing.category,
            "bbox": list(thing.box),
            "area": thing.area,
            "iscrowd": int(thing.crowd),
            "segmentation": thing.outline,
        }
        for i in pictures
        for thing in source.things[i]
    ]


def _detections(found: Mapping[int, Sequence[Detected]], kind: str) -> list[dict[str, Any]]:
    return [
        {
            "image_id": i,
            "category_id": each.category,
            "bbox": list(each.box),
            "area": each.pixels if kind == "segm" else each.box[2] * each.box[3],
            "iscrowd": 0,
            "score": each.score,
            "segmentation": each.mask,
        }
        for i, detections in found.items()
        for each in detections
    ]
