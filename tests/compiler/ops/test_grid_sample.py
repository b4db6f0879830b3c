"""grid_sample and affine_grid against PyTorch, crop_and_resize against its definition; gradients of all."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.errors import NetcError
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.passes import differentiate
from tests.derivatives import Point, check_derivatives, with_loss

RNG = np.random.default_rng(5)
WAYS = [
    *product(("bilinear", "nearest"), ("zeros", "border", "reflection"), (False, True)),
    ("bicubic", "zeros", False),
    ("bicubic", "reflection", True),
]


def load(tmp_path: Path, text: str) -> Any:
    file = tmp_path / "sampled.net"
    file.write_text(f"net sampled{text}\n")
    return netc.load(file)


def weighted(graph: Any) -> Any:
    """The sum of the results, each times an element of another input."""
    b = GraphBuilder("weighted")
    (value,) = b.inline(graph, [b.input(v.name, v.type) for v in graph.inputs])
    return b.finish([b.emit("reduce_sum", b.emit("mul", value, b.input("dy", value.type)))])


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_grid_sample(way: tuple[str, str, bool], tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    mode, padding, align = way
    shape = "(x: f32[2, 5, 6, 3], grid: f32[2, 4, 7, 2])"
    call = f'grid_sample(x, grid, mode = "{mode}", padding = "{padding}", align_corners = {str(align).lower()})'
    graph = load(tmp_path, f"{shape} {{ return {call} }}")
    x = RNG.standard_normal((2, 5, 6, 3), np.float32)
    grid = RNG.uniform(-2.2, 2.2, (2, 4, 7, 2)).astype(np.float32)
    dy = RNG.standard_normal((2, 4, 7, 3), np.float32)
    given = torch.from_numpy(x).movedim(-1, 1).contiguous().requires_grad_(), torch.from_numpy(grid).requires_grad_()
    y = torch.nn.functional.grid_sample(*given, mode=mode, padding_mode=padding, align_corners=align)
    y.backward(torch.from_numpy(dy).movedim(-1, 1))
    step = differentiate(weighted(graph), 0, ["x", "grid"] if mode != "nearest" else ["x"])
    results = [evaluate(step, [x, grid, dy])]
    if padding == "zeros":
        np.testing.assert_allclose(netc.compile(graph)(x, grid), y.detach().movedim(1, -1), atol=2e-5)
        results.append(netc.compile(step)(x, grid, dy))
    np.testing.assert_allclose(evaluate(graph, [x, grid])[0], y.detach().movedim(1, -1), atol=2e-5)
    for _, dx, *dgrid in results:
        np.testing.assert_allclose(dx, given[0].grad.movedim(1, -1), atol=3e-5)
        for found in dgrid:
            np.testing.assert_allclose(found, given[1].grad, atol=3e-4)


def test_volumes(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    graph = load(tmp_path, "(x: f32[2, 3, 4, 5, 2], grid: f32[2, 3, 2, 2, 3]) { return grid_sample(x, grid) }")
    x = RNG.standard_normal((2, 3, 4, 5, 2), np.float32)
    grid = RNG.uniform(-1.3, 1.3, (2, 3, 2, 2, 3)).astype(np.float32)
    moved = torch.from_numpy(x).movedim(-1, 1)
    y = torch.nn.functional.grid_sample(moved, torch.from_numpy(grid), align_corners=False).movedim(1, -1)
    np.testing.assert_allclose(evaluate(graph, [x, grid])[0], y, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Since version 1.3.0")
@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("size", [(3, 4), (1, 5), (2, 3, 4)], ids=str)
def test_affine_grid(size: tuple[int, ...], align: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    d = len(size)
    call = f"affine_grid(theta, {list(size)}, align_corners = {str(align).lower()})"
    graph = load(tmp_path, f"(theta: f32[2, {d}, {d + 1}]) {{ return {call} }}")
    theta = RNG.standard_normal((2, d, d + 1), np.float32)
    expected = torch.nn.functional.affine_grid(torch.from_numpy(theta), [2, 1, *size], align_corners=align)
    np.testing.assert_allclose(evaluate(graph, [theta])[0], expected, atol=1e-6)


def cropped(x: Any, boxes: Any, indices: Any, size: tuple[int, int], method: str, extrapolation: float) -> Any:
    """TensorFlow's definition, pixel by pixel."""
    height, width = x.shape[1:3]
    y = np.full((len(boxes), *size, x.shape[-1]), extrapolation)

    def place(first: float, last: float, old: int, new: int, i: int) -> float:
        if new == 1:
            return 0.5 * (first + last) * (old - 1)
        return first * (old - 1) + i * (last - first) * (old - 1) / (new - 1)

    for k, i, j in np.ndindex(*y.shape[:3]):
        row = place(boxes[k, 0], boxes[k, 2], height, size[0], i)
        column = place(boxes[k, 1], boxes[k, 3], width, size[1], j)
        if not (0 <= row <= height - 1 and 0 <= column <= width - 1):
            continue
        image = x[indices[k]]
        if method == "nearest":
            y[k, i, j] = image[int(row + 0.5), int(column + 0.5)]
            continue
        top, left, u, v = int(row), int(column), row % 1, column % 1
        bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
        upper = image[top, left] * (1 - v) + image[top, right] * v
        y[k, i, j] = upper * (1 - u) + (image[bottom, left] * (1 - v) + image[bottom, right] * v) * u
    return y


@pytest.mark.parametrize("options", [("bilinear", 0.0), ("nearest", -2.0), ("bilinear", 1.5)], ids=str)
def test_crop_and_resize(options: tuple[str, float], tmp_path: Path) -> None:
    method, extrapolation = options
    x = RNG.standard_normal((2, 5, 6, 3), np.float32)
    boxes = RNG.uniform(-0.2, 1.2, (4, 4)).astype(np.float32)
    indices = np.array([0, 1, 1, 0], np.int32)
    for size in ((3, 4), (1, 2)):
        call = f'crop_and_resize(x, boxes, at, {list(size)}, method = "{method}", extrapolation = {extrapolation})'
        graph = load(tmp_path, f"(x: f32[2, 5, 6, 3], boxes: f32[4, 4], at: i32[4]) {{ return {call} }}")
        expected = cropped(x, boxes, indices, size, method, extrapolation)
        np.testing.assert_allclose(evaluate(graph, [x, boxes, indices])[0], expected, atol=1e-5)
        np.testing.assert_allclose(netc.compile(graph)(x, boxes, indices), expected, atol=1e-5)


@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_derivatives_of_second_order(padding: str, tmp_path: Path) -> None:
    text = f'(x: f64[1, 3, 4, 2], grid: f64[1, 2, 3, 2]) {{ return grid_sample(x, grid, padding = "{padding}") }}'
    graph = load(tmp_path, text)
    point = Point({"x": RNG.standard_normal((1, 3, 4, 2)), "grid": RNG.uniform(-0.9, 0.9, (1, 2, 3, 2))}, {})
    first = differentiate(with_loss(graph), 0, ["x", "grid"])
    check_derivatives(with_loss(first, seed=1), point, ["x", "grid"], tolerance=1e-5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(x: f32[1, 3, 4, 2], g: f32[2, 5, 5, 2]) { return grid_sample(x, g) }", "takes"),
        ('(x: f32[1, 3, 4, 2], g: f32[1, 5, 2]) { return grid_sample(x, g, mode = "linear") }', "knows no mode"),
        ("(x: f32[1, 3, 4, 2], g: f64[1, 5, 2]) { return grid_sample(x, g) }", "floats of one type"),
        ("(x: f32[1, 2, 2]) { return affine_grid(x, [4, 4]) }", "affine_grid takes"),
    ],
)
def test_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(NetcError, match=message):
        load(tmp_path, text)
