"""The training loop: what it reports, and that an interrupted run ends like one that was left alone."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from netc.compiler.errors import NetcError
from netc.runtime.data.registry import open_source
from netc.runtime.data.source import FileSource
from netc.runtime.training.batches import BatchStream, FileMaker
from netc.runtime.training.checkpoint import CheckpointFolder, read_checkpoint
from netc.runtime.training.events import EpochDone, Event, Finished, Interrupted, Saved, Skipped, Started, Stepped
from netc.runtime.training.loop import LoopOptions, Scores, TrainingLoop
from netc.runtime.training.run import read_records

from .conftest import damage
from .fake import FakeTrainer, make_loop, open_run, pictures, stream_of, train
from .test_batches import SIZE, preparation

TIMES = ("images_per_second", "seconds")


def timeless(path: Path) -> list[dict[str, Any]]:
    """The metrics of a run without those that depend on the clock."""
    return [{k: v for k, v in record.items() if k not in TIMES} for record in read_records(path)]


def assert_same_run(one: Path, other: Path) -> None:
    for name in ("best.safetensors", "last.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    assert timeless(one) == timeless(other)
    newest = [max((run / "checkpoints").iterdir()) for run in (one, other)]
    assert newest[0].name == newest[1].name
    first, second = (load_file(path) for path in newest)
    assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 4 epochs of 7 steps."""
    path = tmp_path_factory.mktemp("undisturbed") / "run"
    train(path)
    return path


# ---- a run ----------------------------------------------------------------------------------------------------------


def test_events_of_a_run(tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        events = list(make_loop(run, FakeTrainer(), epochs=2).events())
    assert isinstance(events[0], Started)
    assert (events[0].steps_per_epoch, events[0].epoch, events[0].resumed) == (7, 0, None)
    stepped = [e for e in events if isinstance(e, Stepped)]
    assert [(e.epoch, e.step, e.total_step) for e in stepped] == [(i // 7 + 1, i % 7 + 1, i + 1) for i in range(14)]
    assert all(e.images_per_second > 0 and e.accuracy is not None and 0 <= e.accuracy <= 1 for e in stepped)
    assert stepped[-1].seconds_left == 0
    assert [e.epoch for e in events if isinstance(e, EpochDone)] == [1, 2]
    assert isinstance(events[-1], Finished)


def test_records_of_a_run(undisturbed: Path) -> None:
    records = list(read_records(undisturbed))
    steps = [r for r in records if r["kind"] == "step"]
    epochs = [r for r in records if r["kind"] == "epoch"]
    assert [r["step"] for r in steps] == list(range(3, 28, 3))
    assert [r["step"] for r in epochs] == [7, 14, 21, 28]
    assert {"loss", "accuracy", "learning_rate", "images_per_second", "gradient_norm"} <= set(steps[0])
    assert {"test_accuracy", "loss", "accuracy", "learning_rate", "seconds"} <= set(epochs[0])


def test_means_are_those_of_the_steps(tmp_path: Path) -> None:
    trainer, losses, corrects = FakeTrainer(), [], []
    for batch in stream_of(pictures()).batches(0, 0, 1):
        losses.append(trainer.step(batch.images, batch.labels))
        corrects.append(trainer.metrics["correct"])
    train(tmp_path / "run", epochs=1)
    steps = [r for r in read_records(tmp_path / "run") if r["kind"] == "step"]
    (epoch,) = (r for r in read_records(tmp_path / "run") if r["kind"] == "epoch")
    assert steps[1]["loss"] == pytest.approx(np.mean(losses[3:6]))
    assert epoch["loss"] == pytest.approx(np.mean(losses))
    assert epoch["accuracy"] == pytest.approx(sum(corrects) / 28)
    np.testing.assert_array_equal(load_file(tmp_path / "run" / "last.safetensors")["weight"], trainer.weight)


def test_the_best_weights_are_kept(tmp_path: Path) -> None:
    scores = iter([0.3, 0.9, 0.9, 0.5])
    trainer = FakeTrainer()
    with open_run(tmp_path / "run") as run:
        stream, options = stream_of(pictures()), LoopOptions(4)
        loop = TrainingLoop(trainer, stream, run, options, evaluate=lambda: Scores({"accuracy": next(scores)}))
        events = list(loop.events())
    assert [e.is_best for e in events if isinstance(e, EpochDone)] == [True, True, False, False]
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert (finished.best_epoch, finished.best) == (2, {"accuracy": 0.9})
    expected = train(tmp_path / "other", epochs=2).weight
    np.testing.assert_array_equal(load_file(tmp_path / "run" / "best.safetensors")["weight"], expected)


def test_damaged_test_samples_are_told_once(tmp_path: Path) -> None:
    tested = Scores({"accuracy": 0.5}, ("a.jpg is damaged",))
    with open_run(tmp_path / "run") as run:
        events = list(
            TrainingLoop(FakeTrainer(), stream_of(pictures()), run, LoopOptions(2), evaluate=lambda: tested).events()
        )
    assert [e for e in events if isinstance(e, Skipped)] == [Skipped("a.jpg is damaged", 1)]
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.skipped == 1


def test_without_a_test_split_the_loss_decides(tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        events = list(TrainingLoop(FakeTrainer(), stream_of(pictures()), run, LoopOptions(3)).events())
    losses = [e.loss for e in events if isinstance(e, EpochDone)]
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.best_epoch == 1 + int(np.argmin(losses))


def test_checkpoints_by_the_clock(tmp_path: Path) -> None:
    ticks = itertools.count()
    with open_run(tmp_path / "run") as run:
        options = LoopOptions(1, checkpoint_seconds=1.0)
        loop = TrainingLoop(FakeTrainer(), stream_of(pictures()), run, options, clock=lambda: next(ticks))
        saved = [e.total_step for e in loop.events() if isinstance(e, Saved)]
    assert saved == [1, 2, 3, 4, 5, 6, 7, 7]


# ---- interruption and resumption ------------------------------------------------------------------------------------


def stop_after(calls: int) -> Callable[[], bool]:
    asked = itertools.count()
    return lambda: next(asked) >= calls


def run_until(path: Path, **options: Any) -> list[Event]:
    with open_run(path) as run:
        return list(make_loop(run, FakeTrainer(), **options).events())


def test_interrupted_before_every_step(tmp_path: Path, undisturbed: Path) -> None:
    for _ in range(100):
        last = run_until(tmp_path / "run", stop=stop_after(1))[-1]
        if isinstance(last, Finished):
            break
        assert isinstance(last, Interrupted)
    assert_same_run(tmp_path / "run", undisturbed)


@pytest.mark.parametrize("calls", [0, 1, 5, 7, 8, 13, 30])
def test_interrupted_once(tmp_path: Path, undisturbed: Path, calls: int) -> None:
    events = run_until(tmp_path / "run", stop=stop_after(calls))
    assert isinstance(events[-1], Interrupted)
    assert isinstance(run_until(tmp_path / "run")[-1], Finished)
    assert_same_run(tmp_path / "run", undisturbed)


def test_a_run_that_went_on_beyond_its_checkpoint(tmp_path: Path, undisturbed: Path) -> None:
    """As after SIGKILL: records and weights are newer than the checkpoint."""
    with open_run(tmp_path / "run") as run:
        for event in make_loop(run, FakeTrainer()).events():
            if isinstance(event, Stepped) and event.total_step == 13:
                break
    assert timeless(tmp_path / "run")[-1]["step"] == 12
    events = run_until(tmp_path / "run")
    assert isinstance(events[0], Started)
    assert (events[0].epoch, events[0].step) == (1, 5)
    assert_same_run(tmp_path / "run", undisturbed)


def test_a_damaged_checkpoint_gives_way(tmp_path: Path, undisturbed: Path) -> None:
    run_until(tmp_path / "run", stop=stop_after(12))
    newest = max((tmp_path / "run" / "checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:-7])
    started = run_until(tmp_path / "run")[0]
    assert isinstance(started, Started)
    assert newest.name in started.damaged[0]
    assert_same_run(tmp_path / "run", undisturbed)


def test_a_finished_run_stays_as_it_is(tmp_path: Path, undisturbed: Path) -> None:
    train(tmp_path / "run")
    events = run_until(tmp_path / "run")
    assert [type(e) for e in events] == [Started, Finished]
    assert_same_run(tmp_path / "run", undisturbed)


def test_a_finished_run_can_be_prolonged(tmp_path: Path, undisturbed: Path) -> None:
    train(tmp_path / "run", epochs=2)
    train(tmp_path / "run", epochs=4)
    assert_same_run(tmp_path / "run", undisturbed)


def test_killed_ten_times(tmp_path: Path) -> None:
    epochs, script = 60, Path(__file__).with_name("fake.py")
    chance = random.Random(0)
    train(tmp_path / "undisturbed", epochs)
    kills = 0
    while kills < 10:
        with subprocess.Popen([sys.executable, script, tmp_path / "run", str(epochs)]) as process:
            wait_for_progress(tmp_path / "run", process)
            time.sleep(chance.uniform(0, 0.1))
            process.kill()
        if process.returncode == 0:
            break
        kills += 1
    assert subprocess.run([sys.executable, script, tmp_path / "run", str(epochs)], check=False).returncode == 0
    assert kills >= 5
    assert_same_run(tmp_path / "run", tmp_path / "undisturbed")


def wait_for_progress(run: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until the process has changed something in the run's folder."""
    before = changes(run)
    while process.poll() is None and changes(run) == before:
        time.sleep(0.002)


def changes(run: Path) -> object:
    return (run / "checkpoints").stat().st_mtime_ns if (run / "checkpoints").exists() else None


# ---- trouble --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops(tmp_path: Path, bad: float, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = FakeTrainer()
    step = trainer.step
    monkeypatch.setattr(trainer, "step", lambda x, y: bad if trainer.steps == 9 else step(x, y))
    seen: list[tuple[int, ...]] = []

    def diagnose(images: Any, labels: Any) -> str:
        seen.append(images.shape)
        return "layer fc1 (tiny.net:3)"

    with open_run(tmp_path / "run") as run, pytest.raises(NetcError) as caught:
        list(make_loop(run, trainer, diagnose=diagnose).events())
    (finding,) = caught.value.diagnostics
    expected = f"the loss became {bad} at step 10 (epoch 2, batch 3); first in layer fc1 (tiny.net:3)"
    assert finding.message == expected
    assert "learning rate" in (finding.hint or "")
    assert "--clip-norm" in (finding.hint or "")
    assert seen == [(4, 6, 6, 1)]
    assert max((tmp_path / "run" / "checkpoints").iterdir()).name == "step-000000008.safetensors"


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize(("step", "place"), [(6, "step 6 (epoch 1, batch 6)"), (14, "step 14 (epoch 2, batch 7)")])
def test_a_state_that_is_not_finite_is_not_saved(tmp_path: Path, bad: float, step: int, place: str) -> None:
    """The loss shows it one step late: at a checkpoint, or never at the end of an epoch."""
    trainer = FakeTrainer()
    plain = trainer.step

    def spoilt(x: Any, labels: Any) -> float:
        loss = plain(x, labels)
        if trainer.steps == step:
            trainer.weight = trainer.weight * np.float32(bad)
        return loss

    trainer.step = spoilt
    with open_run(tmp_path / "run") as run, pytest.raises(NetcError) as caught:
        list(make_loop(run, trainer).events())
    assert f"the update of {place} left infinities or NaNs in weight" in str(caught.value)
    kept = sorted((tmp_path / "run" / "checkpoints").iterdir())
    assert kept[-1].name == f"step-{step - 2:09d}.safetensors"
    assert (tmp_path / "run" / "last.safetensors").exists() == (step > 7)
    whole = train(tmp_path / "whole")
    np.testing.assert_array_equal(train(tmp_path / "run").weight, whole.weight)


def test_a_checkpoint_that_is_not_finite_is_passed_over(tmp_path: Path) -> None:
    train(tmp_path / "run", 1)
    first, last = sorted((tmp_path / "run" / "checkpoints").iterdir())
    found = read_checkpoint(last)
    state = {**found.state, "weight": found.state["weight"] * np.float32(np.nan)}
    CheckpointFolder(last.parent, 3).write(7, state, found.progress)
    with open_run(tmp_path / "run") as run:
        started = next(iter(make_loop(run, FakeTrainer()).events()))
    assert isinstance(started, Started)
    assert started.resumed == first
    assert "weight holds infinities or NaNs" in started.damaged[0]


def test_bad_pictures_are_logged_once(tmp_path: Path, image_folder: Path) -> None:
    source = open_source(f"imagefolder:{image_folder}", "train")
    assert isinstance(source, FileSource)
    for number in (1, 6):
        damage(Path(source.keys[number]))
    options = LoopOptions(3, checkpoint_steps=1)
    features = int(np.prod(SIZE))

    def events(stop: Callable[[], bool]) -> list[Event]:
        trainer = FakeTrainer(features=features)
        stream = BatchStream(len(source), 4, FileMaker(source, preparation()), 5)
        with open_run(tmp_path / "run") as run:
            return list(TrainingLoop(trainer, stream, run, options, stop=stop).events())

    first, second = events(stop_after(5)), events(stop_after(1000))
    skipped = [e for e in first + second if isinstance(e, Skipped)]
    assert [e.count for e in skipped] == [1, 2]
    assert {source.keys[1], source.keys[6]} == {e.reason.split()[3].rstrip(":") for e in skipped}
    assert len([r for r in read_records(tmp_path / "run") if r["kind"] == "skipped"]) == 2
    assert isinstance(second[-1], Finished)
    assert second[-1].skipped == 2


def test_records_are_json_of_plain_numbers(undisturbed: Path) -> None:
    for line in (undisturbed / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line, parse_constant=lambda name: pytest.fail(name))
        assert all(isinstance(v, str | int | float) for v in record.values())


def test_a_loss_without_right_and_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = FakeTrainer()
    step = trainer.step

    def without_correct(x: Any, labels: Any) -> float:
        loss = step(x, labels)
        trainer.metrics = {key: value for key, value in trainer.metrics.items() if key != "correct"}
        return loss

    monkeypatch.setattr(trainer, "step", without_correct)
    with open_run(tmp_path / "run") as run:
        events = list(TrainingLoop(trainer, stream_of(pictures()), run, LoopOptions(1, log_steps=2)).events())
    assert {e.accuracy for e in events if isinstance(e, Stepped | EpochDone)} == {None}
    assert not any("accuracy" in record for record in read_records(tmp_path / "run"))
