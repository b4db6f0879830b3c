"""Updates joined by products and extremes: gradients as PyTorch's scatter_reduce has them; in TFLite and ONNX files."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.errors import NetcError
from netc.compiler.graph import Graph, GraphBuilder, evaluate
from netc.compiler.passes import differentiate
from netc.compiler.tflite import to_tflite
from netc.compiler.tflite.reading import read_model
from netc.compiler.types import DType, TensorType
from netc.frontend.tflite import graph_of

from ...frontend.tflite.litert import LiteRT

RNG = np.random.default_rng(3)
TORCH = {"mul": "prod", "maximum": "amax", "minimum": "amin"}
JOIN = {"mul": np.multiply, "maximum": np.maximum, "minimum": np.minimum}
X = RNG.integers(-2, 3, (6, 40)).astype(np.float32)
PLACES = RNG.integers(0, 6, (50, 1)).astype(np.int32)
UPDATES = RNG.integers(-2, 3, (50, 40)).astype(np.float32)
"""Small whole numbers: many are equal, many are 0."""


def joined(by: str, dtype: DType = DType.F32) -> Graph:
    b = GraphBuilder("net")
    types = (TensorType(dtype, X.shape), TensorType(DType.I32, PLACES.shape), TensorType(dtype, UPDATES.shape))
    return b.finish([b.emit("scatter_combine", *(b.input(n, t) for n, t in zip("xiu", types, strict=True)), by=by)])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("by", TORCH)
def test_gradients_are_those_of_pytorch(by: str, threads: int) -> None:
    torch = pytest.importorskip("torch")
    weight = RNG.standard_normal(X.shape).astype(np.float32)
    b = GraphBuilder("loss")
    shapes = ((X.shape, DType.F32), (PLACES.shape, DType.I32), (UPDATES.shape, DType.F32))
    x, i, u = (b.input(n, TensorType(d, s)) for n, (s, d) in zip("xiu", shapes, strict=True))
    y = b.emit("mul", b.emit("scatter_combine", x, i, u, by=by), b.constant(weight))
    graph = b.finish([b.emit("reduce_sum", y, axes=(0, 1), keepdims=False)])
    both = differentiate(graph, 0, ["x", "u"])
    tx, tu = (torch.tensor(a, requires_grad=True) for a in (X, UPDATES))
    rows = torch.from_numpy(np.broadcast_to(PLACES, UPDATES.shape).astype(np.int64))
    wanted = (tx.scatter_reduce(0, rows, tu, TORCH[by]) * torch.from_numpy(weight)).sum()
    wanted.backward()
    for got in (evaluate(both, [X, PLACES, UPDATES]), netc.compile(both, threads=threads)(X, PLACES, UPDATES)):
        np.testing.assert_allclose(got[0], wanted.detach().numpy(), rtol=1e-4)
        for one, other in zip(got[1:], (tx.grad, tu.grad), strict=True):
            np.testing.assert_allclose(one, other.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [DType.F32, DType.I32])
@pytest.mark.parametrize("by", TORCH)
def test_a_file_joins_as_litert_does(by: str, dtype: DType) -> None:
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
    graph = joined(by, dtype)
    data = to_tflite(graph)
    assert [operator.name for operator in read_model(data).operators] == ["STABLEHLO_SCATTER"]
    given: list[Any] = [X.astype(dtype.numpy), PLACES, UPDATES.astype(dtype.numpy)]
    (wanted,) = evaluate(graph, given)
    with LiteRT() as litert:
        ((got,),) = litert(data, [given])
    np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(evaluate(graph_of(read_model(data), "again"), given)[0], wanted)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("by", TORCH)
def test_special_numbers_and_repeated_places(by: str, threads: int) -> None:
    u = UPDATES.copy()
    u[3, :4] = np.nan, np.inf, -np.inf, -0.0
    wanted = X.copy()
    with np.errstate(invalid="ignore"):
        JOIN[by].at(wanted, PLACES[:, 0], u)
    np.testing.assert_array_equal(netc.compile(joined(by), threads=threads)(X, PLACES, u), wanted)


def test_other_operators_are_refused() -> None:
    with pytest.raises(NetcError, match="scatter_combine has no operator 'add'"):
        joined("add")
