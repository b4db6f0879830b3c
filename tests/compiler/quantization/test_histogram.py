"""Histograms grow without losing counts; methods choose the ranges that they promise."""

import numpy as np
import pytest

from netc.compiler.quantization.histogram import BINS, Histogram
from netc.compiler.quantization.methods import METHODS, Seen, Statistics


def test_growing_loses_no_counts_and_keeps_their_places() -> None:
    random = np.random.default_rng(3)
    parts = [random.normal(0, 10.0**e, 1000) for e in (-6, -2, 0, 3)]
    histogram = Histogram()
    for part in parts:
        histogram.add(part)
    everything = np.concatenate(parts)
    assert BINS // 4 <= len(histogram.counts) <= BINS
    wanted, _ = np.histogram(everything, histogram.edges)
    np.testing.assert_array_equal(histogram.counts, wanted)


def test_the_order_does_not_matter() -> None:
    random = np.random.default_rng(3)
    parts = [random.normal(m, 1, 100) for m in (0, -50, 30)]
    forward, backward = Histogram(), Histogram()
    for part in parts:
        forward.add(part)
    for part in reversed(parts):
        backward.add(part)
    assert (forward.exponent, forward.first) == (backward.exponent, backward.first)
    np.testing.assert_array_equal(forward.counts, backward.counts)


@pytest.mark.parametrize("value", [0.0, 6.0, -1e-30, 1e30])
def test_one_number_is_a_histogram_too(value: float) -> None:
    histogram = Histogram()
    histogram.add(np.full(10, value))
    assert histogram.counts.sum() == 10
    place = int(np.argmax(histogram.counts))
    assert histogram.edges[place] <= value <= histogram.edges[place + 1]


def seen(x: np.ndarray) -> Statistics:
    statistics = Statistics()
    for part in np.array_split(x, 10):
        statistics.add(part)
    return statistics


def test_min_max_covers_everything() -> None:
    x = np.random.default_rng(3).standard_normal(1000)
    found = METHODS["minmax"](seen(x))
    assert (found.low, found.high) == (x.min(), x.max())


@pytest.mark.parametrize("method", ["percentile", "entropy"])
def test_a_rare_outlier_is_left_out(method: str) -> None:
    x = np.random.default_rng(3).standard_normal(100_000)
    x[17] = 30
    found = METHODS[method](seen(x))
    assert 3 < found.high < 12
    assert -6 < found.low < -2.5


def test_percentile_is_that_of_the_numbers() -> None:
    x = np.random.default_rng(3).standard_normal(200_000)
    found = METHODS["percentile"](seen(x))
    assert found.low == pytest.approx(np.quantile(x, 0.0001), abs=0.01)
    assert found.high == pytest.approx(np.quantile(x, 0.9999), abs=0.01)


def test_mse_has_less_error_than_min_max() -> None:
    x = np.random.default_rng(3).laplace(0, 1, 100_000)

    def error(low: float, high: float) -> float:
        step = (high - low) / 255
        return float(((x - np.clip(np.rint((x - low) / step), 0, 255) * step - low) ** 2).mean())

    wide, best = METHODS["minmax"](seen(x)), METHODS["mse"](seen(x))
    assert error(best.low, best.high) < 0.9 * error(wide.low, wide.high)


@pytest.mark.parametrize("method", METHODS)
def test_zeros_alone_have_a_range(method: str) -> None:
    found = METHODS[method](seen(np.zeros(100)))
    assert found.low == found.high == 0


@pytest.mark.parametrize("count", [1, (1 << 15) - 1, 1 << 15, (1 << 15) + 1, 100_003])
def test_stretches_are_counted_as_the_whole(count: int) -> None:
    x = np.random.default_rng(3).standard_normal((2, count), np.float32)[:, ::-1]
    histogram = Histogram()
    histogram.add(x)
    wanted, _ = np.histogram(x.astype(np.float64), histogram.edges)
    np.testing.assert_array_equal(histogram.counts, wanted)


@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_seen(strange: float) -> None:
    x = np.ones((3, 5), np.float32)
    assert Seen.of(x) is not None
    x[1, 2] = strange
    assert Seen.of(x) is None
