"""Layers that normalise against PyTorch, without loss far from zero; rows take one kernel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.backends import lower, optimize
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.passes import pipelines
from netc.compiler.types import DType, TensorType
from netc.runtime.weights import initial_weights

Shape = tuple[int, ...]


def layered(tmp_path: Path, layer: str, shape: Shape) -> Any:
    """A net of one layer, and weights that aren't 0 and 1."""
    path = tmp_path / "layer.net"
    path.write_text(f"net layer(x: f32{list(shape)}) {{ return x |> {layer} }}", encoding="utf-8")
    graph = netc.load(str(path))
    rng = np.random.default_rng(1)
    weights = {k: np.float32(v + rng.standard_normal(v.shape)) for k, v in initial_weights(graph).items()}
    return graph, weights


def outer(x: Any) -> Any:
    """Channels last, as PyTorch has them."""
    return x.movedim(-1, 1)


LAYERS: dict[str, tuple[Shape, Callable[..., Any]]] = {
    "layer_norm": ((2, 7, 100), lambda f, x, w: f.layer_norm(x, (100,), w["weight"], w["bias"])),
    "layer_norm(eps = 1e-3, affine = false)": ((5, 33), lambda f, x, w: f.layer_norm(x, (33,), eps=1e-3)),
    "layer_norm(rank = 2)": ((2, 7, 33), lambda f, x, w: f.layer_norm(x, (7, 33), w["weight"], w["bias"])),
    "layer_norm(bias = false)": ((2, 7, 33), lambda f, x, w: f.layer_norm(x, (33,), w["weight"])),
    "rms_norm": ((2, 7, 100), lambda f, x, w: f.rms_norm(x, (100,), w["weight"])),
    "group_norm(4)": ((2, 9, 8, 24), lambda f, x, w: f.group_norm(outer(x), 4, w["weight"], w["bias"]).movedim(1, -1)),
    "group_norm(1)": ((2, 9, 24), lambda f, x, w: f.group_norm(outer(x), 1, w["weight"], w["bias"]).movedim(1, -1)),
    "group_norm(6, affine = false)": ((3, 5, 4, 6), lambda f, x, w: f.group_norm(outer(x), 6).movedim(1, -1)),
    "group_norm(3)": ((4, 6), lambda f, x, w: f.group_norm(x, 3, w["weight"], w["bias"])),
    "instance_norm": ((2, 9, 8, 21), lambda f, x, w: f.instance_norm(outer(x)).movedim(1, -1)),
    "l2_normalize": ((2, 9, 21), lambda f, x, w: f.normalize(x, dim=-1, eps=1e-6)),
    "local_response_norm(size = 5, k = 2)": (
        (2, 5, 4, 21),
        lambda f, x, w: f.local_response_norm(outer(x), 5, k=2).movedim(1, -1),
    ),
    'scale(name = "gamma", shape = [21, 1, 1], init = "normal(1)")': (
        (2, 5, 4, 21),
        lambda f, x, w: x * w["gamma"].reshape(-1),
    ),
}


@pytest.mark.parametrize("offset", [0, 1000])
@pytest.mark.parametrize("layer", LAYERS)
def test_pytorch(layer: str, offset: float, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    shape, function = LAYERS[layer]
    graph, weights = layered(tmp_path, layer, shape)
    x = np.float32(np.random.default_rng(0).standard_normal(shape) + offset)
    # PyTorch's own single precision loses digits far from zero.
    doubles = {name.rpartition(".")[2]: torch.tensor(np.float64(w)) for name, w in weights.items()}
    expected = function(torch.nn.functional, torch.tensor(np.float64(x)), doubles).numpy()
    tolerance = 1e-5 if offset == 0 else 1e-3
    for threads in (1, 2):
        found = netc.compile(graph, weights=weights, threads=threads)(x)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


ROWS = [
    ((2, 5, 37), (2,)),
    ((3, 4, 5, 40), (1, 2)),
    ((2, 4, 5, 3), (1, 2, 3)),
    ((7, 130), (0,)),
    ((9,), (0,)),
    ((1, 5, 1, 8), (1, 2)),
]


@pytest.mark.parametrize("dtype", [DType.F32, DType.F64], ids=str)
@pytest.mark.parametrize(("shape", "axes"), ROWS)
def test_rows_take_one_kernel(shape: Shape, axes: tuple[int, ...], dtype: DType) -> None:
    b = GraphBuilder("g")
    x, factor = b.input("x", TensorType(dtype, shape)), b.input("factor", TensorType(dtype, shape[-1:]))
    y = b.emit("mul", b.emit("normalize", x, axes=axes), factor)
    graph = b.finish([b.emit("relu", b.emit("softmax", y, axis=axes[0]) if len(axes) == 1 else y)])
    optimized = optimize(graph, pipelines.INFERENCE, host_target())
    assert len(lower(optimized, host_target(), 2).calls) <= 2
    rng = np.random.default_rng(0)
    arrays = [(rng.standard_normal(v.type.shape) + 3).astype(dtype.numpy) for v in graph.inputs]
    (expected,) = evaluate(graph, arrays)
    for threads in (1, 3):
        np.testing.assert_allclose(netc.compile(graph, threads=threads)(*arrays), expected, rtol=2e-6, atol=5e-6)


def test_reductions_over_other_axes_stay_apart() -> None:
    b = GraphBuilder("g")
    x = b.input("x", TensorType(DType.F32, (4, 5, 6)))
    y = b.emit("sub", x, b.emit("reduce_mean", x, axes=(2,), keepdims=True))
    graph = b.finish([b.emit("sub", y, b.emit("reduce_max", y, axes=(1,), keepdims=True))])
    assert len(lower(optimize(graph, pipelines.INFERENCE, host_target()), host_target(), 1).calls) > 1
    array = np.random.default_rng(0).standard_normal((4, 5, 6), np.float32)
    np.testing.assert_allclose(netc.compile(graph)(array), evaluate(graph, [array])[0], atol=1e-6)
