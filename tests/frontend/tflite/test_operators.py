"""Operators of TFLite models against what LiteRT's reference kernels gave: interpreted, compiled, written again."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import netc
from netc.compiler.graph import Graph, evaluate, parse_graph
from netc.compiler.ops.facets import readers
from netc.compiler.tflite import to_tflite
from netc.compiler.tflite.reading import read_model
from netc.frontend.tflite import graph_of

from .make_vectors import VECTORS, answers
from .operators import CASES, FLOAT_CASES, samples


@pytest.fixture(scope="module")
def stored() -> dict[str, np.ndarray]:
    with np.load(VECTORS) as file:
        return dict(file)


def read(data: bytes) -> Graph:
    graph = graph_of(read_model(data), "case")
    assert str(parse_graph(str(graph))) == str(graph)
    assert "opaque" not in str(graph)
    return graph


@pytest.mark.parametrize("name", CASES)
def test_operator_equals_litert(name: str, stored: dict[str, np.ndarray]) -> None:
    graph = read(CASES[name]())
    again = read(to_tflite(graph))
    rows = samples([(v.type.dtype.numpy, v.type.shape) for v in graph.inputs])
    with netc.compile(graph, threads=1) as program:
        for row, expected in zip(rows, stored[name], strict=True):
            np.testing.assert_array_equal(evaluate(graph, row)[0], expected)
            np.testing.assert_array_equal(program(*row), expected)
            np.testing.assert_array_equal(evaluate(again, row)[0], expected)


@pytest.mark.parametrize("name", FLOAT_CASES)
def test_operator_on_floats_is_close_to_litert(name: str, stored: dict[str, np.ndarray]) -> None:
    graph = read(FLOAT_CASES[name]())
    again = read(to_tflite(graph))
    rows = samples([(v.type.dtype.numpy, v.type.shape) for v in graph.inputs])
    with netc.compile(graph, threads=1) as program:
        for row, expected in zip(rows, stored[f"float {name}"], strict=True):
            for got in (evaluate(graph, row)[0], program(*row), evaluate(again, row)[0]):
                np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_litert_agrees_with_stored_answers_and_rewritten_models(name: str, stored: dict[str, np.ndarray]) -> None:
    pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
    data = CASES[name]()
    np.testing.assert_array_equal(np.stack(answers(data)), stored[name])
    np.testing.assert_array_equal(np.stack(answers(to_tflite(read(data)))), stored[name])


def test_operators_are_listed() -> None:
    text = (Path(__file__).resolve().parents[3] / "docs" / "tflite.md").read_text(encoding="utf-8")
    table = text.split("| TFLite operators |")[1].split("| --- |")[1].split("Functions that")[0]
    listed = set(re.findall(r"\b[A-Z][A-Z0-9_]+\b", table))
    assert listed <= readers().keys()
