"""Accuracy: ranks with ties, partial batches, background classes, nets that do not fit."""

from collections.abc import Callable

import numpy as np
import pytest

from netc.comparison import maker_for
from netc.compiler.errors import NetcError
from netc.compiler.graph.ir import Array, Graph, Value
from netc.compiler.types import DType, TensorType
from netc.runtime.data.labels import NO_LABELS, Labels
from netc.runtime.data.source import ArraySource
from netc.runtime.evaluation.accuracy import Evaluation, rank_of_label
from netc.runtime.evaluation.scoring import score

Program = Callable[[Array], Array]


def make_net(batch: int, classes: int) -> Graph:
    image = Value(TensorType(DType.F32, (batch, 1, 1, 1)), "image")
    return Graph("net", (image,), (), (Value(TensorType(DType.F32, (batch, classes))),))


def pixels(count: int, classes: int = 10) -> ArraySource:
    """Pictures of one pixel that holds the label."""
    labels = np.arange(count, dtype=np.int32) % classes
    return ArraySource("pixels", classes, labels, labels.astype(np.uint8).reshape(-1, 1, 1, 1))


def oracle(classes: int, offset: int = 0) -> Program:
    def program(x: Array) -> Array:
        return np.eye(classes, dtype=np.float32)[np.round(x[:, 0, 0, 0] * 255).astype(int) + offset]

    return program


def evaluate(
    program: Program, net: Graph, source: ArraySource, seen: list[int] | None = None, labels: Labels = NO_LABELS
) -> Evaluation:
    progress = seen.append if seen is not None else None
    return score(program, source, maker_for(net, source, labels), net.inputs[0].type.shape[0], progress)


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_partial_batches_count_once(batch: int) -> None:
    seen: list[int] = []
    result = evaluate(oracle(10), make_net(batch, 10), pixels(10), seen)
    assert (result.samples, result.top1_correct, result.top5_correct) == (10, 10, 10)
    assert seen[-1] == 10


def test_background_class_shifts_labels() -> None:
    for labels in (Labels(background=True), Labels(("background", *map(str, range(10))))):
        assert evaluate(oracle(11, offset=1), make_net(2, 11), pixels(10), labels=labels).top1 == 1
        assert evaluate(oracle(11, offset=0), make_net(2, 11), pixels(10), labels=labels).top1 == 0
    with pytest.raises(NetcError, match="gives f32\\[2,11\\], but pixels has 10 classes"):
        evaluate(oracle(11), make_net(2, 11), pixels(10))


def test_one_column_scores_class_1_against_class_0() -> None:
    result = evaluate(lambda x: np.round(x[:, :, 0, 0] * 255) - 0.5, make_net(2, 1), pixels(6, classes=2))
    assert (result.samples, result.top1) == (6, 1)


def test_top5_of_constant_scores_prefers_lower_classes() -> None:
    result = evaluate(lambda x: np.zeros((len(x), 10), np.float32), make_net(5, 10), pixels(10))
    assert (result.top1, result.top5) == (0.1, 0.5)


def test_rank_of_label() -> None:
    scores = np.array([[3, 1, 2, 2]] * 4, np.float32)
    assert rank_of_label(scores, np.arange(4)).tolist() == [0, 3, 1, 2]


def test_nan_is_not_an_answer() -> None:
    with pytest.raises(NetcError, match="NaN"):
        evaluate(lambda x: np.full((len(x), 10), np.nan), make_net(1, 10), pixels(3))


def test_wrong_number_of_classes_and_no_samples() -> None:
    with pytest.raises(NetcError, match="10 classes"):
        evaluate(oracle(1000), make_net(1, 1000), pixels(10))
    with pytest.raises(NetcError, match="no samples"):
        evaluate(oracle(10), make_net(1, 10), pixels(0))
