"""NaN, infinities, zeros, subnormals, ends of integers: graph, loops and machine code agree, and are right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from netc.compiler.codegen import Target, emit_module, object_code
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.graph.types import DType
from netc.compiler.loops.module_interpreter import run_module
from netc.compiler.ops import operators
from netc.compiler.passes import run
from netc.compiler.schedules import lower
from netc.runtime.program import Program

from .special_values import ELSEWHERE, FLOATS, INTEGERS, elementwise_graph, reduction_graph

HOST = Target.host()
CPUS = [
    name
    for name in ("x86-64", "x86-64-v2", "haswell", "x86-64-v4")
    if HOST.triple.startswith("x86_64") and Target.named(name).vector_lanes <= HOST.vector_lanes
]
_POOLING = ("avg_pool", "avg_pool_gradient", "max_pool_gradient", "max_pool_gather")
_SUMS = ("softmax", "log_softmax", "logsumexp", "reduce_sum", "reduce_mean", *_POOLING)
APPROXIMATE = ("exp", "log", "tanh", "sigmoid", "hard_sigmoid", "softplus", "sin", "cos", *_SUMS)
"""Operators whose last bits depend on the method or on the order of a sum."""
GRAPHS = {"elementwise": elementwise_graph, "reductions": reduction_graph}


def compiled(graph: Graph, arrays: list[Any], cpu: str) -> Any:
    target = Target.named(cpu)
    module = lower(graph, target, 1)
    with Program(module, object_code(emit_module(module, target), target), target, 1, {}) as program:
        return program(*arrays)


def agree(name: str, found: Any, expected: Any) -> None:
    """Equal numbers; -0 and +0 are equal, and so are all NaNs."""
    assert found.dtype == expected.dtype
    if name not in APPROXIMATE or not np.issubdtype(expected.dtype, np.floating):
        np.testing.assert_array_equal(found, expected, err_msg=name)
        return
    limits = np.finfo(expected.dtype)
    smallest = limits.eps if name in ("softplus", "log_softmax", "logsumexp") else limits.tiny  # 1 is added to exp(x)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(found, expected, rtol=32 * float(limits.eps), atol=float(smallest), err_msg=name)


@pytest.mark.parametrize("kind", GRAPHS)
@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS], ids=str)
def test_all_meanings_agree(dtype: DType, kind: str) -> None:
    graph, arrays, names = GRAPHS[kind](dtype)
    expected = evaluate(graph, arrays)
    lowered = run(graph, "decompose")
    if dtype is not DType.F16:  # loops of halves are those of singles
        for name, found, meant in zip(names, run_module(lower(lowered, HOST, 1), arrays), expected, strict=True):
            agree(name, found, meant)
    for name, found, meant in zip(names, compiled(lowered, arrays, "host"), expected, strict=True):
        agree(name, found, meant)


@pytest.mark.parametrize("cpu", CPUS)
@pytest.mark.parametrize("kind", GRAPHS)
@pytest.mark.parametrize("dtype", [DType.F32, DType.I32], ids=str)
def test_processors_agree(dtype: DType, kind: str, cpu: str) -> None:
    """Plain x86-64 has no instructions for half precision."""
    graph, arrays, names = GRAPHS[kind](dtype, halves=not cpu.startswith("x86-64"))
    expected = evaluate(graph, arrays)
    for name, found, meant in zip(names, compiled(run(graph, "decompose"), arrays, cpu), expected, strict=True):
        agree(name, found, meant)


def test_every_operator_meets_special_values() -> None:
    met = {name for dtype in (*FLOATS, *INTEGERS) for graph in GRAPHS.values() for name in graph(dtype)[2]}
    missing = [name for name in operators() if name not in met and name not in ELSEWHERE]
    assert not missing, "extend tests/compiler/special_values.py"
    assert not met & ELSEWHERE.keys()
