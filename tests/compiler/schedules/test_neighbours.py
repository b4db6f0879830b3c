"""Operators whose schedules see memory in a shape of their own, beside neighbours that want it in another one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from netc.compiler.backends import lower, optimize
from netc.compiler.backends.cpu.codegen import emit_module, object_code
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph, Value
from netc.compiler.modules.interpreter import run_module
from netc.compiler.passes import pipelines, run
from netc.compiler.types import DType, TensorType
from netc.runtime.program import Program

Net = Callable[[GraphBuilder, Value], Value]


def weight(b: GraphBuilder, *shape: int) -> Value:
    return b.emit("param", shape=shape, name=f"w{len(b.operations)}")


def dense(b: GraphBuilder, x: Value, units: int) -> Value:
    return b.emit("dense", x, weight(b, x.type.shape[-1], units), weight(b, units))


def conv(b: GraphBuilder, x: Value, filters: int, size: int = 3, padding: Any = "same") -> Value:
    w = weight(b, size, size, x.type.shape[-1], filters)
    return b.emit("conv2d", x, w, strides=(1, 1), padding=padding, dilations=(1, 1), groups=1)


def depthwise(b: GraphBuilder, x: Value) -> Value:
    channels = x.type.shape[-1]
    w = weight(b, 3, 3, 1, channels)
    return b.emit("conv2d", x, w, strides=(1, 1), padding="same", dilations=(1, 1), groups=channels)


def convnext(b: GraphBuilder, x: Value) -> Value:
    y = dense(b, b.emit("tanh", dense(b, depthwise(b, x), 40)), x.type.shape[-1])
    return depthwise(b, b.emit("add", x, y))


NETS: dict[str, Net] = {
    "dense, then padded": lambda b, x: conv(b, dense(b, x, 20), 5),
    "padded, then dense": lambda b, x: dense(b, conv(b, x, 20), 5),
    "dense between padded": lambda b, x: conv(b, dense(b, conv(b, x, 20), 17), 5),
    "dense and padded read one value": lambda b, x: b.emit(
        "add", dense(b, y := b.emit("relu", conv(b, x, 16)), 9), conv(b, y, 9)
    ),
    "dense with a shortcut that a padded one reads": lambda b, x: conv(
        b, b.emit("add", y := conv(b, x, 24), dense(b, y, 24)), 8
    ),
    "uneven margins": lambda b, x: dense(b, b.emit("relu", conv(b, dense(b, x, 6), 7, 2, ((1, 0), (0, 1)))), 20),
    "convnext": convnext,
    "shortcut around a window of one": lambda b, x: b.emit(
        "add", y := b.emit("relu", conv(b, x, 40, 1)), conv(b, y, 40, 1)
    ),
    "scaled by a value for each pixel": lambda b, x: b.emit(
        "mul", dense(b, x, 40), b.emit("reduce_mean", x, axes=(3,), keepdims=True)
    ),
    "scaled by a value for each channel": lambda b, x: b.emit(
        "mul", conv(b, x, 24, 1), b.emit("reduce_mean", conv(b, x, 24, 1), axes=(1, 2), keepdims=True)
    ),
    "two shortcuts and a bias": lambda b, x: b.emit(
        "add", b.emit("add", dense(b, x, 33), y := b.emit("tanh", conv(b, x, 33, 1))), b.emit("mul", y, weight(b, 33))
    ),
}


@pytest.mark.parametrize("shape", [(1, 6, 7, 8), (1, 9, 1, 8), (2, 1, 1, 8), (1, 1, 5, 1), (3, 2, 2, 16)], ids=str)
@pytest.mark.parametrize("name", NETS)
def test_neighbours(name: str, shape: tuple[int, ...]) -> None:
    b = GraphBuilder("net")
    x = b.input("x", TensorType(DType.F32, shape))
    check(b.finish([NETS[name](b, x)]))


def test_gradients_of_halves() -> None:
    """A slice from channel 0 on is differentiated to padding behind the last dimension."""
    b = GraphBuilder("gate")
    x = b.input("x", TensorType(DType.F32, (2, 3, 40)))
    halves = [b.emit("slice", x, begin=(0, 0, begin), size=(2, 3, 20)) for begin in (0, 20)]
    y = b.emit("reduce_sum", b.emit("mul", *halves), axes=None, keepdims=False)
    check(run(b.finish([y]), "differentiate{wrt=x}"))


def test_gradients_of_weights_that_a_padded_convolution_reads() -> None:
    """As in second gradients: such a result has margins."""
    for groups in (1, 4):
        b = GraphBuilder("second")
        x, dy = (b.input(name, TensorType(DType.F32, (1, 4, 4, 4))) for name in ("x", "dy"))
        window = {"strides": (1, 1), "padding": "same", "dilations": (1, 1)}
        dw = b.emit("conv2d_weight_gradient", x, dy, kernel=(3, 3), groups=groups, **window)
        check(b.finish([conv(b, dw, 5)]))


@pytest.mark.parametrize("channels", [1, 16, 37])
@pytest.mark.parametrize("make", [conv, depthwise, dense])
def test_results_of_another_element_type(make: Callable[..., Value], channels: int) -> None:
    b = GraphBuilder("cast")
    x = b.input("x", TensorType(DType.F32, (1, 5, 6, channels)))
    y = make(b, x) if make is depthwise else make(b, x, channels)
    check(b.finish([b.emit("cast", b.emit("greater", y, b.scalar(0.0, DType.F32)), dtype="i32")]))
    b = GraphBuilder("wider")
    x = b.input("x", TensorType(DType.F32, (1, 5, 6, channels)))
    y = make(b, x) if make is depthwise else make(b, x, channels)
    check(b.finish([b.emit("cast", y, dtype="f64")]))


def test_values_without_elements() -> None:
    b = GraphBuilder("empty")
    x, y = b.input("x", TensorType(DType.F32, (0, 7, 3))), b.input("y", TensorType(DType.F32, (2, 4)))
    empty = b.emit("reshape", b.emit("exp", dense(b, x, 4)), shape=(0, 4))
    check(b.finish([b.emit("concat", empty, y, axis=0), empty]))


def check(graph: Graph) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(v.type.shape, np.float32) for v in graph.inputs]
    params = {p.result.name or "": rng.standard_normal(p.result.type.shape, np.float32) for p in graph.parameters}
    meant = evaluate(graph, arrays, params)
    optimized = optimize(graph, pipelines.TRAINING, host_target())
    for threads in (1, 2):
        module = lower(optimized, host_target(), threads)
        code = object_code(emit_module(module, host_target()), host_target())
        with Program(module, code, None, threads, params) as program:
            computed = program(*arrays)
        for found in (computed if isinstance(computed, tuple) else (computed,), run_module(module, arrays, params)):
            for a, m in zip(found, meant, strict=True):
                np.testing.assert_allclose(a, m, atol=1e-4 * max(1.0, float(np.abs(m).max(initial=0))))
