"""Accuracy: ranks with ties, partial batches, background classes, nets that do not fit."""

import numpy as np
import pytest

from netc.compiler.errors import NetcError
from netc.compiler.graph.ir import Graph, Value
from netc.compiler.graph.types import DType, TensorType
from netc.runtime.datasets import Dataset
from netc.runtime.evaluate import evaluate, rank_of_label


def make_net(batch: int, classes: int) -> Graph:
    image = Value(TensorType(DType.F32, (batch, 1, 1, 1)), "image")
    return Graph("net", (image,), (), (Value(TensorType(DType.F32, (batch, classes))),))


def make_dataset(count: int, classes: int = 10) -> Dataset:
    """Pictures of one pixel that holds the label."""
    samples = [(np.full((1, 1, 1), i % classes, np.uint8), i % classes) for i in range(count)]
    return Dataset("pixels", classes, count, lambda: iter(samples))


def oracle(classes: int, offset: int = 0):
    def program(x: np.ndarray) -> np.ndarray:
        return np.eye(classes, dtype=np.float32)[np.round(x[:, 0, 0, 0] * 255).astype(int) + offset]

    return program


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_partial_batches_count_once(batch: int) -> None:
    seen: list[int] = []
    result = evaluate(oracle(10), make_net(batch, 10), make_dataset(10), progress=seen.append)
    assert (result.samples, result.top1_correct, result.top5_correct) == (10, 10, 10)
    assert seen[-1] == 10


def test_background_class_shifts_labels() -> None:
    assert evaluate(oracle(11, offset=1), make_net(2, 11), make_dataset(10)).top1 == 1
    assert evaluate(oracle(11, offset=0), make_net(2, 11), make_dataset(10)).top1 == 0


def test_limit() -> None:
    assert evaluate(oracle(10), make_net(4, 10), make_dataset(10), limit=7).samples == 7


def test_top5_of_constant_scores_prefers_lower_classes() -> None:
    result = evaluate(lambda x: np.zeros((len(x), 10), np.float32), make_net(5, 10), make_dataset(10))
    assert (result.top1, result.top5) == (0.1, 0.5)


def test_rank_of_label() -> None:
    scores = np.array([[3, 1, 2, 2]] * 4, np.float32)
    assert rank_of_label(scores, np.arange(4)).tolist() == [0, 3, 1, 2]


def test_nan_is_not_an_answer() -> None:
    with pytest.raises(NetcError, match="NaN"):
        evaluate(lambda x: np.full((len(x), 10), np.nan), make_net(1, 10), make_dataset(3))


def test_wrong_number_of_classes_and_no_samples() -> None:
    with pytest.raises(NetcError, match="has 10 classes"):
        evaluate(oracle(1000), make_net(1, 1000), make_dataset(10))
    with pytest.raises(NetcError, match="no samples"):
        evaluate(oracle(10), make_net(1, 10), make_dataset(0))
