"""ScatterElements and ScatterND with reductions: any number of updates, of which several meet."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper  # noqa: E402

from .agreement import agrees  # noqa: E402
from .small_models import model  # noqa: E402

RNG = np.random.default_rng(5)
REDUCTIONS = ["none", "add", "mul", "min", "max"]


@pytest.mark.parametrize("is_known", [False, True])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_hundreds_of_elements(reduction: str, is_known: bool) -> None:
    places = RNG.integers(-5, 5, (4, 300))
    x, updates = (RNG.uniform(0.5, 1.5, shape).astype(np.float32) for shape in ((4, 5), (4, 300)))
    node = helper.make_node("ScatterElements", ["x", "i", "u"], ["y"], axis=1, reduction=reduction)
    shapes = {"x": x.shape, "i": places.shape, "u": updates.shape}
    if is_known:
        del shapes["i"]
        agrees(model([node], shapes, ["y"], {"i": places}), x, updates)
    else:
        agrees(model([node], shapes, ["y"], kinds={"i": TensorProto.INT64}), x, places, updates)


@pytest.mark.parametrize("reduction", REDUCTIONS[1:])
def test_hundreds_of_slices(reduction: str) -> None:
    places = RNG.integers(-3, 3, (20, 15, 1))
    x, updates = (RNG.uniform(0.5, 1.5, shape).astype(np.float32) for shape in ((3, 2, 4), (20, 15, 2, 4)))
    node = helper.make_node("ScatterND", ["x", "i", "u"], ["y"], reduction=reduction)
    shapes = {"x": x.shape, "i": places.shape, "u": updates.shape}
    graph = agrees(model([node], shapes, ["y"], kinds={"i": TensorProto.INT64}), x, places, updates)
    assert len(graph.operations) < 10


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_no_updates(reduction: str) -> None:
    node = helper.make_node("ScatterND", ["x", "i", "u"], ["y"], reduction=reduction)
    x, places, updates = np.ones((3, 2), np.float32), np.zeros((0, 1), np.int64), np.zeros((0, 2), np.float32)
    shapes = {"x": x.shape, "i": places.shape, "u": updates.shape}
    agrees(model([node], shapes, ["y"], kinds={"i": TensorProto.INT64}), x, places, updates)
