"""The trained nets give the reference logits and accuracies; needs the reference weights and data."""

import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netc
from netc.comparison import maker_for
from netc.compiler.errors import NetcError
from netc.runtime.data.folder import data_folder
from netc.runtime.data.images import Pixels, Preprocess, decode
from netc.runtime.data.registry import open_source
from netc.runtime.evaluation.scoring import score

DATASETS = {"cnn_cifar": "cifar10", "cnn_mnist": "mnist", "mlp_mnist": "mnist"}


@pytest.fixture(scope="module")
def weights() -> Path:
    """The folder of reference weights, beside the data."""
    try:
        folder = data_folder().parent / "weights"
    except NetcError as error:
        pytest.skip(f"needs real data: {error}")
    if not (folder / "expected.json").is_file():
        pytest.skip(f"needs {folder / 'expected.json'}")
    return folder


def examples_of(weights: Path, model: str) -> list[dict[str, Any]]:
    """Pictures with their logits, from the file of expectations that knows the model."""
    for path in sorted(weights.glob("expected*.json")):
        files = json.loads(path.read_text())["files"]
        if (name := f"{model}.safetensors") in files:
            found: list[dict[str, Any]] = files[name]["examples"]
            return found
    pytest.skip(f"nothing is expected of {model}")


def pictures(model: str, examples: list[dict[str, Any]]) -> list[Pixels]:
    if model in DATASETS:
        return [picture for picture, _ in islice(open_source(DATASETS[model], "test"), len(examples))]
    return [decode(data_folder() / example["input"]) for example in examples]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "model", ["cnn_cifar", "cnn_mnist", "mlp_mnist", "mobilenet_v2_tf", "efficientnet_lite0", "efficientnet_lite2"]
)
def test_logits(weights: Path, model: str, threads: int) -> None:
    examples = examples_of(weights, model)
    graph = netc.load(model, batch=len(examples))
    program = netc.compile(graph, weights=weights / f"{model}.safetensors", threads=threads)
    preprocess = Preprocess.of(graph)
    logits = program(np.stack([preprocess(picture) for picture in pictures(model, examples)]))
    np.testing.assert_allclose(logits, [example["logits"] for example in examples], rtol=0, atol=1e-4)


@pytest.mark.parametrize(("model", "right"), [("cnn_mnist", 9913), ("mlp_mnist", 9841)])
def test_accuracy(weights: Path, model: str, right: int) -> None:
    graph = netc.load(model, batch=64)
    program = netc.compile(graph, weights=weights / f"{model}.safetensors")
    source = open_source("mnist", "test")
    assert score(program, source, maker_for(graph, source), batch=64).top1_correct == right
