"""Resize to nearest elements, of parts of pictures, and to corners of sizes that scales give unrounded.

test_random_models.py draws all other rules.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import helper  # noqa: E402

from netc.compiler.graph.interpreter import evaluate  # noqa: E402
from netc.frontend.onnx import graph_of  # noqa: E402

from .agreement import agrees  # noqa: E402
from .small_models import model  # noqa: E402

Array = np.ndarray[Any, Any]
ROUNDINGS = ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"]


def part(size: int, target: int, first: float, last: float, mode: str, rounding: str = "floor") -> None:
    """One dimension that is cropped gives what ONNX Runtime gives."""
    node = helper.make_node(
        *("Resize", ["x", "roi", "", "sizes"], ["y"]),
        coordinate_transformation_mode="tf_crop_and_resize",
        extrapolation_value=7.0,
        mode=mode,
        nearest_mode=rounding,
    )
    weights = {
        "roi": np.array([0, 0, 0, first, 1, 1, 1, last], np.float32),
        "sizes": np.array([1, 2, 2, target], np.int64),
    }
    x = np.random.default_rng(0).standard_normal((1, 2, 2, size)).astype(np.float32)
    agrees(model([node], {"x": x.shape}, ["y"], weights), x)


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize(("first", "last"), [(0, 1), (0.1, 0.8), (-0.2, 1.3), (0.8, 0.1)])
def test_nearest_elements_of_a_part(rounding: str, first: float, last: float) -> None:
    part(9, 13, first, last, "nearest", rounding)
    part(9, 1, first, last, "nearest", rounding)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize(("size", "target"), [(4, 188), (6, 148), (2, 50), (29, 11)])
def test_the_last_element_lies_inside(mode: str, size: int, target: int) -> None:
    """(target - 1) * ((size - 1) / (target - 1)) may be more than size - 1, or less."""
    part(size, target, 0, 1, mode)


COORDINATES = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]


def nearest_of(size: int, target: int, coordinates: str, rounding: str) -> tuple[Any, Array]:
    """A model that takes the nearest elements of a dimension, and its input."""
    node = helper.make_node(
        *("Resize", ["x", "", "", "sizes"], ["y"]),
        coordinate_transformation_mode=coordinates,
        nearest_mode=rounding,
    )
    made = model([node], {"x": (1, 1, 2, size)}, ["y"], {"sizes": np.array([1, 1, 2, target], np.int64)})
    return made, np.arange(2 * size, dtype=np.float32).reshape(1, 1, 2, size)


@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil"])
@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize(("size", "target"), [(6, 4), (7, 19), (10, 25), (12, 44), (15, 21), (14, 10)])
def test_halves_go_where_onnx_runtime_has_them(size: int, target: int, coordinates: str, rounding: str) -> None:
    made, x = nearest_of(size, target, coordinates, rounding)
    agrees(made, x)


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("coordinates", COORDINATES)
def test_nearest_elements_are_exact(coordinates: str, rounding: str) -> None:
    rounded = {
        "floor": math.floor,
        "ceil": math.ceil,
        "round_prefer_floor": lambda x: math.ceil(x - Fraction(1, 2)),
        "round_prefer_ceil": lambda x: math.floor(x + Fraction(1, 2)),
    }[rounding]
    for size, target in ((3, 41), (11, 33), (12, 44), (15, 21), (13, 46), (9, 1)):
        made, x = nearest_of(size, target, coordinates, rounding)
        for place, found in enumerate(evaluate(graph_of(made, "small"), [x])[0][0, 0, 0].tolist()):
            position = (place + Fraction(1, 2)) * Fraction(size, target) - Fraction(1, 2)
            if coordinates == "asymmetric":
                position = place * Fraction(size, target)
            elif target == 1 and coordinates != "half_pixel":
                position = Fraction(0)
            elif coordinates == "align_corners":
                position = place * Fraction(size - 1, target - 1)
            assert found == min(max(rounded(position), 0), size - 1), (size, target, place)


@pytest.mark.parametrize("mode", ["linear", "cubic", "nearest"])
def test_corners_of_scaled_sizes(mode: str) -> None:
    """PyTorch's files mean whole sizes, which ONNX Runtime takes for all; ONNX's own tests want unrounded ones."""
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], "r", coordinate_transformation_mode="align_corners")
    node.attribute.append(helper.make_attribute("mode", mode))
    made = model([node], {"x": (1, 1, 2, 4)}, ["y"], {"scales": np.array([1, 1, 0.6, 0.6], np.float32)})
    x = np.arange(1, 9, dtype=np.float32).reshape(1, 1, 2, 4)
    made.producer_name = "pytorch"
    agrees(made, x)
    if mode == "linear":
        made.producer_name = "backend-test"
        np.testing.assert_allclose(evaluate(graph_of(made, "small"), [x])[0], [[[[1, 22 / 7]]]], 1e-6)
