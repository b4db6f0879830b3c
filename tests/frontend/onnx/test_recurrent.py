"""Recurrent nodes whose inputs don't have the shapes that ONNX says are refused: what is too large would be cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import helper  # noqa: E402

from .agreement import agrees, problems  # noqa: E402
from .small_models import model  # noqa: E402

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
STEPS, SAMPLES, FEATURES, UNITS = 3, 2, 5, 4


def recurrent(operator: str, changed: dict[str, tuple[int, ...]], **attributes: Any) -> Any:
    """A model of one node in two directions, with other shapes for some inputs."""
    columns = GATES[operator] * UNITS
    shapes: dict[str, tuple[int, ...]] = {"w": (2, columns, FEATURES), "r": (2, columns, UNITS), "b": (2, 2 * columns)}
    shapes["h"] = (2, SAMPLES, UNITS)
    names = ["x", "w", "r", "b", "", "h"]
    if operator == "LSTM":
        shapes |= {"c": (2, SAMPLES, UNITS), "p": (2, 3 * UNITS)}
        names += ["c", "p"]
    rng = np.random.default_rng(0)
    weights = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in (shapes | changed).items()}
    node = helper.make_node(operator, names, ["y"], direction="bidirectional", hidden_size=UNITS, **attributes)
    return model([node], {"x": (STEPS, SAMPLES, FEATURES)}, ["y"], weights)


@pytest.mark.parametrize("operator", GATES)
def test_right_shapes(operator: str) -> None:
    x = np.random.default_rng(1).standard_normal((STEPS, SAMPLES, FEATURES)).astype(np.float32)
    agrees(recurrent(operator, {}), x)


@pytest.mark.parametrize(
    ("name", "shape", "place"),
    [
        ("w", (3, 16, FEATURES), 1),
        ("w", (2, 16, FEATURES + 1), 1),
        ("r", (3, 16, UNITS), 2),
        ("b", (2, 40), 3),
        ("h", (2, SAMPLES + 1, UNITS), 5),
        ("c", (2, SAMPLES, UNITS + 1), 6),
        ("p", (2, 16), 7),
    ],
)
def test_wrong_shapes(name: str, shape: tuple[int, ...], place: int) -> None:
    assert f"input {place} is f32[{','.join(map(str, shape))}], but 4 units take" in problems(
        recurrent("LSTM", {name: shape})
    )


def test_activations_for_one_direction() -> None:
    assert "2 activations, not 4" in problems(recurrent("GRU", {}, activations=["Sigmoid", "Tanh"]))
