"""A tiny net with a recipe, and a softmax regression in NumPy in the place of the compiled trainer."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from netc.compiler.graph.ir import Graph
from netc.runtime.weights import initial_weights, write_weights
from netc.training import TrainingRequest, load_trainer

NET = """\
net tiny(image: f32[N, 4, 4, 1], classes = 3) {
  return image |> flatten |> dense@fc(classes)
}
preprocess tiny { divide = 255, mean = 0.5 }
train tiny {
  data = "DATA"
  optimizer = sgd(lr = 0.5, momentum = 0.9)
  schedule = cosine(epochs = 3)
  batch = 8
  shards = 1
}
"""


class Trainer:
    """Trains `fc` of the net above."""

    peak_bytes = 1000

    def __init__(self, request: TrainingRequest) -> None:
        assert isinstance(request.source, Graph)
        self.request, self.evaluated = request, request.source
        self.batch, self.seed = request.batch, request.seed
        self.weights = {name: np.array(v) for name, v in dict(initial_weights(self.evaluated, self.seed)).items()}
        self.metrics: Mapping[str, float] = {}
        self.steps = 0
        self.interrupt_at = -1
        self.fail_at = -1

    def step(self, x: NDArray[np.float32], labels: NDArray[np.int32]) -> float:
        weight, bias = self.weights["fc.weight"], self.weights["fc.bias"]
        flat = x.reshape(len(x), -1)
        scores = flat @ weight + bias
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        errors = (shares - np.eye(len(bias), dtype=np.float32)[labels]) / np.float32(len(x))
        weight -= np.float32(0.5) * (flat.T @ errors)
        bias -= np.float32(0.5) * errors.sum(axis=0)
        self.steps += 1
        correct = float((scores.argmax(axis=1) == labels).sum())
        self.metrics = {"correct": correct, "learning_rate": 0.5, "gradient_norm": 1.0}
        if self.steps == self.interrupt_at:
            os.kill(os.getpid(), signal.SIGINT)
        right = np.take_along_axis(shares, labels[:, np.newaxis].astype(int), axis=1)
        return float("nan") if self.steps == self.fail_at else float(-np.log(right).mean())

    def state(self) -> dict[str, NDArray[Any]]:
        return self.weights | {"steps": np.array(self.steps)}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.weights = {name: np.array(state[name]) for name in self.weights}
        self.steps = int(state["steps"])

    def evaluated_weights(self, *, averaged: bool = False) -> dict[str, NDArray[Any]]:
        return {name: np.float32(0.5 if averaged else 1) * array for name, array in self.weights.items()}

    def save(self, path: Path, *, averaged: bool = False) -> None:
        write_weights(path, self.evaluated, self.evaluated_weights(averaged=averaged))

    def diagnose(self, x: NDArray[np.float32], labels: NDArray[np.int32]) -> str:
        return "fc (tiny.net:2)"


class Stand:
    """Stands in for `load_trainer` and remembers what it made."""

    def __init__(self) -> None:
        self.made: list[Trainer] = []
        self.settings: dict[str, int] = {}

    def __call__(self, request: TrainingRequest, built: Any = None) -> Trainer:
        self.made.append(Trainer(request))
        vars(self.made[-1]).update(self.settings)
        return self.made[-1]


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> Stand:
    stand = Stand()
    monkeypatch.setattr("netc.training_job.load_trainer", stand)
    return stand


@pytest.fixture
def real(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled trainer after all."""
    monkeypatch.setattr("netc.training_job.load_trainer", load_trainer)


@pytest.fixture
def net(tmp_path: Path, stand: Stand) -> Path:
    """A net whose recipe names data of three kinds of picture: left, right and whole."""
    random = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for split, count in (("train", 60), ("test", 21)):
        labels = random.integers(0, 3, count)
        pictures = random.integers(0, 100, (count, 4, 4))
        pictures[labels != 0, :, 2:] += 150
        pictures[labels != 1, :, :2] += 150
        arrays |= {f"x_{split}": pictures.astype(np.uint8), f"y_{split}": labels}
    np.savez(tmp_path / "data.npz", **arrays)
    path = tmp_path / "tiny.net"
    path.write_text(NET.replace("DATA", str(tmp_path / "data.npz")))
    return path


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs go to `runs` of the current folder."""
    monkeypatch.chdir(tmp_path)
