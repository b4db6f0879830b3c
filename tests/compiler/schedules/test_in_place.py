"""Large results are written in the memory of what is read for the last time, element by element."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from netc.compiler.backends import lower, optimize
from netc.compiler.backends.cpu.codegen import emit_module, object_code
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph, Value
from netc.compiler.modules.module import Module
from netc.compiler.modules.verifier import verify_module
from netc.compiler.passes import pipelines
from netc.compiler.types import DType, TensorType
from netc.runtime.program import Program

TARGET = replace(host_target(), l2_bytes=16 * 1024)
SHAPE = (1, 28, 28, 32)
WINDOW = {"strides": (1, 1), "padding": ((1, 1), (1, 1)), "dilations": (1, 1)}
ONE = {"strides": (1, 1), "padding": ((0, 0), (0, 0)), "dilations": (1, 1)}


def temporary(b: GraphBuilder, name: str, channels: int) -> Value:
    """What an operation of its own makes: it joins no group."""
    x = b.input(name, TensorType(DType.F32, (SHAPE[0], channels, *SHAPE[1:3])))
    return b.emit("transpose", x, permutation=(0, 2, 3, 1))


def turned(b: GraphBuilder, x: Value) -> Value:
    """What reads a result, wants no margins around it and joins no group."""
    return b.emit("transpose", x, permutation=(0, 3, 1, 2))


def added(kernel: int, filters: int = 32) -> Graph:
    """A convolution whose end adds a temporary and reads it no later."""
    b = GraphBuilder("g")
    x = b.input("x", TensorType(DType.F32, SHAPE))
    w = b.input("w", TensorType(DType.F32, (kernel, kernel, 32, filters)))
    y = b.emit("conv2d", x, w, **(ONE if kernel == 1 else WINDOW))
    return b.finish([turned(b, b.emit("relu", b.emit("add", y, temporary(b, "z", filters))))])


def spread() -> Graph:
    """A strided gradient, whose phases add the temporary each for itself."""
    b = GraphBuilder("g")
    dy = b.input("dy", TensorType(DType.F32, (1, 14, 14, 48)))
    w = b.input("w", TensorType(DType.F32, (3, 3, 48, 32)))
    y = b.emit("transpose_conv2d", dy, w, **{**WINDOW, "strides": (2, 2)}, size=SHAPE[1:3])
    return b.finish([turned(b, b.emit("add", y, temporary(b, "z", 32)))])


def by_element(is_read_later: bool) -> Graph:
    b = GraphBuilder("g")
    first, z = temporary(b, "x", 32), b.input("z", TensorType(DType.F32, SHAPE))
    last = turned(b, b.emit("mul", first, z))
    later = b.emit("reduce_max", first, axes=(1, 2))
    return b.finish([last, later] if is_read_later else [last])


def run(module: Module, threads: int, inputs: list[Any]) -> list[Any]:
    code = object_code(emit_module(module, TARGET), TARGET)
    with Program(module, code, TARGET, threads) as program:
        results = program(*inputs)
    return list(results) if isinstance(results, tuple) else [results]


GRAPHS = {
    "1x1": added(1),
    "3x3": added(3),
    "by tiles": added(3, 64),
    "narrow last panel": added(3, 40),
    "strided gradient": spread(),
    "elements": by_element(False),
    "read later": by_element(True),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_results_of_any_number_of_threads_are_right(name: str) -> None:
    graph = GRAPHS[name]
    random = np.random.default_rng(0)
    inputs = [random.standard_normal(v.type.shape).astype(np.float32) for v in graph.inputs]
    exact = evaluate(graph, inputs, {})
    optimized = optimize(graph, pipelines.TRAINING, TARGET)
    found = []
    for threads in (1, 2, 3):
        module = lower(optimized, TARGET, threads)
        verify_module(module)
        found.append(run(module, threads, inputs))
    for number, wanted in enumerate(exact):
        assert np.abs(found[0][number] - wanted).max() < 1e-3
        assert all(np.array_equal(found[0][number], other[number]) for other in found[1:])


@pytest.mark.parametrize("name", GRAPHS)
def test_memory_of_what_is_read_last_is_used_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It needs no parameter of its own: the kernel reads it where it writes."""
    optimized = optimize(GRAPHS[name], pipelines.TRAINING, TARGET)
    module = lower(optimized, TARGET, 1)
    monkeypatch.setattr(import_module("netc.compiler.lowering.lower"), "overwritable", lambda *_: ())
    apart = lower(optimized, TARGET, 1)
    arguments, arguments_apart = (sum(len(call.arguments) for call in m.calls) for m in (module, apart))
    assert arguments == arguments_apart - (name != "read later") * (4 if name == "strided gradient" else 1)
    assert module.arena_bytes <= apart.arena_bytes
