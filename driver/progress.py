"""Watching a training run: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from .compiler.text import printable
from .output import duration, echo, quantity
from .runtime.evaluation.measures import SHARES
from .runtime.training.events import (
    EpochDone,
    Evaluating,
    Event,
    Finished,
    Interrupted,
    Saved,
    Skipped,
    Started,
    Stepped,
)

_LINE_SECONDS = 10.0
"""Between two plain lines within an epoch."""
_REFRESH = 8
"""Times per second that the bar is drawn."""


class Display(Protocol):
    """Shows lines that stay, and what is going on at the moment."""

    def line(self, text: str) -> None:
        """Show a line that stays."""
        ...

    def step(self, event: Stepped, steps: int) -> None:
        """Show that `event.step` of the epoch's `steps` are done."""
        ...

    def busy(self, text: str) -> None:
        """Show what is going on."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...


class PlainDisplay:
    """Lines; within an epoch one every few seconds."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def line(self, text: str) -> None:
        """Print a line at once, even into a pipe."""
        echo(text)
        sys.stdout.flush()

    def step(self, event: Stepped, steps: int) -> None:
        """Print a line if the last one is old enough."""
        now = time.monotonic()
        if now - self._last >= _LINE_SECONDS:
            self._last = now
            self.line(f"epoch {event.epoch}  {event.step}/{steps}  {describe_step(event)}")

    def busy(self, text: str) -> None:
        """Nothing: lines are for results."""

    def close(self) -> None:
        """Nothing to restore."""


class LiveDisplay:
    """A bar under the lines, drawn a few times a second whatever the number of steps."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[status]}"))
        self._progress = Progress(*columns, console=console, auto_refresh=True, refresh_per_second=_REFRESH)
        self._task: TaskID | None = None
        self._drawn = 0.0
        self._progress.start()

    def line(self, text: str) -> None:
        """Print above the bar."""
        self._progress.console.print(printable(text, keep="\n"), highlight=False, markup=False)

    def step(self, event: Stepped, steps: int) -> None:
        """Move the bar, unless it was moved a moment ago."""
        now = time.monotonic()
        if now - self._drawn < 1 / _REFRESH and event.step < steps:
            return
        self._drawn = now
        self._show(f"epoch {event.epoch}  {event.step}/{steps}", describe_step(event), event.step, steps)

    def busy(self, text: str) -> None:
        """A full bar, and what is going on."""
        self._show(text, "", 1, 1)

    def _show(self, description: str, status: str, done: int, total: int) -> None:
        if self._task is None:
            self._task = self._progress.add_task(description, status=status)
        self._progress.update(self._task, description=description, status=status, completed=done, total=total)

    def close(self) -> None:
        """Remove the bar."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._progress.stop()


class Watcher:
    """Turns the events of a training loop into lines and bars; used as a context manager."""

    def __init__(self, net: str) -> None:
        console = Console()
        self._net = net
        self._display: Display = LiveDisplay(console) if console.is_terminal else PlainDisplay()
        self._steps = 0
        self._epochs = 0
        self._skipped = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._display.close()

    def line(self, text: str) -> None:
        """Show a line that stays."""
        self._display.line(text)

    def show(self, event: Event) -> None:
        """Show an event."""
        match event:
            case Started():
                self._started(event)
            case Stepped():
                self._display.step(event, self._steps)
            case Evaluating():
                self._display.busy(f"epoch {event.epoch}  evaluating")
            case EpochDone():
                self.line(f"epoch {event.epoch}/{self._epochs}  {describe_epoch(event)}")
            case Skipped():
                self.line(f"skipped: {event.reason}")
            case Finished():
                self._finished(event)
            case Saved() | Interrupted():
                pass

    def _started(self, event: Started) -> None:
        self._steps, self._epochs = event.steps_per_epoch, event.epochs
        for problem in event.damaged:
            self.line(f"warning: {problem}")
        if event.resumed is not None:
            self.line(f"going on from {event.resumed}: epoch {event.epoch + 1}, step {event.step}")
        epochs = f"{event.epochs} epoch{'s' * (event.epochs > 1)}"
        self.line(
            f"{self._net}: {epochs} of {event.steps_per_epoch} steps of {event.batch}, "
            f"{quantity(event.peak_bytes, 'B')} for a step"
        )

    def _finished(self, event: Finished) -> None:
        if event.best:
            self.line(f"best: epoch {event.best_epoch}, {describe_results(event.best)}")
        if event.skipped:
            pictures = "1 picture" if event.skipped == 1 else f"{event.skipped} pictures"
            self.line(f"skipped {pictures} that can't be read; metrics.jsonl has the reasons")


def describe_step(event: Stepped) -> str:
    """Loss, accuracy, speed, time left."""
    parts = [f"loss {event.loss:.4f}"]
    if event.accuracy is not None:
        parts.append(f"accuracy {event.accuracy:.2%}")
    parts += [f"lr {event.learning_rate:.3g}", f"{event.images_per_second:,.0f} images/s"]
    return "  ".join([*parts, f"{clock(event.seconds_left)} left"])


def describe_epoch(event: EpochDone) -> str:
    """What an epoch gave."""
    parts = [f"loss {event.loss:.4f}"]
    if event.accuracy is not None:
        parts.append(f"accuracy {event.accuracy:.2%}")
    if event.test:
        parts.append(f"test {describe_results(event.test)}")
    parts += [f"lr {event.learning_rate:.3g}", f"{event.images_per_second:,.0f} images/s", duration(event.seconds)]
    return "  ".join(parts) + ("  *" if event.is_best else "")


def describe_results(results: Mapping[str, float]) -> str:
    """`accuracy 98.31%` and the like; shares as percentages."""
    values = {key: value for key, value in results.items() if key != "images_per_second"}
    return ", ".join(f"{title(key)} {shown(key, value)}" for key, value in values.items())


def title(name: str) -> str:
    """What a result is called for people."""
    return name.replace("_", " ").replace("iou", "IoU")


def shown(name: str, value: float) -> str:
    """A result for people."""
    return f"{value:.2%}" if name in SHARES else f"{value:.4g}" if abs(value) < 1e-3 else f"{value:.4f}"


def clock(seconds: float) -> str:
    """`2:05` or `1:02:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
