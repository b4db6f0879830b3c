"""Convolutions in three dimensions leave out planes of padding: numbers of every type as the interpreter has them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from netc.compiler.backends import find_target, lower, optimize
from netc.compiler.backends.cpu.codegen import emit_module, object_code
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.modules.interpreter import run_module
from netc.compiler.modules.printer import print_module
from netc.compiler.modules.verifier import verify_module
from netc.compiler.passes import pipelines
from netc.compiler.types import DType, Quantization, TensorType
from netc.runtime.host import runs_here
from netc.runtime.program import Program

Array = np.ndarray[Any, Any]
CPUS = ("host", "znver5", "x86-64", "haswell", "cascadelake", "alderlake", "sapphirerapids", "cortex-a53", "cortex-a76")


def _window(rng: np.random.Generator, size: tuple[int, ...], channels: int) -> tuple[tuple[int, ...], dict[str, Any]]:
    """A drawn kernel and its attributes for a tensor of such a size; results have one place or more."""
    while True:
        kernel, strides, dilations = (tuple(rng.integers(1, most, 3).tolist()) for most in (4, 3, 4))
        padding = tuple(tuple(rng.integers(0, 4, 2).tolist()) for _ in range(3))
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        if all(n + sum(p) >= r for n, p, r in zip(size, padding, reach, strict=True)):
            groups = int(rng.choice([g for g in (1, 1, 2, 4) if channels % g == 0]))
            attributes = {"strides": strides, "dilations": dilations, "padding": padding, "groups": groups}
            return kernel, attributes


def _bytes(seed: int) -> tuple[Graph, Array]:
    """Sums of bytes with drawn zero points, rescaled or not."""
    rng = np.random.default_rng(seed)
    size, channels = tuple(rng.integers(1, 6, 3).tolist()), int(rng.choice([3, 4, 8, 12, 16]))
    kernel, attributes = _window(rng, size, channels)
    groups = attributes["groups"]
    filters = groups * int(rng.choice([1, 4, 9, 20]))
    dtype, kind = (DType.of(np.dtype(str(name))) for name in rng.choice(["int8", "uint8"], 2))
    info, bounds = (np.iinfo(str(t.numpy)) for t in (dtype, kind))
    zero = int(rng.choice([info.min, 0, 5, info.max]))
    weight_zero = int(rng.choice([0, 0, 100])) if kind is DType.U8 else 0
    b = GraphBuilder("planes")
    shape = (int(rng.integers(1, 3)), *size, channels)
    x = b.input("x", TensorType(dtype, shape, quantization=Quantization.of(0.5, zero)))
    drawn = rng.integers(bounds.min, bounds.max, (*kernel, channels // groups, filters), endpoint=True)
    operands = [x, b.constant(drawn.astype(kind.numpy))]
    if seed % 3:
        operands.append(b.constant(rng.integers(-10_000, 10_000, filters).astype(np.int32)))
    result = b.emit("conv3d_sum", *operands, x_zero=zero, weight_zero=weight_zero, **attributes)
    if seed % 4:
        factors = b.constant(rng.uniform(1e-4, 2e-4, filters).astype(np.float32))
        real = b.emit("mul", b.emit("cast", result, dtype="f32"), factors)
        result = b.emit("quantize_even", real, dtype="u8", y=Quantization.of(0.25, 99))
    return b.finish([result]), rng.integers(info.min, info.max, shape, endpoint=True).astype(dtype.numpy)


def _floats(seed: int) -> tuple[Graph, Array]:
    """Whole numbers, whose sums are exact in any order; convolutions and transposed ones."""
    rng = np.random.default_rng(seed)
    size, channels = tuple(rng.integers(1, 6, 3).tolist()), int(rng.choice([1, 3, 8]))
    kernel, attributes = _window(rng, size, channels)
    groups = attributes["groups"]
    share = int(rng.choice([1, 4, 9, 20]))
    b = GraphBuilder("planes")
    shape = (int(rng.integers(1, 3)), *size, channels)
    x = b.input("x", TensorType(DType.F32, shape))
    weight = rng.integers(-9, 10, (*kernel, channels // groups, groups * share)).astype(np.float32)
    if seed % 2:
        result = b.emit("conv3d", x, b.constant(weight), **attributes)
    else:
        grown = [(n - 1) * s + 1 for n, s in zip(size, attributes["strides"], strict=True)]
        result = b.emit("transpose_conv3d", x, b.constant(weight), size=tuple(n + 2 for n in grown), **attributes)
    return b.finish([b.emit("relu", result)]), rng.integers(-9, 10, shape).astype(np.float32)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("draw", [_bytes, _floats])
def test_drawn_volumes_are_exact(draw: Callable[[int], tuple[Graph, Array]], seed: int) -> None:
    graph, x = draw(seed)
    (expected,) = evaluate(graph, [x])
    for cpu in {CPUS[seed % len(CPUS)], "host"}:
        target, threads = find_target(cpu), 1 + seed % 3
        assert target is not None
        for pipeline in (pipelines.INFERENCE, "decompose"):  # the former leaves some planes out by itself
            module = lower(optimize(graph, pipeline, target), target, threads)
            verify_module(module)
            np.testing.assert_array_equal(run_module(module, [x], {})[0], expected)
        if runs_here(target):
            with Program(module, object_code(emit_module(module, target), target), target, threads) as program:
                np.testing.assert_array_equal(program(x), expected)


@pytest.mark.parametrize(("zero", "kinds"), [(0, 1), (7, 3)])
def test_sums_start_by_the_kind_of_plane_where_padding_counts(zero: int, kinds: int) -> None:
    b = GraphBuilder("planes")
    x = b.input("x", TensorType(DType.U8, (1, 5, 6, 6, 16), quantization=Quantization.of(0.5, zero)))
    window = {"strides": (1, 1, 1), "dilations": (1, 1, 1), "padding": "same"}
    weight = b.constant(np.ones((3, 3, 3, 16, 32), np.int8))
    graph = b.finish([b.emit("conv3d_sum", x, weight, x_zero=zero, weight_zero=0, **window)])
    target = find_target("znver4")
    text = print_module(lower(optimize(graph, "decompose", target), target, 1))
    assert "for %kz = %begin to %end" in text
    (shape,) = set(re.findall(r"%z: i32\[([\d,]+)\]", text))
    assert shape == ("32" if kinds == 1 else f"{kinds},32")
