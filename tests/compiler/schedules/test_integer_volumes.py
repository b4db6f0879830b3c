"""Sums of integers in three dimensions: every bit as the interpreter has it, on every kind of processor."""

from __future__ import annotations

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

CASES: dict[str, tuple[tuple[int, ...], tuple[int, ...], DType, dict[str, Any]]] = {
    "padded": ((1, 3, 5, 6, 8), (3, 3, 3, 8, 20), DType.U8, {"padding": "same"}),
    "strides": (
        (2, 5, 4, 7, 4),
        (2, 3, 2, 4, 9),
        DType.I8,
        {"strides": (2, 1, 2), "padding": ((1, 0), (0, 2), (1, 1))},
    ),
    "dilated planes": (
        (1, 6, 4, 4, 12),
        (3, 2, 2, 12, 16),
        DType.U8,
        {"dilations": (2, 1, 1), "padding": ((2, 1),) * 3},
    ),
    "runs to fill up": ((1, 4, 5, 9, 3), (3, 3, 5, 3, 7), DType.I8, {"padding": "same"}),
    "groups": ((1, 3, 4, 5, 16), (3, 1, 3, 4, 24), DType.U8, {"padding": "same", "groups": 4}),
    "one pixel": ((2, 3, 3, 5, 20), (1, 1, 1, 20, 33), DType.I8, {"padding": "valid"}),
}
CPUS = ("host", "x86-64", "haswell", "cascadelake", "alderlake", "cortex-a53", "cortex-a76", "wasm32")


def _graph(case: str) -> tuple[Graph, Array]:
    shape, weights, dtype, given = CASES[case]
    rng = np.random.default_rng(len(case))
    zero, info = 3 if dtype is DType.I8 else 130, np.iinfo(str(dtype.numpy))
    b = GraphBuilder("volumes")
    x = b.input("x", TensorType(dtype, shape, quantization=Quantization.of(0.5, zero)))
    weight = b.constant(rng.integers(-128, 128, weights).astype(np.int8))
    bias = b.constant(rng.integers(-10_000, 10_000, weights[-1]).astype(np.int32))
    attributes = {"strides": (1, 1, 1), "dilations": (1, 1, 1), "groups": 1, "x_zero": zero, "weight_zero": 0}
    sums = b.emit("conv3d_sum", x, weight, bias, **attributes | given)
    real = b.emit(
        "mul", b.emit("cast", sums, dtype="f32"), b.constant(rng.uniform(1e-4, 2e-4, weights[-1]).astype(np.float32))
    )
    result = b.emit("quantize_even", real, dtype="u8", y=Quantization.of(0.25, 99))
    return b.finish([result]), rng.integers(info.min, info.max, shape, endpoint=True).astype(dtype.numpy)


@pytest.mark.parametrize("cpu", CPUS)
@pytest.mark.parametrize("case", CASES)
def test_sums_are_exact(case: str, cpu: str) -> None:
    graph, x = _graph(case)
    target = find_target(cpu)
    assert target is not None
    (expected,) = evaluate(graph, [x])
    assert len(np.unique(expected)) > 20
    module = lower(optimize(graph, pipelines.INFERENCE, target), target, 2)
    verify_module(module)
    assert "dot" in print_module(module)  # products of several bytes or words at once
    np.testing.assert_array_equal(run_module(module, [x], {})[0], expected)
    if runs_here(target):
        with Program(module, object_code(emit_module(module, target), target), target, 2) as program:
            np.testing.assert_array_equal(program(x), expected)
