"""The training loop: steps, evaluation, metrics, checkpoints; it yields events and prints nothing.

Everything that decides the weights is in the trainer's state and in `Progress`, and both are in every checkpoint: a run
that is killed at any moment goes on from its newest checkpoint to the same bits as one that was left alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ...compiler.errors import NetcError
from ..data.source import Labels
from ..finite import not_finite
from .batches import Batch, BatchStream
from .checkpoint import State
from .events import EpochDone, Evaluating, Event, Finished, Interrupted, Saved, Skipped, Started, Stepped
from .files import replace_file
from .run import Run
from .samples import Tensor


class Trainer(Protocol):
    """A compiled training step with its state."""

    batch: int
    seed: int

    @property
    def peak_bytes(self) -> int:
        """Memory that a step takes."""
        ...

    @property
    def metrics(self) -> Mapping[str, float]:
        """Of the last step: loss, learning_rate, gradient_norm; correct (samples) if the loss knows right and wrong."""
        ...

    def step(self, x: Tensor, labels: Labels) -> float:
        """One update on a batch; returns the mean loss before it."""
        ...

    def state(self) -> State:
        """Everything that decides later steps."""
        ...

    def load_state(self, state: State) -> None:
        """Go back to a state."""
        ...

    def save(self, path: Path, *, averaged: bool = False) -> None:
        """Write the weights, or their moving averages, as safetensors."""
        ...


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """How long to train, and how often to log and save. A checkpoint is also written after every epoch."""

    epochs: int
    log_steps: int = 50
    checkpoint_steps: int | None = None
    checkpoint_seconds: float | None = 120.0
    averaged: bool = False
    """Whether best and last weights are moving averages."""


@dataclass(slots=True)
class Sums:
    """Totals over some steps."""

    steps: int = 0
    samples: int = 0
    loss: float = 0.0
    correct: float | None = 0.0
    """None for a loss that knows no right and wrong."""
    seconds: float = 0.0
    labels: float = 0.0
    """Of which so many are correct: one for each sample, or more."""

    def add(self, loss: float, correct: float | None, samples: int, seconds: float, labels: float) -> None:
        """Count a step."""
        self.steps += 1
        self.labels += labels
        self.samples += samples
        self.loss += loss
        self.correct = None if self.correct is None or correct is None else self.correct + correct
        self.seconds += seconds

    def means(self) -> dict[str, float]:
        """Loss, images per second, and accuracy if there is one."""
        means = {
            "loss": self.loss / max(self.steps, 1),
            "images_per_second": self.samples / max(self.seconds, 1e-9),
        }
        return means if self.correct is None else means | {"accuracy": self.correct / max(self.labels, 1)}


@dataclass(slots=True)
class Progress:
    """Where a run stands; `step` may equal the steps of an epoch: then its evaluation is still to come."""

    epoch: int = 0
    step: int = 0
    total_step: int = 0
    best_score: float | None = None
    best_epoch: int = 0
    best: Mapping[str, float] = field(default_factory=dict[str, float])
    window: Sums = field(default_factory=Sums)
    """Since the last record."""
    learning_rate: float = 0.0
    """Of the last step."""
    in_epoch: Sums = field(default_factory=Sums)

    @staticmethod
    def of(saved: Mapping[str, Any]) -> Progress:
        """The progress that a checkpoint holds."""
        fields: dict[str, Any] = dict(saved)
        fields |= {name: Sums(**saved[name]) for name in ("window", "in_epoch")}
        return Progress(**fields)


@dataclass(frozen=True, slots=True)
class Scores:
    """What the present weights give on the test split."""

    results: Mapping[str, float]
    skipped: tuple[str, ...] = ()
    score: float | None = None
    """The larger, the better the weights; None: `accuracy`, or else the training loss decides."""
    """Why samples could not be used."""


Evaluate = Callable[[], Scores]
Diagnose = Callable[[Tensor, Labels], str | None]
"""Where the first value that is not finite appears for a batch, in words."""


class TrainingLoop:
    """Trains a net in a run folder; goes on from its newest checkpoint if there is one.

    `stop` is asked after every step: when it answers true, the loop saves and ends. `clock` gives seconds.
    """

    def __init__(
        self,
        trainer: Trainer,
        stream: BatchStream,
        run: Run,
        options: LoopOptions,
        *,
        evaluate: Evaluate | None = None,
        diagnose: Diagnose | None = None,
        stop: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._trainer = trainer
        self._stream = stream
        self._run = run
        self._options = options
        self._evaluate = evaluate
        self._diagnose = diagnose
        self._stop = stop
        self._clock = clock
        self._progress = Progress()
        self._skipped: set[str] = set()
        self._saved_at = 0.0
        self._began = (0.0, 0)
        """Time, and total steps, when this process began to train."""

    def events(self) -> Iterator[Event]:
        """Train to the end, or until told to stop.

        Raises `NetcError` when the loss, or a state that is to be saved, is no longer finite.
        """
        yield self._restore()
        progress, epochs = self._progress, self._options.epochs
        batches = self._stream.batches(progress.epoch, progress.step, epochs)
        self._saved_at, self._began = self._clock(), (self._clock(), progress.total_step)
        while progress.epoch < epochs:
            if self._stop():
                yield from self._interrupt()
                return
            if progress.step < self._stream.steps_per_epoch:
                yield from self._step(batches)
            else:
                yield Evaluating(progress.epoch + 1)
                yield from self._finish_epoch()
        yield Finished(self._run.path, progress.best, progress.best_epoch, len(self._skipped))

    def _restore(self) -> Started:
        found, problems = self._run.checkpoints.latest(finite=True)
        if found is not None:
            self._trainer.load_state(found.state)
            self._progress = Progress.of(found.progress["loop"])
        self._run.rewind_log(found.progress["log_position"] if found is not None else 0)
        self._skipped = {str(r.get("reason")) for r in self._run.records() if r.get("kind") == "skipped"}
        return Started(
            self._options.epochs,
            self._stream.steps_per_epoch,
            self._stream.batch,
            self._trainer.peak_bytes,
            self._progress.epoch,
            self._progress.step,
            found.path if found is not None else None,
            problems,
        )

    # ---- a step -----------------------------------------------------------------------------------------------------

    def _step(self, batches: Iterator[Batch]) -> Iterator[Event]:
        progress = self._progress
        start = self._clock()
        batch = next(batches)
        loss = float(self._trainer.step(batch.images, batch.labels))
        if not math.isfinite(loss):
            raise self._diverged(loss, batch)
        seconds = self._clock() - start
        metrics = {key: float(value) for key, value in self._trainer.metrics.items()}
        progress.learning_rate = metrics["learning_rate"]
        for sums in (progress.window, progress.in_epoch):
            labels = metrics.get("counted", float(batch.labels.size))
            sums.add(loss, metrics.get("correct"), len(batch.labels), seconds, labels)
        progress.step += 1
        progress.total_step += 1
        yield from self._note_skipped(batch.skipped)
        if progress.total_step % self._options.log_steps == 0:
            self._log_window(metrics)
        yield self._stepped()
        if self._checkpoint_due():
            yield self._save(self._sound_state())

    def _note_skipped(self, reasons: tuple[str, ...]) -> Iterator[Event]:
        for reason in reasons:
            if reason not in self._skipped:
                self._skipped.add(reason)
                self._run.log({"kind": "skipped", "reason": reason})
                yield Skipped(reason, len(self._skipped))

    def _log_window(self, metrics: Mapping[str, float]) -> None:
        progress = self._progress
        others = {key: value for key, value in metrics.items() if key not in ("loss", "correct", "counted")}
        self._run.log(self._record("step") | progress.window.means() | others)
        progress.window = Sums()

    def _record(self, kind: str) -> dict[str, str | float]:
        """What every record begins with; `position` counts epochs, with a fraction."""
        progress, steps = self._progress, self._stream.steps_per_epoch
        place = {"step": progress.total_step, "position": progress.total_step / steps}
        return {"kind": kind, "epoch": progress.epoch + 1, **place}

    def _stepped(self) -> Stepped:
        progress = self._progress
        began, steps = self._began
        pace = (self._clock() - began) / (progress.total_step - steps)
        left = self._options.epochs * self._stream.steps_per_epoch - progress.total_step
        return Stepped(
            progress.epoch + 1,
            progress.step,
            progress.total_step,
            learning_rate=progress.learning_rate,
            seconds_left=pace * left,
            **progress.in_epoch.means(),
        )

    def _diverged(self, loss: float, batch: Batch) -> NetcError:
        progress = self._progress
        where = self._diagnose(batch.images, batch.labels) if self._diagnose is not None else None
        first = f"; first in {where}" if where else ""
        return NetcError(
            f"the loss became {loss} at step {progress.total_step + 1} (epoch {progress.epoch + 1}, batch "
            f"{progress.step + 1}){first}",
            hint=self._advice(),
        )

    def _sound_state(self) -> State:
        """The trainer's state; raises `NetcError` unless it is finite.

        The loss of a step is that of the weights before it: it shows what the update did one step later.
        """
        state, progress = self._trainer.state(), self._progress
        if (name := not_finite(state)) is not None:
            raise NetcError(
                f"the update of step {progress.total_step} (epoch {progress.epoch + 1}, batch {progress.step}) left "
                f"infinities or NaNs in {name}, though the loss was finite",
                hint=self._advice(),
            )
        return state

    def _advice(self) -> str:
        rate = self._trainer.metrics.get("learning_rate", self._progress.learning_rate)
        return f"lower the learning rate (it is {rate:g}), warm up (warmup=1 in the schedule), or --clip-norm 1"

    # ---- the end of an epoch ----------------------------------------------------------------------------------------

    def _finish_epoch(self) -> Iterator[Event]:
        state = self._sound_state()
        progress, sums = self._progress, self._progress.in_epoch
        scores = self._evaluate() if self._evaluate is not None else Scores({})
        test = {key: float(value) for key, value in scores.results.items()}
        yield from self._note_skipped(scores.skipped)
        score = scores.score if scores.score is not None else test.get("accuracy", -sums.loss)
        is_best = progress.best_score is None or score > progress.best_score
        if is_best:
            progress.best_score, progress.best_epoch = score, progress.epoch + 1
            progress.best = test or sums.means()
        for path in (self._run.last, self._run.best)[: 1 + is_best]:
            replace_file(path, self._save_weights)
        means = sums.means() | {"learning_rate": progress.learning_rate, "seconds": sums.seconds}
        self._run.log(self._record("epoch") | means | {f"test_{key}": value for key, value in test.items()})
        done = EpochDone(progress.epoch + 1, **means, test=test, is_best=is_best)
        progress.epoch, progress.step, progress.in_epoch = progress.epoch + 1, 0, Sums()
        saved = self._save(state)
        yield done
        yield saved

    def _save_weights(self, path: Path) -> None:
        self._trainer.save(path, averaged=self._options.averaged)

    # ---- checkpoints ------------------------------------------------------------------------------------------------

    def _checkpoint_due(self) -> bool:
        steps, seconds = self._options.checkpoint_steps, self._options.checkpoint_seconds
        if steps is not None and self._progress.total_step % steps == 0:
            return True
        return seconds is not None and self._clock() - self._saved_at >= seconds

    def _save(self, state: State) -> Saved:
        progress = self._progress
        content = {"loop": asdict(progress), "log_position": self._run.log_position(), "seed": self._trainer.seed}
        path = self._run.checkpoints.write(progress.total_step, state, content)
        self._saved_at = self._clock()
        return Saved(path, progress.total_step)

    def _interrupt(self) -> Iterator[Event]:
        if self._progress.total_step > 0:
            yield self._save(self._sound_state())
        yield Interrupted(self._run.path, self._progress.epoch, self._progress.step)
