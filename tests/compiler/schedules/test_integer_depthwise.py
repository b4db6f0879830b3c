"""Depthwise convolutions of integers: every bit as the interpreter has it, on several targets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from netc.compiler.backends import find_target, lower, optimize
from netc.compiler.backends.cpu.codegen import emit_module, object_code
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.modules.interpreter import run_module
from netc.compiler.modules.module import Module
from netc.compiler.modules.printer import print_module
from netc.compiler.modules.reader import parse_module
from netc.compiler.modules.verifier import verify_module
from netc.compiler.passes import pipelines
from netc.compiler.targets.target import Target
from netc.compiler.types import DType, Quantization, TensorType
from netc.runtime.host import runs_here
from netc.runtime.program import Program


@dataclass(frozen=True)
class Case:
    """Geometry of a convolution; `padding` lies before and after rows, and columns."""

    shape: tuple[int, int, int, int]
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[tuple[int, int], tuple[int, int]] = ((1, 1), (1, 1))
    dilation: tuple[int, int] = (1, 1)
    bias: bool = True
    filters: int = 1
    """For each channel."""


CASES = [
    Case((1, 7, 9, 16)),
    Case((2, 14, 13, 40)),
    Case((1, 15, 15, 24), stride=(2, 2), padding=((0, 1), (0, 1))),
    Case((1, 8, 9, 21), (5, 5), padding=((2, 2), (2, 2)), bias=False),
    Case((3, 11, 12, 17), (5, 5), (2, 2), ((1, 2), (2, 1))),
    Case((1, 12, 12, 32), padding=((2, 2), (2, 2)), dilation=(2, 2)),
    Case((1, 9, 10, 33), (2, 4), (1, 3), ((0, 1), (3, 0)), (3, 1)),
    Case((1, 9, 9, 7), (7, 1), padding=((3, 3), (0, 0))),
    Case((1, 1, 5, 3), (1, 3), padding=((0, 0), (1, 1))),
    Case((1, 9, 8, 24), (7, 7), (2, 2), ((3, 3), (3, 3)), filters=2),
    Case((2, 6, 7, 5), bias=False, filters=4),
    Case((1, 5, 7, 2), filters=16),
    Case((1, 5, 6, 8), filters=3),
    Case((1, 6, 5, 7), (1, 3), padding=((0, 0), (1, 1)), filters=3),
]
SIGNS = [(DType.I8, 0), (DType.U8, 128), (DType.U8, 97)]


def graph_of(
    case: Case, dtype: DType, weight_zero: int
) -> tuple[Graph, np.ndarray[tuple[int, ...], np.dtype[np.int8]]]:
    rng = np.random.default_rng(sum(case.shape))
    channels = case.shape[-1]
    filters = channels * case.filters
    low, high = (-128, 128) if dtype is DType.I8 else (0, 256)
    x, y = Quantization.of(0.02, -5 if dtype is DType.I8 else 120), Quantization.of(0.07, 3)
    weight_type = Quantization.of(0.01, weight_zero)
    if dtype is DType.I8:
        weight_type = Quantization(tuple(np.linspace(0.002, 0.02, filters).tolist()), (0,) * filters, 3)
    b = GraphBuilder("case")
    value = b.input("x", TensorType(dtype, case.shape, None, x))
    weight = b.constant(rng.integers(low, high, (*case.kernel, 1, filters)).astype(dtype.numpy))
    bias = [b.constant(rng.integers(-1000, 1000, filters).astype(np.int32))] if case.bias else []
    geometry: dict[str, Any] = {
        "strides": case.stride,
        "padding": case.padding,
        "dilations": case.dilation,
        "groups": channels,
    }
    result = b.emit("q_conv2d", value, weight, *bias, x=x, weight=weight_type, y=y, **geometry)
    return b.finish([result]), rng.integers(low, high, case.shape).astype(dtype.numpy)


def lowered(graph: Graph, target: Target, threads: int = 2) -> Module:
    module = lower(optimize(graph, pipelines.INFERENCE, target), target, threads)
    verify_module(module)
    return module


@pytest.mark.parametrize("cpu", [None, "haswell", "x86-64"])
@pytest.mark.parametrize(("dtype", "weight_zero"), SIGNS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_sums_are_exact(case: Case, dtype: DType, weight_zero: int, cpu: str | None) -> None:
    target = find_target(cpu) if cpu else host_target()
    if not runs_here(target):
        pytest.skip(f"code for {target} doesn't run on this machine")
    graph, x = graph_of(case, dtype, weight_zero)
    (expected,) = evaluate(graph, [x])
    module = lowered(graph, target)
    text = print_module(module)
    assert print_module(parse_module(text)) == text
    with Program(module, object_code(emit_module(module, target), target), target, 2) as program:
        np.testing.assert_array_equal(program(x), expected)


CROWDED = [
    Case((1, 7, 9, 256)),
    Case((2, 14, 13, 512)),
    Case((1, 15, 15, 256), stride=(2, 2), padding=((0, 1), (0, 1))),
    Case((3, 11, 12, 256), (5, 5), (2, 2), ((1, 2), (2, 1)), bias=False),
    Case((1, 12, 12, 256), padding=((2, 2), (2, 2)), dilation=(2, 2)),
    Case((1, 9, 10, 512), (2, 4), (1, 3), ((0, 1), (3, 0)), (3, 1)),
    Case((1, 13, 1, 1024), (7, 1), padding=((3, 3), (0, 0))),
    Case((1, 1, 7, 1024), (1, 3), padding=((0, 0), (1, 1))),
]


@pytest.mark.parametrize(("dtype", "weight_zero"), SIGNS)
@pytest.mark.parametrize("case", CROWDED, ids=str)
def test_lines_that_displace_each_other_are_copied(case: Case, dtype: DType, weight_zero: int) -> None:
    target = replace(find_target("znver5"), l1_bytes=4096)
    graph, x = graph_of(case, dtype, weight_zero)
    (expected,) = evaluate(graph, [x])
    for threads in (1, 2, 3):
        module = lowered(graph, target, threads)
        assert "stack %lines" in print_module(module)
        if threads == 2 and dtype is DType.I8:
            np.testing.assert_array_equal(run_module(module, [x])[0], expected)
        if runs_here(target):
            with Program(module, object_code(emit_module(module, target), target), target, threads) as program:
                np.testing.assert_array_equal(program(x), expected)


@pytest.mark.parametrize(
    ("case", "cpu"),
    [(Case((1, 7, 9, 240)), "znver5"), (Case((1, 7, 9, 272)), "znver5"), (Case((1, 7, 9, 256)), "znver4")],
    ids=["apart", "no whole lines", "not measured"],
)
def test_other_lines_are_read_where_they_lie(case: Case, cpu: str) -> None:
    module = lowered(graph_of(case, DType.I8, 0)[0], replace(find_target(cpu), l1_bytes=8192))
    assert "stack %lines" not in print_module(module)


DOTS = [("znver4", "vpdpbusd"), ("cortex-a76", "neon.sdot"), ("haswell", "pmadd.wd")]


@pytest.mark.parametrize(("cpu", "instruction"), DOTS)
@pytest.mark.parametrize(("dtype", "weight_zero"), SIGNS)
def test_the_dot_product_instruction_is_used(dtype: DType, weight_zero: int, cpu: str, instruction: str) -> None:
    target = find_target(cpu)
    module = lowered(graph_of(CASES[0], dtype, weight_zero)[0], target)
    text = emit_module(module, target)
    assert instruction in text
    assert object_code(text, target)


@pytest.mark.parametrize(("dtype", "weight_zero"), SIGNS)
def test_weights_of_words_have_no_zero_point(dtype: DType, weight_zero: int) -> None:
    kernels = print_module(lowered(graph_of(CASES[0], dtype, weight_zero)[0], find_target("haswell")))
    assert "%w: i16[3," in kernels
    assert "dot2_words(" in kernels
    assert "dot4(" not in kernels
