"""Contractions of bfloat16 by tile registers: exact sums of small integers, and infinities where they belong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from netc.compiler.backends import find_target, lower, optimize
from netc.compiler.backends.cpu.codegen import emit_module, object_code
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.backends.cpu.schedules.tiles import tile_contraction
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.modules.printer import print_module
from netc.compiler.modules.reader import parse_module
from netc.compiler.modules.verifier import verify_module
from netc.compiler.passes import SplitBatch, pipelines, run
from netc.compiler.types import DType, TensorType
from netc.runtime.program import Program

CASES: dict[str, tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    # operator, input, weight, attributes
    "odd sizes": ("conv2d", (1, 9, 17, 12), (3, 3, 12, 37), {}),
    "strides": ("conv2d", (1, 11, 13, 64), (3, 3, 64, 48), {"strides": (2, 2)}),
    "dilations": ("conv2d", (1, 12, 9, 20), (3, 3, 20, 18), {"dilations": (2, 2)}),
    "a shorter last step": ("conv2d", (2, 5, 6, 38), (1, 1, 38, 33), {}),
    "images": ("conv2d", (3, 6, 5, 32), (3, 3, 32, 24), {}),
    "planes": ("conv3d", (1, 3, 4, 5, 6), (2, 3, 3, 6, 9), {"strides": (1,) * 3, "dilations": (1,) * 3}),
    "phases": ("transpose_conv2d", (1, 5, 5, 6), (3, 3, 6, 10), {"size": (8, 10), "padding": ((0, 1),) * 2}),
    "dense": ("dense", (49, 100), (100, 50), {}),
    "gathered rows": ("conv2d", (1, 21, 10, 3), (7, 7, 3, 20), {"strides": (2, 2)}),
    "gathered pixels": ("conv2d", (2, 12, 9, 5), (3, 3, 5, 18), {"dilations": (2, 2)}),
    "gathered planes": ("conv3d", (1, 3, 4, 5, 3), (2, 3, 3, 3, 9), {"strides": (1,) * 3, "dilations": (1,) * 3}),
    "gathered channels": ("conv2d", (1, 5, 6, 7), (1, 1, 7, 19), {}),
    "gathered dense": ("dense", (19, 33), (33, 20), {}),
}


def graph_of(case: str) -> tuple[Graph, Any]:
    """The net, whose sums are exact, and its input: one pixel of it is infinite, one is no number."""
    operator, shape, kernel, attributes = CASES[case]
    rng = np.random.default_rng(len(case))
    b = GraphBuilder("case")
    value = b.emit("relu", b.input("x", TensorType(DType.F32, shape)))
    weight = b.constant(rng.integers(-4, 5, kernel).astype(np.float32))
    bias = b.constant(rng.integers(-100, 100, kernel[-1]).astype(np.float32))
    if operator == "conv2d":
        attributes = {"strides": (1, 1), "padding": "same", "dilations": (1, 1), **attributes}
    elif operator == "conv3d":
        attributes = {"padding": "same", **attributes}
    elif operator == "transpose_conv2d":
        attributes = {"strides": (2, 2), **attributes}
    x = rng.integers(-8, 9, shape).astype(np.float32)
    pixels = x.reshape(-1, shape[-1])
    pixels[len(pixels) // 2, 0], pixels[3, -1] = np.inf, np.nan
    return b.finish([b.emit(operator, value, weight, bias, **attributes)]), x


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_sums_are_exact(case: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tile_contraction, "GAIN", np.inf)
    has_tiles = host_target().has_bfloat16_tiles
    target = host_target() if has_tiles else find_target("sapphirerapids")
    assert target is not None
    graph, x = graph_of(case)
    optimized = optimize(graph, pipelines.INFERENCE, target, precision="bf16")
    module = lower(optimized, target, threads)
    verify_module(module)
    text = print_module(module)
    assert "tile_dot2_bfloat16" in text
    assert " dot2_bfloat16" not in text
    assert ("%patch" in text) == case.startswith("gathered")
    assert print_module(parse_module(text)) == text
    if not has_tiles:
        pytest.skip("this machine has no tile registers, or the process may not use them")
    (expected,) = evaluate(optimized, [x])
    assert 0 < np.isfinite(expected).mean() < 1
    with Program(module, object_code(emit_module(module, target), target), target, threads) as program:
        np.testing.assert_array_equal(program(x), expected)


def test_tiles_take_the_place_of_other_algorithms() -> None:
    b = GraphBuilder("net")
    x = b.emit("relu", b.input("x", TensorType(DType.F32, (1, 56, 56, 64))))
    weight = b.constant(np.ones((3, 3, 64, 64), np.float32))
    graph = b.finish([b.emit("conv2d", x, weight, strides=(1, 1), padding="same", dilations=(1, 1))])
    for cpu, precision, tiled in (("sapphirerapids", "bf16", False), ("sapphirerapids", "f32", True)):
        target = find_target(cpu)
        assert target is not None
        assert ("winograd" in str(optimize(graph, pipelines.INFERENCE, target, precision=precision))) == tiled


def test_rows_begin_where_lines_of_the_cache_do() -> None:
    """The margin that keeps rows of 2048 bytes apart is a line, whatever the size of elements."""
    b = GraphBuilder("net")
    x = b.emit("relu", b.input("x", TensorType(DType.F32, (1, 14, 14, 1024))))
    weight = b.constant(np.ones((1, 1, 1024, 256), np.float32))
    graph = b.finish([b.emit("conv2d", x, weight, strides=(1, 1), padding="same", dilations=(1, 1))])
    target = find_target("sapphirerapids")
    assert target is not None
    text = str(optimize(graph, pipelines.INFERENCE, target, precision="bf16"))
    assert "i16[1,14,14,1024]{0:0,0:0,0:0,0:32}" in text


def residual(pixels: int, channels: int) -> Graph:
    """A product of whose two results one is added to the other, with small integers."""
    rng = np.random.default_rng(pixels)
    b = GraphBuilder("net")
    x = b.emit("relu", b.input("x", TensorType(DType.F32, (1, 1, pixels, 64))))
    weights = [b.constant(rng.integers(-4, 5, (1, 1, 64, channels)).astype(np.float32)) for _ in range(2)]
    window: dict[str, Any] = {"strides": (1, 1), "padding": "same", "dilations": (1, 1)}
    first, second = (b.emit("conv2d", x, w, **window) for w in weights)
    y = b.emit("relu", b.emit("add", first, b.emit("relu", second)))
    last = b.constant(rng.integers(-4, 5, (1, 1, channels, 16)).astype(np.float32))
    return b.finish([b.emit("conv2d", y, last, **window)])


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("pixels", "channels"), [(600, 112), (131, 320), (49, 1040), (1, 64)])
def test_what_is_asked_for_early(pixels: int, channels: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, and beyond the first cache what ends read: the text has it, and no number changes."""
    monkeypatch.setattr(tile_contraction, "GAIN", np.inf)
    has_tiles = host_target().has_bfloat16_tiles
    found = host_target() if has_tiles else find_target("sapphirerapids")
    assert found is not None
    target = replace(found, streams_slowly=True, l1_bytes=48 << 10)
    optimized = optimize(residual(pixels, channels), pipelines.INFERENCE, target, precision="bf16")
    module = lower(optimized, target, threads)
    verify_module(module)
    text = print_module(module)
    assert print_module(parse_module(text)) == text
    assert "prefetch far %w[" in text
    is_large = pixels * channels * 2 > target.l1_bytes
    assert ("prefetch far %e0[" in text or "prefetch far %y[" in text) == is_large
    llvm = emit_module(module, target)
    assert "i32 0, i32 2, i32 1)" in llvm  # the second cache
    if not has_tiles:
        pytest.skip("this machine has no tile registers, or the process may not use them")
    x = np.random.default_rng(1).integers(0, 3, (1, 1, pixels, 64)).astype(np.float32)
    (expected,) = evaluate(optimized, [x])
    with Program(module, object_code(llvm, target), target, threads) as program:
        np.testing.assert_array_equal(program(x), expected)


@pytest.mark.parametrize("group", [0, 1])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_tiles_are_chosen_for_the_whole_batch(threads: int, group: int) -> None:
    """Threads and turns share out the samples as they like: a sum is rounded alike."""
    rng = np.random.default_rng(5)
    b = GraphBuilder("net")
    x = b.emit("relu", b.input("x", TensorType(DType.F32, (5, 64))))
    weights = [b.constant(rng.standard_normal(shape).astype(np.float32)) for shape in ((64, 48), (48, 32))]
    graph = b.finish([b.emit("dense", b.emit("dense", x, weights[0]), weights[1])])
    target = find_target("sapphirerapids")
    assert target is not None
    optimized = optimize(graph, pipelines.INFERENCE, target, precision="bf16")
    assert str(optimized).count("by tile_registers") == 2
    split = run(optimized, (SplitBatch(group=group),)) if group else optimized
    assert print_module(lower(split, target, threads)).count(" dot2_bfloat16") == 0
