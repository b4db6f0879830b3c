"""Depthwise convolutions whose windows leave registers for only a few sums."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from netc.compiler.backends import find_target, lower, optimize
from netc.compiler.backends.cpu.codegen import emit_module, object_code
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.modules.interpreter import run_module
from netc.compiler.modules.verifier import verify_module
from netc.compiler.passes import pipelines
from netc.compiler.types import DType, TensorType
from netc.runtime.host import runs_here
from netc.runtime.program import Program

HOST = host_target()


def depthwise(
    window: tuple[int, int],
    *,
    stride: int = 1,
    width: int = 15,
    dilation: int = 1,
    channels: int = 11,
    activation: str = "relu",
) -> Graph:
    """A depthwise convolution of 11 channels, a whole vector of 8 and a rest, with an activation."""
    b, size = GraphBuilder("net"), (channels,)
    x = b.input("x", TensorType(DType.F32, (2, 9, width, channels)))
    w, bias = b.input("w", TensorType(DType.F32, (*window, 1, channels))), b.input("b", TensorType(DType.F32, size))
    step, apart = (stride, stride), (dilation, dilation)
    y = b.emit("conv2d", x, w, bias, strides=step, padding="same", dilations=apart, groups=channels)
    return b.finish([b.emit(activation, y)])


def sums(graph: Graph, cpu: str) -> int:
    """The most results of a row that a processor's kernel keeps in registers."""
    target = find_target(cpu)
    text = str(lower(optimize(graph, pipelines.INFERENCE, target), target, 1))
    return max(int(found) for found in re.findall(r"register %acc\d*: f32x\d+\[(\d+)\]", text))


@pytest.mark.parametrize("cpu", ["x86-64-v3", "x86-64-v4"])
@pytest.mark.parametrize(
    ("window", "options"),
    [
        ((7, 7), {}),
        ((5, 5), {}),
        ((5, 5), {"stride": 2}),
        ((7, 7), {"width": 3}),
        ((1, 11), {}),
        ((3, 3), {}),
        ((5, 5), {"dilation": 2}),
    ],
    ids=str,
)
def test_numbers(window: tuple[int, int], options: dict[str, Any], cpu: str) -> None:
    graph = depthwise(window, **options)
    rng = np.random.default_rng(0)
    inputs: list[Any] = [rng.standard_normal(v.type.shape, np.float32) for v in graph.inputs]
    (expected,) = evaluate(graph, inputs)
    target = find_target(cpu)
    module = lower(optimize(graph, pipelines.INFERENCE, target), target, 2)
    (found,) = run_module(module, inputs)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    if HOST.triple.startswith("x86_64") and target.vector_lanes <= HOST.vector_lanes:
        with Program(module, object_code(emit_module(module, target), target), target, 2) as program:
            np.testing.assert_allclose(np.asarray(program(*inputs)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cpu", ["x86-64", "haswell", "icelake-server", "sapphirerapids", "znver4", "cortex-a76"])
@pytest.mark.parametrize(("width", "channels"), [(1, 1), (1, 40), (14, 16), (15, 19)])
def test_gelu_is_a_loop_over_the_sums_where_it_is_long(width: int, channels: int, cpu: str) -> None:
    graph, target = depthwise((3, 3), width=width, channels=channels, activation="gelu"), find_target(cpu)
    rng = np.random.default_rng(0)
    inputs: list[Any] = [rng.standard_normal(v.type.shape, np.float32) * 3 for v in graph.inputs]
    (expected,) = evaluate(graph, inputs)
    for threads in (1, 3):
        module = lower(optimize(graph, pipelines.INFERENCE, target), target, threads)
        if width > 1 and target.reads_operands:
            assert "for %s = " in str(module)
        (found,) = run_module(module, inputs)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
        if runs_here(target):
            with Program(module, object_code(emit_module(module, target), target), target, threads) as program:
                np.testing.assert_allclose(np.asarray(program(*inputs)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("window", "options", "strips", "copies"),
    [
        ((3, 3), {"channels": 96}, 3, False),
        ((3, 3), {"channels": 96, "width": 1}, 1, False),
        ((3, 3), {"channels": 96, "stride": 2}, 3, False),
        ((3, 3), {"channels": 90}, 1, False),
        # Pixels displace each other from the L1 cache.
        ((3, 3), {"channels": 256}, 8, True),
        ((3, 3), {"channels": 256, "stride": 2}, 8, True),
        ((3, 3), {"channels": 512, "stride": 2, "width": 14}, 16, True),
        ((5, 5), {"channels": 96, "dilation": 2}, 6, True),
        ((7, 3), {"channels": 1024, "width": 1}, 4, True),
    ],
    ids=str,
)
def test_channels_by_strips(window: tuple[int, int], options: dict[str, Any], strips: int, copies: bool) -> None:
    """Where a core outruns its caches, lines under a row of windows stay in the first one."""
    graph = depthwise(window, **options)
    rng = np.random.default_rng(0)
    inputs: list[Any] = [rng.standard_normal(v.type.shape, np.float32) for v in graph.inputs]
    (expected,) = evaluate(graph, inputs)
    target = replace(find_target("znver5"), l1_bytes=16 * 1024, l2_bytes=160 * 1024)
    results = set[bytes]()
    for threads in (1, 2, 3):
        module = lower(optimize(graph, pipelines.INFERENCE, target), target, threads)
        verify_module(module)
        assert re.findall(r"for %strip = 0 to (\d+)", str(module)) == ([str(strips)] if strips > 1 else [])
        assert ("stack %lines:" in str(module)) == copies
        if threads == 2:
            (found,) = run_module(module, inputs)
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
        if runs_here(target):
            with Program(module, object_code(emit_module(module, target), target), target, threads) as program:
                results.add(np.asarray(program(*inputs)).tobytes())
    assert len(results) <= 1
    for found in results:
        np.testing.assert_allclose(np.frombuffer(found, np.float32), np.ravel(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("window", "options", "strips"),
    [
        ((1, 3), {"channels": 512}, []),
        ((3, 3), {"channels": 256, "stride": 3, "width": 17}, ["8"]),
        ((3, 3), {"channels": 1024, "width": 60}, []),
        ((9, 9), {"channels": 256, "width": 200}, []),
    ],
    ids=["nothing is read twice", "nor here", "lines come from memory", "no room on the stack"],
)
def test_lines_that_are_not_copied(window: tuple[int, int], options: dict[str, Any], strips: list[str]) -> None:
    target = replace(find_target("znver5"), l1_bytes=16 * 1024, l2_bytes=240 * 1024)
    text = str(lower(optimize(depthwise(window, **options), pipelines.INFERENCE, target), target, 2))
    assert "stack %lines:" not in text
    assert re.findall(r"for %strip = 0 to (\d+)", text) == strips


def test_wide_windows_leave_registers_for_sums() -> None:
    """With 16 registers a window of 7 x 7 whose inputs are kept leaves room for one sum, which waits for itself."""
    assert sums(depthwise((7, 7)), "x86-64-v3") >= 8
    assert sums(depthwise((5, 5), stride=2), "x86-64-v3") >= 8
    assert sums(depthwise((3, 3)), "x86-64-v3") == 5
    assert sums(depthwise((7, 7)), "x86-64-v4") == 8


@pytest.mark.parametrize(
    ("channels", "crowded"), [(768, True), (752, False), (776, False)], ids=["alike", "apart", "no whole lines"]
)
def test_lines_that_displace_each_other_are_read_whole(channels: int, crowded: bool) -> None:
    """With 768 channels pixels lie 48 lines apart: all of a window's fall onto four sets of the L1 cache."""
    b = GraphBuilder("net")
    x = b.input("x", TensorType(DType.F32, (1, 5, 14, channels)))
    w, bias = b.input("w", TensorType(DType.F32, (5, 5, 1, channels))), b.input("b", TensorType(DType.F32, (channels,)))
    y = b.emit("conv2d", x, w, bias, strides=(1, 1), padding="same", dilations=(1, 1), groups=channels)
    graph = b.finish([b.emit("relu", y)])
    target = find_target("x86-64-v3")
    module = lower(optimize(graph, pipelines.INFERENCE, target), target, 2)
    assert ("register %acc: f32x16[7]" in str(module)) == crowded
    if HOST.triple.startswith("x86_64") and target.vector_lanes <= HOST.vector_lanes:
        rng = np.random.default_rng(0)
        inputs: list[Any] = [rng.standard_normal(v.type.shape, np.float32) for v in graph.inputs]
        (expected,) = evaluate(graph, inputs)
        with Program(module, object_code(emit_module(module, target), target), target, 2) as program:
            np.testing.assert_allclose(np.asarray(program(*inputs)), expected, rtol=1e-5, atol=1e-4)


def kernel_of(graph: Graph, cpu: str) -> str:
    """The text of the depthwise convolution's kernel."""
    target = find_target(cpu)
    text = str(lower(optimize(graph, pipelines.INFERENCE, target), target, 1))
    (found,) = re.findall(r"  kernel @conv2d_0.*?\n  }\n", text, re.DOTALL)
    return str(found)


def test_channels_that_fill_no_whole_vectors_are_written_once() -> None:
    """The last vector of 11 channels begins at the fourth, instead of one of 2 and one of 1 behind that of 8."""
    kernel = kernel_of(depthwise((3, 3)), "x86-64-v3")
    assert kernel.count("fma(") == 1
    assert "min(%v * 8, 3)" in kernel


def test_what_overwrites_an_operand_is_computed_once() -> None:
    """A sum whose other operand is read for the last time: no channel may be added to it twice."""
    b = GraphBuilder("net")
    x = b.input("x", TensorType(DType.F32, (1, 60, 60, 11)))
    w = b.input("w", TensorType(DType.F32, (3, 3, 1, 11)))
    window: dict[str, Any] = {"strides": (1, 1), "padding": "same", "dilations": (1, 1), "groups": 11}
    before, y = b.emit("conv2d", x, w, **window), b.emit("conv2d", b.emit("tanh", x), w, **window)
    graph = b.finish([b.emit("reduce_sum", b.emit("add", y, before), axes=(1,))])
    target = find_target("x86-64-v3")
    module = lower(optimize(graph, pipelines.INFERENCE, target), target, 2)
    assert "load f32x8 %y[" in str(module), "expected the sum in place"
    rng = np.random.default_rng(0)
    inputs: list[Any] = [rng.standard_normal(v.type.shape, np.float32) for v in graph.inputs]
    (expected,), (found,) = evaluate(graph, inputs), run_module(module, inputs)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
