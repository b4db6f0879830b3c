"""Contractions with one filter, whose bias is a number of the program, are tiled as others are."""

from __future__ import annotations

import numpy as np
import pytest

from netc.compiler.backends import lower, optimize
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Value
from netc.compiler.modules.printer import print_module
from netc.compiler.passes import pipelines
from netc.compiler.types import DType, TensorType
from netc.pipeline import compile_graph

PADDED = {"strides": (1, 1), "padding": ((2, 2), (2, 2)), "dilations": (1, 1)}
GROWN = {"size": (16, 14), "strides": (2, 2), "padding": ((1, 1), (1, 1))}


def _one(b: GraphBuilder, kind: str, rng: np.random.Generator) -> Value:
    bias = b.constant(np.array([-0.25], np.float32))
    if kind == "dense":
        weight = b.constant(rng.standard_normal((20, 1)).astype(np.float32))
        return b.emit("dense", b.input("x", TensorType(DType.F32, (9, 20))), weight, bias)
    image = b.input("x", TensorType(DType.F32, (2, 8, 7, 20)))
    if kind == "conv2d":
        weight = b.constant(rng.standard_normal((5, 5, 20, 1)).astype(np.float32))
        return b.emit("conv2d", image, weight, bias, **PADDED)
    weight = b.constant(rng.standard_normal((4, 4, 20, 1)).astype(np.float32))
    return b.emit("transpose_conv2d", image, weight, bias, **GROWN)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("kind", ["dense", "conv2d", "transpose_conv2d"])
def test_a_literal_bias_is_added(kind: str, relu: bool) -> None:
    b, rng = GraphBuilder("net"), np.random.default_rng(4)
    y = _one(b, kind, rng)
    graph = b.finish([b.emit("relu", y) if relu else y])
    x = rng.standard_normal(graph.inputs[0].type.shape).astype(np.float32)
    with compile_graph(graph, threads=2) as program:
        np.testing.assert_allclose(program(x), evaluate(graph, [x])[0], rtol=1e-5, atol=1e-5)
    text = print_module(lower(optimize(graph, pipelines.INFERENCE, host_target()), host_target(), 1))
    kernel = text[text.rindex(f"kernel @{kind}") :]
    assert "register %acc: f32[" in kernel
    assert "select(" not in kernel[: kernel.index("\n  }\n")]
