"""Operators of TFLite models against the bytes that LiteRT's reference kernels gave: interpreted and compiled."""

from __future__ import annotations

import numpy as np
import pytest

import netc
from netc.compiler.graph import evaluate, parse_graph
from netc.frontend.tflite import graph_of, read_model

from .make_vectors import VECTORS, answers
from .operators import CASES, samples


@pytest.fixture(scope="module")
def stored() -> dict[str, np.ndarray]:
    with np.load(VECTORS) as file:
        return dict(file)


@pytest.mark.parametrize("name", CASES)
def test_operator_equals_litert(name: str, stored: dict[str, np.ndarray]) -> None:
    graph = graph_of(read_model(CASES[name]()), "case")
    assert str(parse_graph(str(graph))) == str(graph)
    rows = samples([(v.type.dtype.numpy, v.type.shape) for v in graph.inputs])
    with netc.compile(graph, threads=1) as program:
        for row, expected in zip(rows, stored[name], strict=True):
            np.testing.assert_array_equal(evaluate(graph, row)[0], expected)
            np.testing.assert_array_equal(program(*row), expected)


def test_stored_answers_are_those_of_litert(stored: dict[str, np.ndarray]) -> None:
    pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
    for name, make in CASES.items():
        np.testing.assert_array_equal(np.stack(answers(make())), stored[name])
