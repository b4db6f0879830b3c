"""Files with variables and subgraphs, run call after call by LiteRT and by netc."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.graph.ir import Graph
from netc.compiler.graph.state import Session
from netc.compiler.tflite.reading import read_model
from netc.compiler.tflite.writer import to_tflite
from netc.frontend.tflite import graph_of

from .litert import run
from .small_models import Model

RNG = np.random.default_rng(3)


def handle(m: Model, name: str) -> int:
    """A tensor that refers to a variable."""
    place = m.resource(f"handle{len(m.tensors)}")
    m.operator("VAR_HANDLE", (), (place,), ("VarHandleOptions", {"SharedName": name}))
    return place


def initialization(**values: Any) -> tuple[Model, tuple[()], tuple[()]]:
    """The subgraph of CALL_ONCE."""
    m = Model()
    for name, value in values.items():
        m.operator("ASSIGN_VARIABLE", (handle(m, name), m.constant(f"{name}0", value)), ())
    return m, (), ()


def inputs(graph: Graph, calls: int = 3) -> list[list[Any]]:
    return [
        [(RNG.standard_normal(v.type.shape) * 9).astype(v.type.dtype.numpy) for v in graph.inputs] for _ in range(calls)
    ]


def read(data: bytes) -> Graph:
    return graph_of(read_model(data), "streaming")


def check(data: bytes, rows: list[list[Any]] | None = None, tolerance: float = 0.0) -> Graph:
    """Interpreter, program and the file written again give LiteRT's numbers, call after call and after a reset."""
    pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
    graph = read(data)
    assert str(netc.parse_graph(str(graph))) == str(graph)
    rows = inputs(graph) if rows is None else rows
    wanted = run(data, rows, anew=False)
    again = to_tflite(graph)
    for got, expected in zip(run(again, rows, anew=False), wanted, strict=True):
        for one, other in zip(got, expected, strict=True):
            np.testing.assert_array_equal(one, other)
    session = Session(graph)
    with netc.compile(graph, threads=2) as program:
        for _ in range(2):
            for row, expected in zip(rows, wanted, strict=True):
                results = program(*row)
                compiled = results if isinstance(results, tuple) else (results,)
                for meant, made, answer in zip(session(row), compiled, expected, strict=True):
                    assert meant.dtype == made.dtype == answer.dtype
                    np.testing.assert_allclose(meant, answer, rtol=tolerance, atol=tolerance)
                    np.testing.assert_allclose(made, answer, rtol=tolerance, atol=tolerance)
            session.reset()
            program.reset()
    return graph
