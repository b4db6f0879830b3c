"""A network that 8-bit integers break is as good as in floats after some quantization-aware training: real digits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import netc
from netc.compiler.errors import NetcError
from netc.compiler.graph.ir import Graph
from netc.runtime.data.folder import data_folder
from netc.runtime.data.registry import open_source
from netc.runtime.data.source import ArraySource
from netc.runtime.trainer import QatTrainer
from netc.runtime.weights import read_weights

BATCH, STEPS, TESTS = 128, 300, 15
Arrays = NDArray[Any]


@pytest.fixture(scope="module")
def home() -> Path:
    try:
        return data_folder()
    except NetcError as error:
        pytest.skip(f"needs real data: {error}")


@pytest.fixture(scope="module")
def weights(home: Path) -> Mapping[str, Arrays]:
    """Trained weights, but hidden units are up to 256 times as large as others: relu passes factors on."""
    file = home.parent / "weights" / "mlp_mnist.safetensors"
    if not file.exists():
        pytest.skip("needs trained weights beside the data")
    changed = dict(read_weights(file, netc.load("mlp_mnist")))
    random = np.random.default_rng(0)
    for first, second in (("fc1", "fc2"), ("fc2", "fc3")):
        units = changed[f"{first}.bias"].size
        factors = (2.0 ** random.permutation(np.linspace(-4, 4, units))).astype(np.float32)
        changed[f"{first}.weight"] = changed[f"{first}.weight"] * factors
        changed[f"{first}.bias"] = changed[f"{first}.bias"] * factors
        changed[f"{second}.weight"] = changed[f"{second}.weight"] / factors[:, np.newaxis]
    return changed


def digits(home: Path, split: str, batches: int) -> tuple[Arrays, Arrays]:
    source = open_source("mnist", split, home)
    assert isinstance(source, ArraySource)
    pictures = (source.values[: batches * BATCH] / np.float32(255)).astype(np.float32)
    return pictures.reshape(batches, BATCH, 28, 28, 1), source.labels[: batches * BATCH].reshape(batches, BATCH)


def test_recovery(home: Path, weights: Mapping[str, Arrays]) -> None:
    graph = netc.load("mlp_mnist", batch=BATCH)
    pictures, labels = digits(home, "train", STEPS)
    tests, answers = digits(home, "test", TESTS)

    def accuracy(graph: Graph, weights: Mapping[str, Arrays] | None = None) -> float:
        with netc.compile(graph, weights=weights) as program:
            return float(np.mean([np.argmax(program(x), axis=1) == y for x, y in zip(tests, answers, strict=True)]))

    edges: dict[str, Any] = {"inputs": "f32", "outputs": "f32"}
    ranges = netc.calibrate(graph, pictures[:4], weights=weights).calibration.ranges("minmax")
    floats = accuracy(graph, weights)
    assert accuracy(netc.quantize(graph, ranges=ranges, weights=weights, **edges)) < floats - 0.05
    options: dict[str, Any] = {"optimizer": "adam(lr=0.002)", "schedule": "cosine(epochs=1)", "steps_per_epoch": STEPS}
    with netc.compile_training(graph, weights=weights, qat="moving", ranges=ranges, **options) as trainer:
        assert isinstance(trainer, QatTrainer)
        for x, y in zip(pictures, labels, strict=True):
            trainer.step(x, y)
        integers = netc.quantize(graph, ranges=trainer.ranges(), weights=trainer.weights(), **edges)
    assert accuracy(integers) > floats - 0.01
