"""Batch normalisation by a batch's own statistics has the derivatives that differences show."""

from __future__ import annotations

import numpy as np

from netc.compiler.graph import Graph, GraphBuilder, evaluate, verify
from netc.compiler.passes import differentiate
from netc.compiler.types import DType, TensorType
from tests.derivatives import Point, check_derivatives, with_loss


def normalised(shape: tuple[int, ...]) -> Graph:
    b = GraphBuilder("normalised")
    x = b.input("x", TensorType(DType.F64, shape))
    gamma, beta = (b.emit("param", shape=shape[-1:], dtype="f64", name=n) for n in ("gamma", "beta"))
    mean = b.emit("reduce_mean", x, axes=tuple(range(len(shape) - 1)))
    variance = b.emit("channel_variance", x, mean)
    return b.finish([b.emit("batch_norm", x, gamma, beta, mean, variance, eps=0.01)])


def point(shape: tuple[int, ...]) -> Point:
    rng = np.random.default_rng(0)
    params = {n: rng.standard_normal(shape[-1:]) for n in ("gamma", "beta")}
    return Point({"x": rng.standard_normal(shape)}, params)


def test_gradients() -> None:
    shape = (2, 3, 2, 3)
    check_derivatives(with_loss(normalised(shape)), point(shape), ["x", "gamma", "beta"])


def test_second_derivatives() -> None:
    shape = (5, 2)
    first = differentiate(with_loss(normalised(shape)), 0, ["x", "gamma", "beta"])
    verify(first)
    check_derivatives(with_loss(first, seed=1), point(shape), ["x", "gamma", "beta"], tolerance=1e-5)


def test_variance_far_from_zero() -> None:
    """In f32 the variance of values around 10000 is still right."""
    b = GraphBuilder("variance")
    x = b.input("x", TensorType(DType.F32, (1000, 4)))
    graph = b.finish([b.emit("channel_variance", x, b.emit("reduce_mean", x, axes=(0,)))])
    values = (np.random.default_rng(0).standard_normal((1000, 4)) + 10_000).astype(np.float32)
    (variance,) = evaluate(graph, [values])
    np.testing.assert_allclose(variance, values.astype(np.float64).var(0), rtol=1e-3)
