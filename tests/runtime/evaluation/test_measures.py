"""Results of targets that aren't one class for each sample, by hand and by other definitions."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from netc.compiler.errors import NetcError
from netc.runtime.data.source import ArraySource
from netc.runtime.data.targets import Targets
from netc.runtime.evaluation.measures import Decisions, Measured, Pixels, Values
from netc.runtime.evaluation.scoring import measure
from netc.runtime.training.batches import ArrayMaker
from netc.runtime.training.samples import Preparation

PIXELS = Targets("classes", (1, 4), classes=3, grid=True, ignored=255)


def scores_of(classes: NDArray[np.int64], count: int) -> NDArray[np.float32]:
    return np.eye(count, dtype=np.float32)[classes]


def test_values() -> None:
    found = Values()
    found.add(np.array([[1.0], [2.0]]), np.array([3.0, 2.0]))
    found.add(np.array([[5.0]]), np.array([[4.0]]))
    assert found.results()["results"] == {"mean_absolute_error": 1.0, "mean_squared_error": pytest.approx(5 / 3)}


def test_values_of_other_sizes() -> None:
    with pytest.raises(NetcError, match="can't be compared"):
        Values().add(np.zeros((2, 3)), np.zeros((2, 1)))


def test_intersection_over_union() -> None:
    """Class 2 occurs nowhere; one pixel is no class."""
    found = Pixels(PIXELS)
    found.add(scores_of(np.array([[[0, 1, 1, 0]]]), 3), np.array([[[0, 1, 0, 255]]]))
    result = found.results()
    assert result["results"] == {"mean_iou": pytest.approx(0.5), "pixel_accuracy": pytest.approx(2 / 3)}
    np.testing.assert_array_equal(result["classes"], [0.5, 0.5, np.nan])
    assert result["confusion"].tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    found.add(scores_of(np.array([[[2, 2, 2, 2]]]), 3), np.array([[[255, 255, 255, 1]]]))
    np.testing.assert_allclose(found.results()["classes"], [0.5, 1 / 3, 0])


def test_pixels_of_a_single_score() -> None:
    found = Pixels(Targets("decisions", (1, 3), "float32", 2, grid=True))
    found.add(np.array([[[[1.0], [-1.0], [2.0]]]]), np.array([[[1.0, 0.0, 0.0]]]))
    assert found.results()["classes"].tolist() == [0.5, 0.5]


def test_average_precision() -> None:
    """By hand; equal scores fall together; the third class has no yes."""
    scores = np.array([[0.9, 1, 0], [0.8, 1, 0], [0.7, -1, 0], [0.6, -1, 0]], np.float32)
    wanted = np.array([[1, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 0]])
    found = Decisions(0.5)
    for start in (0, 3):
        found.add(scores[start : start + 3], wanted[start : start + 3])
    results = found.results()["results"]
    assert results["mean_average_precision"] == pytest.approx(((1 + 2 / 3) / 2 + 1 / 2) / 2)
    assert results["exact_accuracy"] == 0.5
    assert results["hamming_accuracy"] == pytest.approx(9 / 12)


def test_average_precision_is_that_of_its_definition() -> None:
    random = np.random.default_rng(0)
    scores, wanted = random.integers(0, 9, 40).astype(np.float32), random.integers(0, 2, 40)
    total, last = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        chosen = scores >= threshold
        recall = wanted[chosen].sum() / wanted.sum()
        total += (recall - last) * wanted[chosen].mean()
        last = recall
    found = Decisions(0.5)
    found.add(scores[:, np.newaxis], wanted[:, np.newaxis])
    assert found.results()["results"]["mean_average_precision"] == pytest.approx(total)


def test_the_last_batch_may_be_smaller() -> None:
    values = np.arange(5, dtype=np.float32)[:, np.newaxis]
    source = ArraySource("x", None, values + 1, values)
    targets = Targets("values", (1,), "float32")
    maker = ArrayMaker(source, Preparation((1,), targets=targets))
    result = measure(lambda x: x, source, maker, 2, targets)
    assert isinstance(result, Measured)
    assert (result.samples, result.results["mean_absolute_error"], result.score) == (5, 1, -1)
    with pytest.raises(NetcError, match="infinities or NaNs"):
        measure(lambda x: x * np.nan, source, maker, 2, targets)
