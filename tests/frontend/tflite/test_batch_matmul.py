"""BATCH_MATMUL of two activations: LiteRT's reference kernel and netc give the same bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.graph import evaluate
from netc.compiler.tflite import to_tflite
from netc.compiler.tflite.reading import read_model
from netc.frontend.tflite import graph_of

from .make_vectors import answers
from .operators import samples
from .small_models import Model

Shape = tuple[int, ...]
SCALES = {"a": (0.031, 5), "b": (0.017, -9), "y": (0.043, -20)}
SHAPES: tuple[tuple[Shape, Shape], ...] = (
    ((5, 33), (33, 17)),
    ((3, 5, 300), (3, 300, 9)),  # sums that floats don't hold exactly
    ((2, 1, 4, 6), (1, 3, 6, 18)),
    ((2, 1, 4, 6), (3, 6, 5)),
    ((1, 4, 16, 16), (1, 4, 16, 16)),
    ((2, 1, 2, 3, 4), (2, 3, 1, 4, 5)),
)


def turned(shape: Shape, is_turned: bool) -> Shape:
    return (*shape[:-2], shape[-1], shape[-2]) if is_turned else shape


def model(
    a: Shape, b: Shape, turn_a: bool, turn_b: bool, dtype: Any, scales: Any = SCALES, *, constant: bool = False
) -> bytes:
    m = Model()
    quantized = dtype is np.int8
    given = {key: {"scale": scale, "zero": zero} if quantized else {} for key, (scale, zero) in scales.items()}
    x = m.tensor("a", turned(a, turn_a), dtype, **given["a"])
    if constant:
        values = np.random.default_rng(3).integers(-128, 128, turned(b, turn_b)).astype(dtype)
        w = m.constant("b", values, **given["b"])
    else:
        w = m.tensor("b", turned(b, turn_b), dtype, **given["b"])
    shape = (*np.broadcast_shapes(a[:-2], b[:-2]), a[-2], b[-1])
    y = m.tensor("y", shape, dtype, **given["y"])
    options = ("BatchMatMulOptions", {"AdjX": turn_a, "AdjY": turn_b})
    m.operator("BATCH_MATMUL", (x, w), (y,), options, version=2)
    return m.data((x,) if constant else (x, w), (y,))


def check(data: bytes) -> None:
    pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
    graph = graph_of(read_model(data), "case")
    assert "opaque" not in str(graph)
    written = to_tflite(graph)
    again = graph_of(read_model(written), "case")
    assert [(op.name, op.results[0].type) for op in again.operations] == [
        (op.name, op.results[0].type) for op in graph.operations
    ]
    rows = samples([(v.type.dtype.numpy, v.type.shape) for v in graph.inputs])
    with netc.compile(graph, threads=1) as program:
        for row, expected, rewritten in zip(rows, answers(data), answers(written), strict=True):
            for got in (evaluate(graph, row)[0], program(*row), rewritten):
                if got.dtype == np.int8:
                    np.testing.assert_array_equal(got, expected)
                else:
                    largest = float(np.abs(expected).max(initial=0))
                    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6 * largest)


@pytest.mark.parametrize("dtype", [np.int8, np.float32])
@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_shapes(a: Shape, b: Shape, dtype: Any) -> None:
    for turn_a, turn_b in ((False, True), (True, False)):
        check(model(a, b, turn_a, turn_b, dtype))


@pytest.mark.parametrize("y", [(0.0001, 3), (0.00052700003, 0), (2.5, 127)])
def test_scales(y: tuple[float, int]) -> None:
    """Factors above one half, of one, and tiny ones."""
    check(model((2, 5, 70), (2, 70, 9), False, False, np.int8, {**SCALES, "y": y}))


def test_a_constant_side() -> None:
    check(model((2, 5, 7), (7, 9), False, True, np.int8, constant=True))


def test_floats_times_integers_stay_opaque() -> None:
    m = Model()
    a, b = m.tensor("a", (2, 3), np.float32), m.tensor("b", (3, 4), np.int8, scale=0.5)
    y = m.tensor("y", (2, 4), np.float32)
    m.operator("BATCH_MATMUL", (a, b), (y,), ("BatchMatMulOptions", {}))
    assert "opaque" in str(graph_of(read_model(m.data((a, b), (y,))), "case"))
