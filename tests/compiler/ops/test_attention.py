"""Attention against PyTorch's scaled_dot_product_attention, and on scores that aren't finite."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.backends import find_target, lower, optimize
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.graph import Graph, GraphBuilder, evaluate
from netc.compiler.passes import differentiate, pipelines
from netc.compiler.types import DType, TensorType

Shape = tuple[int, ...]
CASES: dict[str, tuple[tuple[Shape, ...], dict[str, Any]]] = {
    "vit": (((1, 3, 50, 16), (1, 3, 50, 16), (1, 3, 50, 16)), {}),
    "swin": (((4, 3, 9, 8), (4, 3, 9, 8), (4, 3, 9, 8), (3, 9, 9)), {}),
    "causal": (((2, 17, 8), (2, 17, 8), (2, 17, 8)), {"causal": True}),
    "causal, more keys": (((2, 5, 8), (2, 9, 8), (2, 9, 8)), {"causal": True, "scale": 0.3}),
    "many keys": (((1, 2, 7, 8), (1, 2, 1100, 8), (1, 2, 1100, 8)), {}),
}


def graph_of(shapes: tuple[Shape, ...], attributes: dict[str, Any], dtype: DType = DType.F32) -> Graph:
    b = GraphBuilder("net")
    operands = [b.input(f"x{i}", TensorType(dtype, shape)) for i, shape in enumerate(shapes)]
    return b.finish([b.emit("attention", *operands, **attributes)])


def arrays(shapes: tuple[Shape, ...], dtype: Any = np.float32) -> list[Any]:
    rng = np.random.default_rng(1)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def torch_attention(torch: Any, tensors: list[Any], attributes: dict[str, Any]) -> Any:
    mask = tensors[3] if len(tensors) > 3 else None
    function = torch.nn.functional.scaled_dot_product_attention
    return function(
        *tensors[:3], attn_mask=mask, is_causal=attributes.get("causal", False), scale=attributes.get("scale")
    )


@pytest.mark.parametrize("dtype", [DType.F32, DType.F64], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_values_are_those_of_pytorch(name: str, dtype: DType) -> None:
    torch = pytest.importorskip("torch")
    shapes, attributes = CASES[name]
    given = arrays(shapes, dtype.numpy)
    wanted = torch_attention(torch, [torch.from_numpy(x) for x in given], attributes).numpy()
    graph = graph_of(shapes, attributes, dtype)
    tolerance = 2e-6 if dtype is DType.F32 else 1e-14
    np.testing.assert_allclose(evaluate(graph, given)[0], wanted, atol=tolerance)
    np.testing.assert_allclose(netc.compile(graph)(*given), wanted, atol=tolerance)


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch")
    shapes, attributes = CASES[name]
    given = arrays(shapes, np.float64)
    tensors = [torch.from_numpy(x).requires_grad_() for x in given]
    (torch_attention(torch, tensors, attributes) ** 2).sum().backward()
    b = GraphBuilder("net")
    operands = [b.input(f"x{i}", TensorType(DType.F64, shape)) for i, shape in enumerate(shapes)]
    y = b.emit("attention", *operands, **attributes)
    b_loss = b.emit("reduce_sum", b.emit("mul", y, y))
    graph = differentiate(b.finish([b_loss]), wrt=[f"x{i}" for i in range(len(shapes))])
    for derivative, tensor in zip(evaluate(graph, given)[1:], tensors, strict=True):
        np.testing.assert_allclose(derivative, tensor.grad.numpy(), atol=1e-12)


def test_halves_are_summed_as_singles() -> None:
    shapes = CASES["many keys"][0]
    given = arrays(shapes, np.float16)
    exact = evaluate(graph_of(shapes, {}), [x.astype(np.float32) for x in given])[0]
    graph = graph_of(shapes, {}, DType.F16)
    for result in (evaluate(graph, given)[0], netc.compile(graph)(*given)):
        assert result.dtype == np.float16
        np.testing.assert_allclose(result, exact, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("keys", [5, 37, 1100])
def test_hidden_keys_and_special_scores(keys: int) -> None:
    """Keys with a score of -inf count for nothing; a query without any other, or one with a NaN, gives NaN."""
    shapes = ((6, 4), (keys, 4), (keys, 3), (6, keys))
    q, k, v, mask = arrays(shapes)
    mask[0, : keys - 1] = -np.inf  # the last key alone
    mask[1, 1:] = -np.inf
    mask[2, :] = -np.inf
    mask[3, keys // 2] = np.nan
    mask[4, keys - 1] = np.inf
    graph = graph_of(shapes, {})
    (meant,) = evaluate(graph, [q, k, v, mask])
    np.testing.assert_allclose(meant[:2], v[[keys - 1, 0]], atol=1e-6)
    assert np.isnan(meant[2:5]).all()
    assert np.isfinite(meant[5]).all()
    np.testing.assert_allclose(netc.compile(graph)(q, k, v, mask), meant, atol=2e-6)


@pytest.mark.parametrize("keys", [2, 16, 49, 600])
@pytest.mark.parametrize("dtype", [DType.F32, DType.F64], ids=str)
def test_the_least_exponentials_are_zero(dtype: DType, keys: int) -> None:
    """A mask of -100 hides keys as -inf does; subnormal weights took thirty times as long."""
    deepest = -math.log(np.finfo(dtype.numpy).tiny)
    shapes = ((5, 4), (keys, 4), (keys, 3), (5, keys))
    q, _, v, mask = arrays(shapes, dtype.numpy)
    k = np.zeros(shapes[1], dtype.numpy)
    v[1:] = np.finfo(dtype.numpy).max / 4
    mask[:, 0], mask[:, 1:] = 0, -deepest - 5
    mask[1, 1:] = -np.inf
    mask[2:, 1:] = -deepest / 2
    graph = graph_of(shapes, {}, dtype)
    found = netc.compile(graph)(q, k, v, mask)
    np.testing.assert_array_equal(found[:2], v[[0, 0]])
    np.testing.assert_allclose(found[2:], evaluate(graph, [q, k, v, mask])[0][2:], rtol=1e-5)


def test_the_scores_are_not_stored() -> None:
    graph = graph_of(((1, 8, 512, 16), (1, 8, 512, 16), (1, 8, 512, 16)), {})
    module = lower(optimize(graph, pipelines.INFERENCE, host_target()), host_target(), 1)
    assert module.arena_bytes < 2 * 8 * 512 * 16 * 4  # the packed keys; the scores would take 32 times as much


@pytest.mark.parametrize(
    ("cpu", "depth", "tiles"), [("znver5", 64, True), ("znver5", 24, False), ("haswell", 64, False)]
)
def test_keys_are_packed_by_tiles_of_registers(cpu: str, depth: int, tiles: bool) -> None:
    target = find_target(cpu)
    graph = graph_of(((2, 40, depth),) * 3, {})
    module = lower(optimize(graph, pipelines.INFERENCE, target), target, 1)
    assert ("interleave" in str(module)) == tiles


def test_rows_are_not_read_as_vectors_just_after_single_scores_were_stored() -> None:
    """A vector waited for the single elements: attention in windows of 49 keys took 1.1 times as long."""
    target = find_target("x86-64-v3")
    graph = graph_of(((4, 49, 32), (4, 49, 32), (4, 49, 32), (49, 49)), {})
    text = str(lower(optimize(graph, pipelines.INFERENCE, target), target, 1))
    loops = re.findall(r"^( +)for %r\d* = (.*?)^\1\}", text, re.MULTILINE | re.DOTALL)
    kinds = [
        ("exp(" in body, "= -inf: f32\n" in body, " = select(lt(" in body and "exp(" not in body) for _, body in loops
    ]
    assert {(True, False, False), (False, True, False), (False, False, True)} <= set(kinds)
    assert all(sum(kind) <= 1 for kind in kinds)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((5, 4), (7, 3), (7, 4)), "last sizes differ"),
        (((5, 4), (7, 4), (6, 4)), "as many keys as there are values"),
        (((5, 4), (0, 4), (0, 4)), "holds no keys"),
        (((4,), (7, 4), (7, 4)), "takes q"),
        (((5, 4), (7, 4), (7, 4), (2, 5, 7)), "doesn't broadcast to scores of shape"),
        (((2, 5, 4), (3, 7, 4), (3, 7, 4)), "can't combine shapes"),
    ],
)
def test_shapes_that_do_not_fit(shapes: tuple[Shape, ...], message: str) -> None:
    with pytest.raises(netc.NetcError, match=message):
        graph_of(shapes, {})
