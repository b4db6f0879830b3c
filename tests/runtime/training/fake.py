"""A small trainer in pure NumPy, and a whole run with it; as a script, a process that tests can kill.

`python fake.py FOLDER DATA` trains in the run FOLDER, new or not, and ends with exit code 0 when the run is finished.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from netc.runtime.data.images import Preprocess
from netc.runtime.data.source import ArraySource
from netc.runtime.training.augment import parse_augmentation
from netc.runtime.training.batches import ArrayMaker, BatchStream
from netc.runtime.training.loop import LoopOptions, Scores, TrainingLoop
from netc.runtime.training.run import Run
from netc.runtime.training.samples import Preparation

SHAPE = (6, 6, 1)


class FakeTrainer:
    """Softmax regression with momentum, in float32; all of its state decides its next step."""

    def __init__(self, batch: int = 4, seed: int = 0, features: int = 36, classes: int = 3, rate: float = 0.1) -> None:
        self.batch = batch
        self.seed = seed
        self.peak_bytes = 1 << 20
        self.rate = rate
        self.metrics: Mapping[str, float] = {}
        self.weight = np.random.default_rng(seed).standard_normal((features, classes)).astype(np.float32)
        self.velocity = np.zeros_like(self.weight)
        self.steps = 0

    def step(self, x: NDArray[np.float32], labels: NDArray[np.int32]) -> float:
        flat = x.reshape(len(x), -1)
        scores = flat @ self.weight
        scores -= scores.max(axis=1, keepdims=True)
        shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        right = np.eye(self.weight.shape[1], dtype=np.float32)[labels]
        loss = float(-np.log((shares * right).sum(axis=1)).mean())
        gradient = flat.T @ (shares - right) / np.float32(len(x))
        self.velocity = np.float32(0.9) * self.velocity + gradient
        self.weight = self.weight - np.float32(self.rate / (1 + self.steps)) * self.velocity
        self.steps += 1
        self.metrics = {
            "loss": loss,
            "correct": float((scores.argmax(axis=1) == labels).sum()),
            "learning_rate": self.rate / self.steps,
            "gradient_norm": float(np.linalg.norm(gradient)),
        }
        return loss

    def state(self) -> dict[str, NDArray[Any]]:
        return {"weight": self.weight, "velocity": self.velocity, "steps": np.array(self.steps)}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.weight, self.velocity, self.steps = state["weight"], state["velocity"], int(state["steps"])

    def save(self, path: Path, *, averaged: bool = False) -> None:
        assert not averaged
        save_file({"weight": self.weight}, path)


def pictures(count: int = 30, seed: int = 0) -> ArraySource:
    """Random pictures with random labels."""
    random = np.random.default_rng(seed)
    values = random.integers(0, 256, (count, *SHAPE), np.uint8)
    return ArraySource("pictures", 3, random.integers(0, 3, count).astype(np.int32), values)


def stream_of(source: ArraySource, batch: int = 4, seed: int = 0, augmentation: str = "crop(1), flip") -> BatchStream:
    """Batches of a source, augmented."""
    preparation = Preparation(SHAPE, Preprocess(*SHAPE), parse_augmentation(augmentation), seed)
    return BatchStream(len(source), batch, ArrayMaker(source, preparation), seed)


def open_run(path: Path) -> Run:
    """The run in a folder, made if it isn't there."""
    return Run.open(path) if path.exists() else Run.create(path, {"net": "fake"})


def make_loop(run: Run, trainer: FakeTrainer, epochs: int = 4, **options: Any) -> TrainingLoop:
    """A loop that logs and saves often; it evaluates to a number that depends on the weights."""
    settings = LoopOptions(epochs, log_steps=3, checkpoint_steps=2)
    return TrainingLoop(
        trainer, stream_of(pictures()), run, settings, evaluate=lambda: Scores(accuracy(trainer)), **options
    )


def accuracy(trainer: FakeTrainer) -> Mapping[str, float]:
    """Any number that changes with the weights."""
    return {"accuracy": float(np.abs(np.sin(trainer.weight)).mean())}


def train(folder: Path, epochs: int = 4, **options: Any) -> FakeTrainer:
    """Train, or go on training, in a folder; returns the trainer afterwards."""
    trainer = FakeTrainer()
    with open_run(folder) as run:
        for _ in make_loop(run, trainer, epochs, **options).events():
            pass
    return trainer


if __name__ == "__main__":
    train(Path(sys.argv[1]), int(sys.argv[2]))
