"""Attention that is formed means what the products and the softmax meant."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from netc.compiler import passes
from netc.compiler.graph import Graph, GraphBuilder, evaluate
from netc.compiler.types import DType, TensorType

SHAPES = {"q": (2, 3, 5, 4), "k": (2, 3, 7, 4), "v": (2, 3, 7, 6)}


def scores_and_values(turned: bool, scaled: str, masks: int, windows: bool, mask_first: bool = False) -> Graph:
    """Attention as exporters write it."""
    b = GraphBuilder("g")
    q, k, v = (b.input(name, TensorType(DType.F32, shape)) for name, shape in SHAPES.items())
    half = b.scalar(0.5, DType.F32)
    if scaled == "operands":
        q, k = b.emit("mul", q, half), b.emit("mul", half, k)
    if turned:
        k = b.emit("transpose", k, permutation=(0, 1, 3, 2))
    scores = b.emit("matmul", q, k, transpose_b=not turned)
    if scaled == "scores" and not mask_first:
        scores = b.emit("div", scores, half)
    if masks:
        scores = b.emit("add", b.input("bias", TensorType(DType.F32, (3, 5, 7))), scores)
    if scaled == "scores" and mask_first:
        scores = b.emit("div", scores, half)
    if windows:
        scores = b.emit("reshape", scores, shape=(1, 2, 3, 5, 7))
        if masks > 1:
            scores = b.emit("add", scores, b.input("window", TensorType(DType.F32, (1, 2, 1, 1, 7))))
        scores = b.emit("reshape", scores, shape=(2, 3, 5, 7))
    return b.finish([b.emit("matmul", b.emit("softmax", scores, axis=-1), v)])


@pytest.mark.parametrize(
    ("turned", "scaled", "masks", "windows"),
    tuple(product((False, True), ("", "operands", "scores"), (0, 1, 2), (False, True))),
)
def test_meaning(turned: bool, scaled: str, masks: int, windows: bool) -> None:
    graph = scores_and_values(turned, scaled, masks, windows)
    formed = passes.run(graph, "form-attention")
    assert [op.name for op in formed.operations].count("attention") == 1
    assert not any(op.name in ("matmul", "softmax") for op in formed.operations)
    random = np.random.default_rng(3)
    inputs = [random.standard_normal(v.type.shape, np.float32) for v in graph.inputs]
    for wanted, got in zip(evaluate(graph, inputs), evaluate(formed, inputs), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_a_factor_behind_a_mask_is_none_of_the_scores() -> None:
    graph = scores_and_values(turned=False, scaled="scores", masks=1, windows=False, mask_first=True)
    assert passes.form_attention(graph) is graph


def test_masks_of_some_windows_stay() -> None:
    b = GraphBuilder("g")
    q, mask = b.input("q", TensorType(DType.F32, (8, 5, 4))), b.input("mask", TensorType(DType.F32, (2, 1, 5, 5)))
    scores = b.emit("add", b.emit("reshape", b.emit("matmul", q, q, transpose_b=True), shape=(2, 4, 5, 5)), mask)
    weights = b.emit("softmax", b.emit("reshape", scores, shape=(8, 5, 5)), axis=-1)
    graph = b.finish([b.emit("matmul", weights, q)])
    assert passes.form_attention(graph) is graph
