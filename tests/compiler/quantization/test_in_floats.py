"""Sums of 8-bit tensors in single precision: all pairs of numbers, beside fixed-point arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

import netc
from netc.compiler.backends import find_target, lower
from netc.compiler.backends.cpu.add_in_floats import AddInFloats
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Array, Graph
from netc.compiler.modules.interpreter import run_module
from netc.compiler.types import DType, Quantization, TensorType

SEEDS = range(24)


def pairs(graph: Graph) -> list[Array]:
    """All numbers of the operands' types."""
    return [np.arange(*limits(v.type.dtype)).astype(v.type.dtype.numpy).reshape(v.type.shape) for v in graph.inputs]


def limits(dtype: DType) -> tuple[int, int]:
    info = np.iinfo(str(dtype.numpy))
    return int(info.min), int(info.max) + 1


def operation(seed: int) -> Graph:
    """An operation on all pairs of 8-bit numbers, with scales and zero points as networks have them."""
    rng = np.random.default_rng(seed)
    dtype, name = (DType.I8, DType.U8)[seed % 2], ("q_add", "q_sub")[seed % 3 == 0]
    a, b = 10.0 ** rng.uniform(-2, 0, 2)
    y = np.hypot(a, b) * rng.uniform(0.4, 2)
    low, high = limits(dtype)
    scales = {
        key: Quantization.of(float(np.float32(scale)), int(rng.integers(low, high)))
        for key, scale in zip("aby", (a, b, y), strict=True)
    }
    bounds = {"low": scales["y"].zero_point, "high": None} if seed % 4 == 0 else {}
    builder = GraphBuilder("f")
    x = builder.input("a", TensorType(dtype, (256, 1), None, scales["a"]))
    z = builder.input("b", TensorType(dtype, (1, 256), None, scales["b"]))
    return builder.finish([builder.emit(name, x, z, **scales, **bounds)])


@pytest.mark.parametrize("seed", SEEDS)
def test_all_pairs_give_the_same_integers(seed: int) -> None:
    graph = operation(seed)
    inputs = pairs(graph)
    (expected,) = evaluate(graph, inputs)
    single = AddInFloats().run(graph)
    (op,) = single.operations
    assert op.attributes["reals"] is not None
    if seed < 3:
        (interpreted,) = run_module(lower(single, find_target("x86-64-v3"), 1), inputs)
        np.testing.assert_array_equal(interpreted, expected)
    if host_target().has_fma:
        np.testing.assert_array_equal(netc.compile(graph)(*inputs), expected)


@pytest.mark.parametrize("scale", [1e-6, 0.5], ids=["far apart", "halves"])
def test_what_has_no_formula_stays_as_it_is(scale: float) -> None:
    """Sums that double precision would round, and sums of which half lie in the middle between two results."""
    builder = GraphBuilder("f")
    scales = {"a": Quantization.of(1.0), "b": Quantization.of(scale), "y": Quantization.of(1.0)}
    x, z = (builder.input(key, TensorType(DType.I8, (4, 4), None, scales[key])) for key in "ab")
    graph = builder.finish([builder.emit("q_add", x, z, **scales)])
    assert AddInFloats().run(graph) is graph
