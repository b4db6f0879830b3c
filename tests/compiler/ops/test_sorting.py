"""Long rows in order: special numbers, ties, both directions, every element type."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.passes import differentiate
from netc.compiler.types import DType, TensorType

DTYPES = (DType.F32, DType.F64, DType.F16, DType.I64, DType.I32, DType.I16, DType.I8, DType.U8)


def row(dtype: DType, size: int) -> Any:
    rng = np.random.default_rng(size)
    x = rng.integers(0, 90, (2, size)).astype(dtype.numpy)
    if dtype.is_float:
        x[0] *= rng.standard_normal(size).astype(dtype.numpy)
        x[1, ::5], x[1, 1::7], x[0, 2::9], x[1, 3::11] = 0.0, -0.0, np.nan, -np.inf
        x[1, 4::13], x[1, 5::17] = np.inf, -np.nan
    else:
        info = np.iinfo(str(dtype.numpy))
        x[0, ::5], x[0, 1::7] = info.min, info.max
    return x


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_long_rows(dtype: DType) -> None:
    x = row(dtype, 400)
    b = GraphBuilder("g")
    given = b.input("x", TensorType(dtype, x.shape))
    names = [("sort", {"descending": d}) for d in (False, True)]
    names += [(op, {"k": k, "largest": up}) for op in ("top_k_values",) for k in (3, 50) for up in (False, True)]
    positions = {"sort": "argsort", "top_k_values": "top_k_indices"}
    results = [b.emit(op, given, **more) for name, more in names for op in (name, positions[name])]
    graph = b.finish(results)
    meant, found = evaluate(graph, [x], {}), netc.compile(graph)(x)
    for expected, result in zip(meant, found, strict=True):
        np.testing.assert_array_equal(result.view(np.uint8), expected.view(np.uint8))
    np.testing.assert_array_equal(found[1], np.argsort(x, axis=1, kind="stable"))
    np.testing.assert_array_equal(found[0], np.sort(x, axis=1))


def test_gradient_of_long_rows_matches_pytorch() -> None:
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(3).standard_normal((3, 200)).astype(np.float32)
    weight = np.random.default_rng(4).standard_normal((3, 17)).astype(np.float32)
    b = GraphBuilder("g")
    given = b.input("x", TensorType(DType.F32, x.shape))
    values = b.emit("top_k_values", b.emit("sort", given), k=17, largest=False)
    loss = b.emit("reduce_sum", b.emit("mul", values, b.constant(weight)))
    found = netc.compile(differentiate(b.finish([loss]), 0, ["x"]))(x)
    there = torch.from_numpy(x).requires_grad_()
    (torch.topk(torch.sort(there).values, 17, largest=False).values * torch.from_numpy(weight)).sum().backward()
    np.testing.assert_array_equal(found[1], there.grad.numpy())
