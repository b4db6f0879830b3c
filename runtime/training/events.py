"""What the training loop tells those who watch it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Started:
    """Training begins, or goes on from a checkpoint."""

    epochs: int
    steps_per_epoch: int
    batch: int
    peak_bytes: int
    """Memory that a training step takes."""
    epoch: int
    """Epochs and, in `step`, steps of the next one that are done."""
    step: int
    resumed: Path | None
    damaged: tuple[str, ...]
    """Why newer checkpoints could not be used."""


@dataclass(frozen=True, slots=True)
class Stepped:
    """A step is done; loss and accuracy are means over the epoch so far."""

    epoch: int
    """From 1 on."""
    step: int
    """Steps of this epoch that are done."""
    total_step: int
    loss: float
    learning_rate: float
    images_per_second: float
    seconds_left: float
    accuracy: float | None = None


@dataclass(frozen=True, slots=True)
class Evaluating:
    """The epoch's steps are done and the test split is next."""

    epoch: int


@dataclass(frozen=True, slots=True)
class EpochDone:
    """An epoch is over; means over its training steps, and what the evaluation gave."""

    epoch: int
    loss: float
    learning_rate: float
    images_per_second: float
    seconds: float
    test: Mapping[str, float]
    is_best: bool
    accuracy: float | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A sample can't be used and is replaced by another; reported once for each."""

    reason: str
    count: int
    """Different ones so far."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint was written."""

    path: Path
    total_step: int


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The run was asked to stop, and saved; it can go on from here."""

    run: Path
    epoch: int
    step: int


@dataclass(frozen=True, slots=True)
class Finished:
    """All epochs are done."""

    run: Path
    best: Mapping[str, float]
    best_epoch: int
    skipped: int


Event = Started | Stepped | Evaluating | EpochDone | Skipped | Saved | Interrupted | Finished
