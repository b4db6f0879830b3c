"""Convolutions by Winograd's filtering with products of bfloat16: exact on whole numbers, else near the meaning."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from netc.compiler.backends import find_target, lower, optimize
from netc.compiler.backends.cpu.codegen import emit_module, object_code
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph, Value
from netc.compiler.graph.printer import print_graph
from netc.compiler.loops.ir import Prefetch, statements
from netc.compiler.modules.interpreter import run_module
from netc.compiler.modules.verifier import verify_module
from netc.compiler.ops.windows.winograd import F23
from netc.compiler.passes import pipelines
from netc.compiler.targets.target import Target
from netc.compiler.types import DType, TensorType
from netc.runtime.host import runs_here
from netc.runtime.program import Program

Array = NDArray[Any]
SIZES = [
    # images, height, width, channels, filters, threads
    (1, 8, 8, 32, 32, 1),
    (3, 5, 6, 48, 46, 2),
    (1, 7, 7, 64, 130, 3),  # shared out by panels of filters, the last of which is narrower
    (2, 4, 6, 512, 20, 2),  # rows that would displace each other from the cache
]


def target_of(cpu: str) -> Target:
    """The processor, as if it had been measured that it gains."""
    target = find_target(cpu)
    assert target is not None
    return replace(target, bfloat16_units=2, filters_pairs=True)


def convolution(op: str, size: tuple[int, ...]) -> Graph:
    """A convolution with bias, a residual sum and relu, of an input that isn't known."""
    images, height, width, channels, filters, _ = size
    b = GraphBuilder("net")
    x = b.emit("relu", b.input("x", TensorType(DType.F32, (images, height, width, channels))))
    residual = b.input("r", TensorType(DType.F32, (images, height, width, filters)))
    w, bias = (
        b.emit("param", shape=s, dtype="f32", name=n) for n, s in (("w", (3, 3, channels, filters)), ("b", (filters,)))
    )
    window: dict[str, Any] = {"strides": (1, 1), "padding": ((1, 1), (1, 1))}
    extra: dict[str, Any] = {"dilations": (1, 1)} if op == "conv2d" else {"size": (height, width)}
    y = b.emit(op, x, w, bias, **window, **extra)
    return b.finish([b.emit("relu", b.emit("add", y, residual))])


def results_of(
    graph: Graph, target: Target, threads: int, inputs: list[Array], params: dict[str, Array]
) -> list[Array]:
    """By the loops' meaning, and by compiled code where it runs."""
    module = lower(graph, target, threads)
    verify_module(module)
    (kernel,) = (k for k in module.kernels if any(p.name == "m" for p in k.params))
    (weights,) = (p for p in kernel.params if p.name == "w")
    assert any(isinstance(s, Prefetch) and s.buffer == weights for s in statements(kernel.body))
    results = list(run_module(module, inputs, params))
    if runs_here(target):
        with Program(module, object_code(emit_module(module, target), target), target, threads, params) as program:
            results.append(np.asarray(program(*inputs)))
    return results


def values_of(graph: Graph, draw: Any) -> tuple[list[Array], dict[str, Array]]:
    def made(v: Value) -> Array:
        return np.asarray(draw(v.name, v.type.shape), np.float32)

    return [made(v) for v in graph.inputs], {v.name or "": made(v) for v in (p.result for p in graph.parameters)}


def test_the_algebra() -> None:
    rng = np.random.default_rng(0)
    data, taps = rng.standard_normal((4, 4)), rng.standard_normal((3, 3))
    b, g, a = (np.array(m) for m in (F23.input, F23.filter, F23.output))
    result = a @ ((g @ taps @ g.T) * (b @ data @ b.T)) @ a.T
    direct = [[(data[y : y + 3, x : x + 3] * taps).sum() for x in range(2)] for y in range(2)]
    np.testing.assert_allclose(result, direct, rtol=1e-12)


@pytest.mark.parametrize("cpu", ["znver4", "znver5"])
@pytest.mark.parametrize("op", ["conv2d", "transpose_conv2d"])
@pytest.mark.parametrize("size", SIZES, ids=lambda s: "x".join(map(str, s)))
def test_whole_numbers(size: tuple[int, ...], op: str, cpu: str) -> None:
    """Those that 8 bits hold at the points, too, come out exactly."""
    rng = np.random.default_rng(1)

    def draw(name: str, shape: tuple[int, ...]) -> Array:
        return 4 * rng.integers(-3, 4, shape) if name == "w" else rng.integers(-8, 9, shape)

    target = target_of(cpu)
    graph = optimize(convolution(op, size), pipelines.INFERENCE, target, precision="bf16")
    assert " by winograd_of_pairs[2,2] : " in print_graph(graph)
    inputs, params = values_of(graph, draw)
    (expected,) = evaluate(graph, inputs, params)
    for result in results_of(graph, target, size[-1], inputs, params):
        np.testing.assert_array_equal(result, expected)


def test_errors_are_about_those_of_rounded_operands() -> None:
    """Numbers are rounded at the points instead, where they are sums of others: 1.4 times the errors."""
    size, rng = (1, 14, 14, 64, 64, 1), np.random.default_rng(2)
    pairs, direct = target_of("znver5"), replace(target_of("znver4"), filters_pairs=False)
    inputs, params = values_of(convolution("conv2d", size), lambda _, shape: rng.standard_normal(shape))
    params["w"] /= np.float32(np.sqrt(9 * 64))
    (exact,) = evaluate(convolution("conv2d", size), inputs, params)
    rounded = optimize(convolution("conv2d", size), pipelines.INFERENCE, direct, precision="bf16")
    if "winograd" in print_graph(rounded):
        pytest.fail("expected a direct convolution of rounded operands")
    (expected,) = evaluate(rounded, inputs, params)
    graph = optimize(convolution("conv2d", size), pipelines.INFERENCE, pairs, precision="bf16")
    for result in results_of(graph, pairs, 1, inputs, params):
        assert np.std(result - exact) < 1.6 * np.std(expected - exact)


@pytest.mark.parametrize(
    ("cpu", "precision", "channels", "height", "chosen"),
    [
        ("znver5", "bf16", 64, 14, "winograd_of_pairs[2,2]"),
        ("znver5", "bf16", 64, 15, "winograd_of_pairs[2,2]"),
        ("znver5", "bf16", 63, 14, ""),  # no whole pairs
        ("znver5", "bf16", 16, 14, ""),  # sums too short to pay for bringing inputs to their points
        ("znver5", "bf16", 512, 3, ""),  # reading filters at their points takes longer
        ("znver5", "f16", 64, 14, "winograd[4,4]"),
        ("znver5", "f32", 64, 14, "winograd[4,4]"),
        ("znver4", "bf16", 64, 14, "winograd_of_pairs[2,2]"),
        ("znver4", "bf16", 64, 56, "winograd[4,4]"),  # about as fast, with smaller errors
        ("znver4", "bf16", 16, 14, ""),
        ("znver4", "f32", 64, 14, "winograd[4,4]"),
        ("sapphirerapids", "bf16", 64, 14, ""),
    ],
)
def test_where_it_is_chosen(cpu: str, precision: str, channels: int, height: int, chosen: str) -> None:
    target = find_target(cpu)
    assert target is not None
    graph = convolution("conv2d", (1, height, height, channels, channels, 1))
    text = print_graph(optimize(graph, pipelines.INFERENCE, target, precision=precision))
    assert (f" by {chosen} : " in text) if chosen else ("winograd_of_pairs" not in text)
