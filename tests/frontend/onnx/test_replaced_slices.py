"""`x[a:b, c:d] = y`, which is exported as ScatterND with an index for each element, is a block between slices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import helper  # noqa: E402

from .agreement import agrees  # noqa: E402
from .small_models import model  # noqa: E402


def scattered(shape: tuple[int, ...], places: np.ndarray[Any, Any]) -> list[str]:
    """The operators of a model that replaces elements at known places, which gives the right numbers."""
    sizes = places.shape[:-1]
    made = model(
        [helper.make_node("ScatterND", ["x", "i", "y"], ["z"])], {"x": shape, "y": sizes}, ["z"], {"i": places}
    )
    draw = np.random.default_rng(0).standard_normal
    graph = agrees(made, draw(shape).astype(np.float32), draw(sizes).astype(np.float32))
    return [op.name for op in graph.operations if op.name not in ("constant", "reshape")]


def grid(*ranges: range) -> np.ndarray[Any, Any]:
    """The index of each element of a block."""
    return np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).astype(np.int64)


def test_blocks() -> None:
    assert scattered((3, 5), grid(range(1, 3), range(2, 4))) == ["slice", "slice", "concat", "slice", "concat"]
    assert scattered((3, 5), grid(range(-2, 0), range(5))) == ["slice", "concat"]
    assert scattered((3, 5), grid(range(3), range(5))) == []


@pytest.mark.parametrize("ranges", [(range(0, 3, 2), range(5)), (range(-1, 2), range(5)), (range(2, -1, -1), range(5))])
def test_places_that_are_no_block(ranges: tuple[range, ...]) -> None:
    """Steps, a turn around the end, and the reverse order are left to a scatter."""
    assert "select" in scattered((3, 5), grid(*ranges))


def test_indices_that_are_too_many_to_be_computed() -> None:
    """They are known from how they are made: a vector for each dimension, broadcast."""
    shape = (2, 600, 600)
    weights = {"shape": np.array(shape, np.int64), "last": np.array([-1], np.int64)}
    nodes = []
    for d, size in enumerate(shape):
        weights[f"r{d}"] = np.arange(size, dtype=np.int64).reshape([-1 if i == d else 1 for i in range(3)])
        nodes.append(helper.make_node("Expand", [f"r{d}", "shape"], [f"e{d}"]))
        nodes.append(helper.make_node("Unsqueeze", [f"e{d}", "last"], [f"u{d}"]))
    nodes.append(helper.make_node("Concat", ["u0", "u1", "u2"], ["i"], axis=-1))
    nodes.append(helper.make_node("ScatterND", ["x", "i", "y"], ["z"]))
    made = model(nodes, {"x": shape, "y": shape}, ["z"], weights)
    x, y = (np.random.default_rng(i).standard_normal(shape).astype(np.float32) for i in range(2))
    assert not [op.name for op in agrees(made, x, y).operations if op.name not in ("constant", "reshape")]
