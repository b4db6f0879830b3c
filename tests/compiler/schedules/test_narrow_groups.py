"""Narrow groups of bytes share vectors of dot products: every bit as the interpreter and LiteRT have it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from netc.compiler.backends import find_target, lower, optimize
from netc.compiler.backends.cpu.codegen import assembly, emit_module, object_code
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph, Value
from netc.compiler.modules.interpreter import run_module
from netc.compiler.modules.module import Module
from netc.compiler.modules.printer import print_module
from netc.compiler.modules.verifier import verify_module
from netc.compiler.passes import pipelines
from netc.compiler.tflite import to_tflite
from netc.compiler.types import DType, Quantization, TensorType
from netc.runtime.host import runs_here
from netc.runtime.program import Program
from tests.frontend.tflite.litert import LiteRT

Array = np.ndarray[Any, Any]
CPUS = ("znver5", "cascadelake", "alderlake", "znver4", "sapphirerapids", "haswell", "cortex-a76")


def _window(rng: np.random.Generator, size: tuple[int, ...]) -> tuple[tuple[int, ...], dict[str, Any]]:
    """A drawn kernel and its attributes for a tensor of such a size; results have one place or more."""
    while True:
        kernel, strides, dilations = (tuple(rng.integers(1, most, len(size)).tolist()) for most in (5, 4, 3))
        padding = tuple(tuple(rng.integers(0, 3, 2).tolist()) for _ in size)
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        if all(n + sum(p) >= r for n, p, r in zip(size, padding, reach, strict=True)):
            return kernel, {"strides": strides, "dilations": dilations, "padding": padding}


def _quantized(b: GraphBuilder, rng: np.random.Generator, x: Value, weight: Array, given: dict[str, Any]) -> Value:
    """A layer as TFLite has it; weights of u8 have one scale and a zero point."""
    filters, scale = weight.shape[-1], x.type.quantization
    scales = Quantization(tuple(np.linspace(0.005, 0.02, filters).tolist()), (0,) * filters, weight.ndim - 1)
    if weight.dtype == np.uint8:
        scales = Quantization.of(0.01, int(rng.choice([128, 100])))
    bias = b.constant(rng.integers(-1000, 1000, filters).astype(np.int32))
    attributes = {"x": scale, "weight": scales, "y": Quantization.of(float(rng.choice([0.5, 1.5])), 3)}
    return b.emit("q_conv2d", x, b.constant(weight), bias, **attributes, **given)


def _summed(b: GraphBuilder, rng: np.random.Generator, x: Value, weight: Array, given: dict[str, Any]) -> Value:
    """Sums, perhaps with what quantized files of ONNX make of them, and another tensor added."""
    assert x.type.quantization is not None
    zeros = {"x_zero": x.type.zero_point, "weight_zero": 128 if weight.dtype == np.uint8 else 0}
    bias = [b.constant(rng.integers(-1000, 1000, weight.shape[-1]).astype(np.int32))] if rng.integers(2) else []
    sums = b.emit("conv2d_sum" if weight.ndim == 4 else "conv3d_sum", x, b.constant(weight), *bias, **zeros, **given)
    if not rng.integers(4):
        return sums
    factors = b.constant(rng.uniform(1e-3, 2e-3, weight.shape[-1]).astype(np.float32))
    real = b.emit("mul", b.emit("cast", sums, dtype="f32"), factors)
    if rng.integers(2):
        real = b.emit("add", real, b.input("other", real.type))
    return b.emit("quantize_even", real, dtype="u8", y=Quantization.of(0.25, 99))


def drawn(seed: int, *, quantized: bool) -> tuple[Graph, list[Array]]:
    """A layer in groups of four or eight channels, and its inputs."""
    rng = np.random.default_rng(seed)
    share, groups = int(rng.choice([4, 8])), int(rng.choice([2, 3, 5, 8, 13, 18]))
    deep = not quantized and seed % 4 == 0
    size = tuple(rng.integers(1, 4, 1).tolist()) * deep + tuple(rng.integers(1, 20, 2).tolist())
    kernel, given = _window(rng, size)
    dtype = DType.U8 if seed % 2 else DType.I8
    info = np.iinfo(str(dtype.numpy))
    kind = np.dtype("uint8" if dtype is DType.U8 and rng.integers(2) else "int8")
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    weight = rng.integers(low, high, (*kernel, share, groups * share), endpoint=True).astype(kind)
    b = GraphBuilder("groups")
    shape = (int(rng.integers(1, 3)), *size, groups * share)
    scale = Quantization.of(0.02, int(rng.choice([info.min, 5, info.max])))
    x = b.input("x", TensorType(dtype, shape, quantization=scale))
    layer = _quantized if quantized else _summed
    graph = b.finish([layer(b, rng, x, weight, {**given, "groups": groups})])
    inputs = [rng.integers(info.min, info.max, shape, endpoint=True).astype(dtype.numpy)]
    return graph, inputs + [rng.standard_normal(v.type.shape, np.float32) for v in graph.inputs[1:]]


def lowered(graph: Graph, cpu: str, threads: int) -> Module:
    target = find_target(cpu)
    assert target is not None
    return lower(optimize(graph, pipelines.INFERENCE, target), target, threads)


def compiled(module: Module, cpu: str, threads: int) -> Program:
    target = find_target(cpu)
    assert target is not None
    return Program(module, object_code(emit_module(module, target), target), target, threads)


@pytest.mark.parametrize("seed", range(48))
@pytest.mark.parametrize("quantized", [True, False])
def test_drawn_layers_are_exact(quantized: bool, seed: int) -> None:
    graph, inputs = drawn(seed, quantized=quantized)
    (expected,) = evaluate(graph, inputs)
    threads = 1 + seed % 3
    for cpu in ("host", CPUS[seed % len(CPUS)]):
        module = lowered(graph, cpu, threads)
        verify_module(module)
        np.testing.assert_array_equal(run_module(module, inputs, {})[0], expected)
        target = find_target(cpu)
        if target and runs_here(target):
            with compiled(module, cpu, threads) as program:
                np.testing.assert_array_equal(program(*inputs), expected)


def test_litert_has_the_same_bytes() -> None:
    pytest.importorskip("ai_edge_litert")
    served = 0
    with LiteRT() as peer:
        for seed in range(0, 40, 2):  # bytes with signs: the reference kernels have no groups of others
            graph, inputs = drawn(seed, quantized=True)
            module = lowered(graph, "host", 1)
            served += "pack_groups" in print_module(module)
            with compiled(module, "host", 1) as program:
                ((answer,),) = peer(to_tflite(graph), [inputs])
                np.testing.assert_array_equal(program(*inputs), answer)
    target = find_target("host")
    assert served or (target is not None and target.dot_product.name != "VNNI")


def _layer(share: int, filters: int, weight_zero: int = 0) -> Graph:
    b = GraphBuilder("groups")
    x = b.input("x", TensorType(DType.U8, (1, 8, 8, share * 8), quantization=Quantization.of(0.5, 0)))
    weight = np.ones((3, 3, share, filters * 8), np.uint8 if weight_zero else np.int8)
    given = {"strides": (1, 1), "dilations": (1, 1), "padding": "same", "groups": 8}
    return b.finish([b.emit("conv2d_sum", x, b.constant(weight), x_zero=0, weight_zero=weight_zero, **given)])


@pytest.mark.parametrize(
    ("cpu", "share", "filters", "weight_zero", "shares"),
    [
        ("znver4", 4, 4, 0, True),
        ("znver4", 8, 8, 0, True),
        ("znver4", 4, 4, 128, True),
        ("znver4", 4, 4, 7, False),  # sums of inputs are needed beside
        ("znver4", 4, 8, 0, False),
        ("znver4", 12, 12, 0, False),
        ("znver4", 16, 16, 0, False),  # a vector of filters
        ("alderlake", 4, 4, 0, True),
        ("alderlake", 8, 8, 0, False),
        ("haswell", 4, 4, 0, False),
    ],
)
def test_which_groups_share_vectors(cpu: str, share: int, filters: int, weight_zero: int, shares: bool) -> None:
    assert ("pack_groups" in print_module(lowered(_layer(share, filters, weight_zero), cpu, 1))) is shares


def test_a_load_fills_all_quarters_of_a_register() -> None:
    target = find_target("znver5")
    code = assembly(emit_module(lowered(_layer(4, 4), "znver5", 1), target), target)
    lines = code.splitlines()
    products = sum("vpdpbusd" in line for line in lines)
    assert 0 < 2 * sum("vbroadcasti32x4" in line for line in lines) <= products
