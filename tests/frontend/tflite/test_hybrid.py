"""Floats that meet 8-bit weights: what LiteRT's reference kernels gave, interpreted, compiled, written again.

`python -m tests.frontend.tflite.test_hybrid`, from the repository's root, stores LiteRT's answers anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.errors import NetcError
from netc.compiler.graph import Graph, GraphBuilder, evaluate, parse_graph
from netc.compiler.tflite import to_tflite
from netc.compiler.tflite.reading import read_model
from netc.compiler.types import DType, Quantization, TensorType
from netc.frontend.tflite import graph_of

from .agreement import input_types
from .hybrid_models import CASES, inputs
from .litert import run

VECTORS = Path(__file__).with_name("hybrid_vectors.npz")


def rows_of(data: bytes) -> list[Any]:
    ((dtype, shape),) = input_types(data)
    return inputs(dtype, shape)


def answers(data: bytes, kernels: str = "BUILTIN_REF") -> Any:
    """LiteRT's output for each input of a model."""
    return np.stack([outputs[0] for outputs in run(data, [[x] for x in rows_of(data)], kernels)])


def read(data: bytes) -> Graph:
    graph = graph_of(read_model(data), "case")
    assert str(parse_graph(str(graph))) == str(graph)
    assert "opaque" not in str(graph)
    return graph


def check(found: Any, expected: Any, tolerance: float) -> None:
    """Results lie as near as `tolerance` says, relative to the range of each output."""
    for got, wanted in zip(found, expected, strict=True):
        assert np.abs(got - wanted).max() <= tolerance * np.ptp(wanted)


@pytest.mark.parametrize("name", CASES)
def test_numbers_are_those_of_litert(name: str) -> None:
    make, tolerance = CASES[name]
    data = make()
    graph, rows = read(data), rows_of(data)
    with np.load(VECTORS) as stored:
        expected = stored[name]
    check([evaluate(graph, [x])[0] for x in rows], expected, tolerance)
    with netc.compile(graph, threads=1) as program:
        check([program(x) for x in rows], expected, tolerance)
    again = read(to_tflite(graph))
    check([evaluate(again, [x])[0] for x in rows], expected, tolerance)


@pytest.mark.parametrize("name", CASES)
def test_litert_agrees_with_stored_answers_and_rewritten_files(name: str) -> None:
    pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
    data = CASES[name][0]()
    with np.load(VECTORS) as stored:
        np.testing.assert_array_equal(answers(data), stored[name])
        np.testing.assert_array_equal(answers(to_tflite(read(data))), stored[name])


def test_weights_read_as_floats_give_nearly_the_same(tmp_path: Path) -> None:
    data = CASES["dense by channel, asymmetric"][0]()
    (file := tmp_path / "dense.tflite").write_bytes(data)
    exact, floats = netc.load(file), netc.load(file, float_weights=True)
    assert "hybrid_dense" in str(exact)
    assert "hybrid_dense" not in str(floats)
    x = rows_of(data)[0]
    (wanted,), (found,) = evaluate(exact, [x]), evaluate(floats, [x])
    assert 0 < np.abs(wanted - found).max() < 0.02 * np.ptp(wanted)
    with netc.compile(file, float_weights=True, threads=1) as program:
        np.testing.assert_allclose(program(x), found, rtol=1e-5, atol=1e-5)


def test_a_computed_weight_is_refused() -> None:
    from .small_models import Model

    m = Model()
    x, w = m.tensor("x", (2, 4), np.float32), m.tensor("w", (3, 4), np.int8, scale=0.1)
    y = m.tensor("y", (2, 3), np.float32)
    m.operator("FULLY_CONNECTED", (x, w, -1), (y,), ("FullyConnectedOptions", {}), version=9)
    graph = graph_of(read_model(m.data((x, w), (y,))), "case")
    with pytest.raises(NetcError, match="a computed weight of type"):
        netc.compile(graph)


@pytest.mark.parametrize("symmetric", [True, False])
def test_the_float_below_a_half_rounds_up_as_in_vector_code(symmetric: bool) -> None:
    b = GraphBuilder("case")
    scale = Quantization.of(1.0, 0)
    x = b.input("x", TensorType(DType.F32, (1, 8)))
    weight = b.constant(np.eye(8, dtype=np.int8), quantization=scale)
    graph = b.finish([b.emit("hybrid_dense", x, weight, weight=scale, symmetric=symmetric)])
    below = np.nextafter(np.float32(0.5), np.float32(0))
    row = np.array([[127 if symmetric else 254, -1, below, -below, 1.5, 2.5, 0.25, 0]], np.float32)
    wanted = np.array([[*row[0, :2], 1, -1, 2, 3, 0, 0]], np.float32)
    np.testing.assert_array_equal(evaluate(graph, [row])[0], wanted)
    np.testing.assert_array_equal(netc.compile(graph, threads=1)(row), wanted)


if __name__ == "__main__":
    np.savez_compressed(VECTORS, **{name: answers(make()) for name, (make, _) in CASES.items()})
