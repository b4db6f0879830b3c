"""Convolutions whose results are added: merged ones compute what they computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from netc.compiler.graph import Graph, GraphBuilder, evaluate
from netc.compiler.passes import merge_convolutions
from netc.compiler.types import DType, TensorType

RNG = np.random.default_rng(0)
Branch = tuple[tuple[int, int], tuple[int, int], int]
"""The size of a window, how many places stand before the tensor, and how far its elements stand apart."""


def branched(branches: list[Branch], stride: int, groups: int, size: int = 9) -> Graph:
    """Convolutions of 6 channels, padded to the same number of places, whose results are added up."""
    b = GraphBuilder("net")
    x = b.input("x", TensorType(DType.F32, (2, size, size, 6)))
    total = None
    for kernel, before, dilation in branches:
        weight = b.constant(RNG.standard_normal((*kernel, 6 // groups, 6)).astype(np.float32))
        bias = b.constant(RNG.standard_normal(6).astype(np.float32))
        ends = ((k - 1) * dilation - p for k, p in zip(kernel, before, strict=True))
        fields = {
            "strides": (stride, stride),
            "padding": tuple(zip(before, ends, strict=True)),
            "dilations": (dilation, dilation),
            "groups": groups,
        }
        y = b.emit("conv2d", x, weight, bias, **fields)
        total = y if total is None else b.emit("add", total, y)
    assert total is not None
    if stride == 1:
        numbers = [b.constant(RNG.uniform(0.5, 2, 6).astype(np.float32)) for _ in range(4)]
        total = b.emit("add", total, b.emit("batch_norm", x, *numbers))
    return b.finish([b.emit("relu", total)])


def convolutions(graph: Graph) -> int:
    return sum(op.name == "conv2d" for op in graph.operations)


CASES: dict[str, tuple[list[Branch], int]] = {
    "a smaller window": ([((1, 1), (0, 0), 1), ((3, 3), (1, 1), 1)], 1),
    "several": ([((3, 3), (1, 1), 1), ((3, 3), (1, 1), 1), ((1, 1), (0, 0), 1), ((1, 3), (0, 1), 1)], 1),
    "not in the middle": ([((2, 2), (1, 1), 1), ((3, 3), (1, 1), 1), ((2, 3), (0, 1), 1)], 1),
    "far apart": ([((3, 3), (2, 2), 2), ((1, 1), (0, 0), 1), ((1, 1), (0, 0), 3)], 1),
    "neither in the other": ([((3, 1), (1, 0), 1), ((1, 3), (0, 1), 1)], 2),
    "between the elements": ([((3, 3), (2, 2), 2), ((3, 3), (1, 1), 1)], 2),
}


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_merged_convolutions_give_the_same_numbers(case: str, stride: int, groups: int) -> None:
    branches, left = CASES[case]
    graph = branched(branches, stride, groups)
    merged = merge_convolutions(graph)
    assert convolutions(merged) == left
    assert all(op.name != "batch_norm" for op in merged.operations)
    x: Any = RNG.standard_normal((2, 9, 9, 6)).astype(np.float32)
    ((expected,), (found,)) = evaluate(graph, [x]), evaluate(merged, [x])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-5)


def test_what_is_added_twice_stays() -> None:
    b = GraphBuilder("net")
    x = b.input("x", TensorType(DType.F32, (1, 4, 4, 2)))
    fields = {"strides": (1, 1), "padding": "same", "dilations": (1, 1)}
    one, two = (b.emit("conv2d", x, b.constant(np.ones((1, 1, 2, 2), np.float32)), **fields) for _ in range(2))
    graph = b.finish([b.emit("add", b.emit("add", one, one), two)])
    assert merge_convolutions(graph) is graph
