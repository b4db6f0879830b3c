"""What a watcher of a training run sees, on a terminal and elsewhere."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import pytest
from rich.console import Console

from netc.progress import LiveDisplay, PlainDisplay, Watcher, clock, describe_epoch, describe_step
from netc.runtime.training.events import EpochDone, Finished, Skipped, Started, Stepped

STEP = Stepped(2, 30, 130, loss=0.51234, learning_rate=0.05, images_per_second=1234.5, seconds_left=125, accuracy=0.875)
EPOCH = EpochDone(2, 0.4, 0.05, 1000.0, 12.5, {"accuracy": 0.9831, "top5": 0.999}, True, 0.97)


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (125, "2:05"), (3725, "1:02:05")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_descriptions() -> None:
    assert describe_step(STEP) == "loss 0.5123  accuracy 87.50%  lr 0.05  1,234 images/s  2:05 left"
    expected = "loss 0.4000  accuracy 97.00%  test accuracy 98.31%, top5 99.90%  lr 0.05  1,000 images/s  12.50 s  *"
    assert describe_epoch(EPOCH) == expected
    assert "accuracy" not in describe_epoch(EpochDone(1, 0.4, 0.05, 1000.0, 12.5, {}, False))


def test_plain_lines_come_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.count(0, 4)
    monkeypatch.setattr("netc.progress.time.monotonic", lambda: next(seconds))
    display = PlainDisplay()
    for _ in range(7):
        display.step(STEP, 100)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"epoch 2  30/100  {describe_step(STEP)}"] * 2


def test_a_terminal_gets_a_bar_that_goes_away() -> None:
    stream = io.StringIO()
    display = LiveDisplay(Console(file=stream, force_terminal=True, width=120))
    display.step(STEP, 100)
    display.line("a [line] that stays")
    display.busy("evaluating")
    display.close()
    text = stream.getvalue()
    assert "a [line] that stays" in text
    assert "30/100" in text or "evaluating" in text
    assert text.rstrip().endswith("\x1b[?25h"), "the cursor is visible again"


def test_watcher_reports_what_matters(capsys: pytest.CaptureFixture[str]) -> None:
    with Watcher("tiny") as watcher:
        watcher.show(Started(3, 100, 32, 5_000_000, 1, 30, Path("run/step.safetensors"), ("other is damaged",)))
        watcher.show(Skipped("can't read picture x.jpg", 1))
        watcher.show(EPOCH)
        watcher.show(Finished(Path("run"), {"accuracy": 0.99}, 2, 1))
    assert capsys.readouterr().out.splitlines() == [
        "warning: other is damaged",
        "going on from run/step.safetensors: epoch 2, step 30",
        "tiny: 3 epochs of 100 steps of 32, 5 MB for a step",
        "skipped: can't read picture x.jpg",
        f"epoch 2/3  {describe_epoch(EPOCH)}",
        "best: epoch 2, accuracy 99.00%",
        "skipped 1 picture that can't be read; metrics.jsonl has the reasons",
    ]
