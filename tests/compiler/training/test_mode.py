"""Training mode: batch statistics over all but the channels, and dropout."""

from __future__ import annotations

import numpy as np
import pytest

from netc.compiler.errors import NetcError
from netc.compiler.graph.builder import GraphBuilder, Rewriter
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.training import training_step
from netc.compiler.training.mode import TrainingMode
from netc.compiler.types import DType, TensorType

from .small_net import Training, batches, small_net


def batch_norm(shape: tuple[int, ...], *, uses: int = 1) -> Graph:
    b = GraphBuilder("g")
    y = b.input("x", TensorType(DType.F64, shape))
    weights = [b.emit("param", shape=shape[-1:], dtype="f64", name=n) for n in ("gamma", "beta", "mean", "variance")]
    for _ in range(uses):
        y = b.emit("batch_norm", y, *weights, eps=0.01, momentum=0.25)
    return b.finish([y])


STEP = np.array(3)


def in_training(graph: Graph) -> Graph:
    b = Rewriter(graph)
    counter = b.input("counter", TensorType(DType.I64, ()))
    mode = TrainingMode(b, 0, lambda: counter)
    mode.copy()
    return b.finish([b[graph.outputs[0]], *mode.statistics.values()])


def test_batch_norm() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 4, 5, 6)) * 3 + 100
    params = {n: rng.random(6) for n in ("gamma", "beta", "mean", "variance")}
    y, mean, variance = evaluate(in_training(batch_norm(x.shape)), [x, STEP], params)
    pixels = x.reshape(-1, 6)
    normal = (x - pixels.mean(0)) / np.sqrt(pixels.var(0) + 0.01)
    np.testing.assert_allclose(y, normal * params["gamma"] + params["beta"], rtol=1e-9)
    np.testing.assert_allclose(mean, 0.75 * params["mean"] + 0.25 * pixels.mean(0))
    np.testing.assert_allclose(variance, 0.75 * params["variance"] + 0.25 * pixels.var(0, ddof=1))


def test_shared_statistics_move_once_for_each_use() -> None:
    x = np.random.default_rng(0).standard_normal((5, 2))
    params = {"gamma": np.ones(2), "beta": np.full(2, 3.0), "mean": np.zeros(2), "variance": np.ones(2)}
    _, mean, _ = evaluate(in_training(batch_norm(x.shape, uses=2)), [x, STEP], params)
    np.testing.assert_allclose(mean, 0.75 * 0.25 * x.mean(0) + 0.25 * 3)


def test_frozen_statistics_stay() -> None:
    b = GraphBuilder("g")
    x = b.input("x", TensorType(DType.F64, (1, 2)))
    graph = b.finish([b.emit("batch_norm", x, *(b.constant(np.ones(2)) for _ in range(4)))])
    assert [op.name for op in in_training(graph).operations] == [op.name for op in graph.operations]


def test_one_value_per_channel_is_too_little() -> None:
    with pytest.raises(NetcError, match="more than one value per channel"):
        in_training(batch_norm((1, 1, 1, 6)))


def dropout(rate: float, uses: int = 1) -> Graph:
    b = GraphBuilder("g")
    x = b.input("x", TensorType(DType.F32, (100, 200)))
    for _ in range(uses):
        x = b.emit("dropout", x, rate=rate)
    return in_training(b.finish([x]))


@pytest.mark.parametrize("rate", [0.25, 0.5, 0.9])
def test_dropout_keeps_the_mean(rate: float) -> None:
    x = np.ones((100, 200), np.float32)
    (y,) = evaluate(dropout(rate), [x, STEP])
    np.testing.assert_array_equal(np.unique(y), np.array([0, 1 / (1 - rate)], np.float32))
    assert (y == 0).mean() == pytest.approx(rate, abs=0.015)
    (again,) = evaluate(dropout(rate), [x, STEP])
    np.testing.assert_array_equal(y, again)
    (later,) = evaluate(dropout(rate), [x, STEP + 1])
    assert ((y == 0) == (later == 0)).mean() < 0.9


def test_dropouts_are_independent() -> None:
    (y,) = evaluate(dropout(0.5, uses=2), [np.ones((100, 200), np.float32), STEP])
    assert (y == 0).mean() == pytest.approx(0.75, abs=0.015)


def test_no_dropout_at_rate_zero() -> None:
    assert not dropout(0.0).operations


def test_seeds() -> None:
    losses = []
    for seed in (1, 1, 2):
        net = small_net(dropout=0.5)
        training = Training(training_step(net, loss="softmax_cross_entropy", optimizer="sgd(lr=0.5)", seed=seed))
        losses.append([float(training(x, y)["loss"]) for x, y in batches()])
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]
