"""Contractions whose filters leave half a vector idle, on Zen 5: two steps of the sum side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from netc.compiler.backends import find_target, lower, optimize
from netc.compiler.backends.cpu.codegen import emit_module, object_code
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.modules.interpreter import run_module
from netc.compiler.modules.module import Module
from netc.compiler.passes import pipelines
from netc.compiler.types import DType, TensorType
from netc.runtime.host import runs_here
from netc.runtime.program import Program

from .by_threads import check_by_threads

TARGET = find_target("znver5")


def convolution(
    x: tuple[int, ...],
    filters: int,
    kernel: tuple[int, int] = (1, 1),
    *,
    stride: int = 1,
    dilation: int = 1,
    after: str = "relu6",
    seed: int = 0,
) -> Graph:
    """A convolution with constant weights; what it gives is added to, or goes through an activation."""
    b, rng = GraphBuilder("net"), np.random.default_rng(seed)
    image = b.input("x", TensorType(DType.F32, x))
    weight = b.constant(rng.standard_normal((*kernel, x[-1], filters), np.float32))
    bias = b.constant(rng.standard_normal(filters, np.float32))
    step, apart = (stride, stride), (dilation, dilation)
    y = b.emit("conv2d", image, weight, bias, strides=step, padding="same", dilations=apart, groups=1)
    if after == "add":
        return b.finish([b.emit("add", y, b.input("z", y.type))])
    return b.finish([b.emit(after, y)])


def transposed(x: tuple[int, ...], filters: int, kernel: tuple[int, ...]) -> Graph:
    """A transposed convolution whose strides are as long as its windows: each phase has one of their places."""
    b, rng, rank = GraphBuilder("net"), np.random.default_rng(0), len(kernel)
    size = tuple(n * k for n, k in zip(x[1:-1], kernel, strict=True))
    weight = b.constant(rng.standard_normal((*kernel, x[-1], filters), np.float32))
    attributes: dict[str, Any] = {"strides": kernel, "padding": ((0, 0),) * rank, "size": size}
    y = b.emit(f"transpose_conv{rank}d", b.input("x", TensorType(DType.F32, x)), weight, **attributes)
    return b.finish([y])


def dense(rows: int, channels: int, filters: int) -> Graph:
    """A dense layer without a bias."""
    b = GraphBuilder("net")
    weight = b.constant(np.random.default_rng(0).standard_normal((channels, filters), np.float32))
    return b.finish([b.emit("dense", b.input("x", TensorType(DType.F32, (rows, channels))), weight)])


def lowered(graph: Graph, threads: int = 1) -> Module:
    """For Zen 5."""
    return lower(optimize(graph, pipelines.INFERENCE, TARGET), TARGET, threads)


def takes_pairs(module: Module) -> bool:
    """Are pairs of elements repeated in vectors?"""
    return "join(" in str(module)


@pytest.mark.parametrize(
    "graph",
    [
        convolution((1, 9, 11, 32), 24),
        convolution((2, 3, 5, 14), 8),
        convolution((1, 1, 1, 20), 40),
        convolution((1, 13, 1, 30), 72, after="gelu"),
        convolution((1, 9, 10, 16), 24, after="add"),
        convolution((1, 7, 9, 6), 24, (3, 3)),
        convolution((1, 9, 9, 2), 8, (3, 5), stride=2),
        convolution((1, 12, 9, 4), 24, (3, 3), dilation=2),
        convolution((3, 40, 40, 10), 24, after="add"),
        transposed((1, 3, 5, 8), 24, (2, 2)),
        transposed((1, 3, 2, 5, 8), 24, (2, 1, 3)),
        dense(1, 34, 24),
        dense(29, 64, 88),
    ],
    ids=lambda graph: " ".join(str(v.type) for v in graph.inputs),
)
def test_numbers(graph: Graph) -> None:
    rng = np.random.default_rng(1)
    inputs: list[Any] = [rng.standard_normal(v.type.shape, np.float32) for v in graph.inputs]
    (expected,), module = evaluate(graph, inputs), lowered(graph, 2)
    assert takes_pairs(module)
    (found,) = run_module(module, inputs)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    if runs_here(TARGET):
        check_by_threads(graph, TARGET, lambda module, threads: None)


@pytest.mark.parametrize(
    "graph",
    [
        convolution((1, 9, 9, 31), 24),
        convolution((1, 9, 9, 32), 32),
        convolution((1, 9, 9, 32), 20),
        convolution((1, 9, 9, 24), 72),
        dense(1, 512, 1000),
        convolution((1, 9, 9, 600), 24),
    ],
    ids=["odd sums", "whole vectors", "neither half of one", "ends that take longer", "many vectors", "sums in parts"],
)
def test_others_take_single_steps(graph: Graph) -> None:
    assert not takes_pairs(lowered(graph))


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_an_infinite_element_meets_its_own_pixel_only(value: float) -> None:
    graph = convolution((1, 5, 7, 18), 24, after="relu")
    x = np.ones((1, 5, 7, 18), np.float32)
    x[0, 2, 3, 17] = value
    (expected,) = evaluate(graph, [x])
    (found,) = run_module(lowered(graph), [x])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def test_a_batch_has_the_numbers_of_its_samples() -> None:
    if not runs_here(TARGET):
        pytest.skip("needs Zen 5")
    x = np.random.default_rng(2).standard_normal((3, 14, 14, 40), np.float32)

    def run(samples: np.ndarray) -> np.ndarray:
        module = lowered(convolution(samples.shape, 24))
        with Program(module, object_code(emit_module(module, TARGET), TARGET), TARGET, 1) as program:
            return np.array(program(samples))

    np.testing.assert_array_equal(run(x), np.concatenate([run(x[i : i + 1]) for i in range(3)]))
