"""How well outputs fit targets that aren't one class for each sample: pixels, several decisions, values.

Each measure is fed batch by batch and gives a `Result`: numbers by name, of which one says how good the weights are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...compiler.errors import NetcError
from ...compiler.graph.ir import Array
from ..data.targets import Targets

SHARES = (
    *("accuracy", "top5", "pixel_accuracy", "mean_iou"),
    *("mean_average_precision", "exact_accuracy", "hamming_accuracy"),
)
"""Results that are shares of 1."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What came out for a source of samples."""

    samples: int
    main: str
    """The result that counts most."""
    results: Mapping[str, float]
    classes: NDArray[np.float64] | None = None
    """For each class the intersection over union, NaN for one that doesn't occur."""
    confusion: NDArray[np.int64] | None = None
    """How many pixels of each class (rows) were taken for each class (columns)."""
    skipped: tuple[str, ...] = ()
    """Why samples could not be used, one message each; they are not among `samples`."""

    @property
    def score(self) -> float:
        """The larger, the better."""
        value = self.results[self.main]
        return value if self.main in SHARES else -value


class Measure(ABC):
    """Compares outputs with targets."""

    @abstractmethod
    def add(self, outputs: Array, targets: Array) -> None:
        """Count samples [n, ...]."""

    @abstractmethod
    def results(self) -> dict[str, Any]:
        """`main`, `results` and what else `Measured` holds."""


def measure_for(targets: Targets) -> Measure:
    """The measure for what targets are."""
    if targets.task == "values":
        return Values()
    return Pixels(targets) if targets.grid or targets.task == "classes" else Decisions(targets.threshold)


@dataclass
class Values(Measure):
    """Mean absolute and mean squared error over all elements."""

    count: int = 0
    absolute: float = 0.0
    squared: float = 0.0

    def add(self, outputs: Array, targets: Array) -> None:
        """See `Measure`."""
        if outputs.size != targets.size:
            raise NetcError(f"outputs [N,{_sizes(outputs)}] can't be compared with targets [N,{_sizes(targets)}]")
        errors = outputs.astype(np.float64) - targets.astype(np.float64).reshape(outputs.shape)
        self.count += errors.size
        self.absolute += float(np.abs(errors).sum())
        self.squared += float((errors * errors).sum())

    def results(self) -> dict[str, Any]:
        """See `Measure`."""
        means = {
            "mean_absolute_error": self.absolute / max(self.count, 1),
            "mean_squared_error": self.squared / max(self.count, 1),
        }
        return {"main": "mean_squared_error", "results": means}


def _sizes(array: Array) -> str:
    return ",".join(map(str, array.shape[1:]))


@dataclass
class Pixels(Measure):
    """Share of right pixels, and mean intersection over union of the classes.

    A class that occurs neither in targets nor in predictions doesn't count, nor do pixels that are no class. A single
    score stands for class 1 where it is above 0.
    """

    targets: Targets
    confusion: NDArray[np.int64] | None = None

    def add(self, outputs: Array, targets: Array) -> None:
        """See `Measure`."""
        single = outputs.shape[-1] == 1
        found = (outputs[..., 0] > 0).astype(np.int64) if single else outputs.argmax(axis=-1)
        classes = 2 if single else outputs.shape[-1]
        given = targets.reshape(found.shape).astype(np.int64)
        counts = (given >= 0) & (given < classes)
        if self.targets.ignored is not None:
            counts &= given != self.targets.ignored
        pairs = np.bincount(given[counts] * classes + found[counts], minlength=classes * classes)
        table = pairs.reshape(classes, classes).astype(np.int64)
        self.confusion = table if self.confusion is None else self.confusion + table

    def results(self) -> dict[str, Any]:
        """See `Measure`."""
        table = self.confusion if self.confusion is not None else np.zeros((1, 1), np.int64)
        right = np.diagonal(table).astype(np.float64)
        union = table.sum(axis=0) + table.sum(axis=1) - right
        shares = np.divide(right, union, out=np.full(len(right), np.nan), where=union > 0)
        mean = float(np.nanmean(shares)) if (union > 0).any() else 0.0
        found = {"mean_iou": mean, "pixel_accuracy": float(right.sum() / max(table.sum(), 1))}
        return {"main": "mean_iou", "results": found, "classes": shares, "confusion": table}


@dataclass
class Decisions(Measure):
    """Yes or no for each of several classes: mean average precision, samples that are all right, right decisions.

    A score above 0 is a yes. Average precision is the area below precision over recall as steps, for the samples in
    the order of their scores; a class without a yes doesn't count.
    """

    threshold: float
    outputs: list[Array] = field(default_factory=list[Array])
    targets: list[Array] = field(default_factory=list[Array])

    def add(self, outputs: Array, targets: Array) -> None:
        """See `Measure`."""
        columns = outputs.shape[-1] if outputs.ndim > 1 else 1
        self.outputs.append(outputs.reshape(-1, columns).astype(np.float32))
        self.targets.append(targets.reshape(-1, columns) > self.threshold)

    def results(self) -> dict[str, Any]:
        """See `Measure`."""
        scores, wanted = np.concatenate(self.outputs), np.concatenate(self.targets)
        right = (scores > 0) == wanted
        precisions = [_average_precision(s, w) for s, w in zip(scores.T, wanted.T, strict=True) if w.any()]
        found = {
            "mean_average_precision": float(np.mean(precisions)) if precisions else 0.0,
            "exact_accuracy": float(right.all(axis=1).mean()),
            "hamming_accuracy": float(right.mean()),
        }
        return {"main": "mean_average_precision", "results": found}


def _average_precision(scores: Array, wanted: NDArray[np.bool_]) -> float:
    """The sum of (recall step * precision) where the threshold falls from score to score; equal ones fall together."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = np.cumsum(wanted[order])[last]
    return float((np.diff(hits, prepend=0) / wanted.sum() * hits / (last + 1)).sum())
