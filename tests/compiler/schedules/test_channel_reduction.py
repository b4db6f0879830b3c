"""Sums for each channel, shared out by pictures: the bits of the generic lowering, for any number of threads."""

from __future__ import annotations

import numpy as np
import pytest

from netc.compiler.backends import lower, optimize
from netc.compiler.backends.cpu.backend import Cpu
from netc.compiler.backends.cpu.codegen import emit_module, object_code
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Array, Graph
from netc.compiler.lowering import Schedules
from netc.compiler.lowering.generic import schedule_generic
from netc.compiler.modules.verifier import verify_module
from netc.compiler.passes import FuseSums, pipelines
from netc.compiler.types import DType, TensorType
from netc.runtime.program import Program

SHAPES = [(32, 16, 8, 16), (6, 21, 13, 48), (4, 9, 24, 80), (3, 2, 7, 2048)]
OPERATORS = ("reduce_sum", "reduce_mean", "channel_variance")


def statistics(op: str, shape: tuple[int, ...], *, alone: bool) -> Graph:
    """A sum for each channel, by itself or with something before and after it."""
    b = GraphBuilder("net")
    x = b.input("x", TensorType(DType.F32, shape))
    factor, mean = (b.input(name, TensorType(DType.F32, shape[-1:])) for name in ("factor", "mean"))
    value = x if alone else b.emit("mul", b.emit("sub", x, mean), x)
    y = b.emit(op, value, mean) if op == "channel_variance" else b.emit(op, value, axes=(0, 1, 2))
    return b.finish([y if alone else b.emit("add", b.emit("mul", y, factor), factor)])


def results(graph: Graph, threads: int, inputs: list[Array]) -> tuple[Array, int]:
    """What the compiled graph gives, and the number of its kernels."""
    target = host_target()
    module = lower(optimize(graph, pipelines.TRAINING, target), target, threads)
    verify_module(module)
    with Program(module, object_code(emit_module(module, target), target), target, threads) as program:
        return np.asarray(program(*inputs)), len(module.calls)


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "fused"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("op", OPERATORS)
def test_bits(op: str, shape: tuple[int, ...], alone: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    graph = statistics(op, shape, alone=alone)
    inputs: list[Array] = [rng.standard_normal(v.type.shape, np.float32) + 1 for v in graph.inputs]
    (expected,) = evaluate(graph, inputs)
    found, calls = results(graph, 3, inputs)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(found, results(graph, 1, inputs)[0])
    monkeypatch.setattr(Cpu, "schedules", Schedules((schedule_generic,)))
    plain, plain_calls = results(graph, 3, inputs)
    np.testing.assert_array_equal(found, plain)
    assert calls == plain_calls + 1


def two_sums(shape: tuple[int, ...]) -> Graph:
    """What the gradients of batch normalisation add up: both read dy."""
    b = GraphBuilder("net")
    dy, x = (b.input(name, TensorType(DType.F32, shape)) for name in ("dy", "x"))
    mean = b.input("mean", TensorType(DType.F32, shape[-1:]))
    first = b.emit("reduce_sum", dy, axes=(0, 1, 2))
    second = b.emit("reduce_sum", b.emit("mul", dy, b.emit("sub", x, mean)), axes=(0, 1, 2))
    return b.finish([first, b.emit("mul", second, mean)])


@pytest.mark.parametrize("shape", [*SHAPES, (3, 5, 4, 10)], ids=str)
def test_one_pass_for_two_sums(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    graph = two_sums(shape)
    inputs: list[Array] = [rng.standard_normal(v.type.shape, np.float32) + 1 for v in graph.inputs]
    found, calls = results(graph, 3, inputs)
    for part, expected in zip(found, evaluate(graph, inputs), strict=True):
        np.testing.assert_allclose(part, expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(found, results(graph, 1, inputs)[0])
    assert calls == (1 if shape[-1] == 10 else 2)
    monkeypatch.setattr(Cpu, "schedules", Schedules((schedule_generic,)))
    np.testing.assert_array_equal(found, results(graph, 3, inputs)[0])
    monkeypatch.setattr(FuseSums, "run", lambda _, graph: graph)
    apart, more = results(graph, 3, inputs)
    np.testing.assert_array_equal(found, apart)
    assert more == 2


@pytest.mark.parametrize(
    ("shape", "axes", "keepdims"),
    [((64, 32, 32, 10), (0, 1, 2), False), ((64, 32, 32, 64), (1, 2, 3), False), ((64, 32, 32, 64), (0, 1, 2), True)],
)
def test_others_are_left_alone(shape: tuple[int, ...], axes: tuple[int, ...], keepdims: bool) -> None:
    b = GraphBuilder("net")
    x = b.input("x", TensorType(DType.F32, shape))
    graph = b.finish([b.emit("reduce_sum", x, axes=axes, keepdims=keepdims)])
    assert len(lower(graph, host_target(), 2).calls) == 1
