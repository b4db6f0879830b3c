"""Products of floats on processors that multiply by a lane of a vector: loops, and the code in QEMU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from netc.compiler.backends import find_target, lower, optimize
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph, Value
from netc.compiler.modules.interpreter import run_module
from netc.compiler.modules.verifier import verify_module
from netc.compiler.passes import pipelines
from netc.compiler.types import DType, TensorType
from netc.library import build_library
from tests.emulators.processes import missing, run_library

Array = NDArray[Any]
CONVOLUTIONS: Sequence[tuple[tuple[int, ...], tuple[int, ...], dict[str, tuple[int, ...]]]] = [
    ((1, 7, 9, 16), (1, 1, 16, 32), {}),
    ((2, 5, 6, 7), (1, 1, 7, 19), {}),
    ((1, 1, 1, 1), (1, 1, 1, 1), {}),
    ((1, 9, 8, 3), (3, 3, 3, 33), {"strides": (2, 2)}),
    ((1, 6, 7, 5), (3, 3, 5, 8), {"dilations": (2, 2)}),
]
BY_WINOGRAD: Sequence[tuple[tuple[int, ...], tuple[int, ...], dict[str, tuple[int, ...]]]] = [
    ((1, 12, 12, 48), (3, 3, 48, 48), {}),
    ((1, 3, 9, 10, 24), (3, 3, 3, 24, 40), {}),
]
"""Too large for loops that Python runs."""
PRODUCTS = [((3, 5, 18), (3, 18, 13)), ((2, 9, 3), (2, 3, 4)), ((1, 1, 33), (1, 33, 20))]


def graph(*more: tuple[tuple[int, ...], tuple[int, ...], dict[str, tuple[int, ...]]]) -> tuple[Graph, list[Array]]:
    """Convolutions and products of matrices of many sizes, with their inputs."""
    b, random = GraphBuilder("net"), np.random.default_rng(0)
    inputs: list[Array] = []

    def given(shape: tuple[int, ...]) -> Array:
        return random.standard_normal(shape, np.float32) / np.float32(np.sqrt(shape[-1]))

    def tensor(shape: tuple[int, ...]) -> Value:
        inputs.append(given(shape))
        return b.input(f"x{len(inputs)}", TensorType(DType.F32, shape))

    def convolution(x: tuple[int, ...], w: tuple[int, ...], other: dict[str, tuple[int, ...]]) -> Value:
        dimensions = len(w) - 2
        same = {"strides": (1,) * dimensions, "padding": "same", "dilations": (1,) * dimensions}
        return b.emit(f"conv{dimensions}d", tensor(x), b.constant(given(w)), **same | other)

    results = [convolution(*case) for case in (*CONVOLUTIONS, *more)]
    results += [b.emit("matmul", tensor(left), tensor(right)) for left, right in PRODUCTS]
    return b.finish(results), inputs


def test_loops_mean_what_the_graph_means() -> None:
    net, inputs = graph()
    target = find_target("cortex-a76")
    module = lower(optimize(net, pipelines.INFERENCE, target), target)
    verify_module(module)
    assert "spread" in str(module)
    for got, want in zip(run_module(module, inputs, {}), evaluate(net, inputs, {}), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("target", ["aarch64-linux", "cortex-a76"])
def test_code_computes_what_the_graph_means(target: str, tmp_path: Path) -> None:
    if reason := missing(target):
        pytest.skip(reason)
    net, inputs = graph(*BY_WINOGRAD)
    library = build_library(net, tmp_path / "out", target=target, prefix="net")
    for got, want in zip(run_library(target, library, inputs), evaluate(net, inputs, {}), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
